"""The packages that are installed, listed once a process."""

from __future__ import annotations

import contextlib
import functools
from importlib.metadata import distributions


@functools.cache
def requirements() -> str:
    """The installed packages, `name==version` in lines: `requirements.txt` among a W&B run's files.

    W&B would write the same file, and read each package's metadata twice for every run of a sweep: 0.13 s for 220 of
    them.
    """
    found: dict[str, str] = {}
    for package in distributions():
        with contextlib.suppress(KeyError, UnicodeDecodeError, TypeError):  # of damaged metadata
            known = package.metadata
            found.setdefault(known["Name"], known["Version"])  # the first one on the path is the one that is imported
    return "".join(sorted(f"{name}=={version}\n" for name, version in found.items()))
