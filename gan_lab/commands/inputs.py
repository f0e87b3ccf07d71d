"""A user's own picture files, as commands take them: files, and folders of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gan_lab.datasets.decoding import files_of
from gan_lab.datasets.exact import SUFFIXES


def counted(number: int) -> str:
    return f"{number:,} picture{'' if number == 1 else 's'}"


def check_inputs(inputs: Sequence[Path], out: Path | None = None) -> None:
    """Raise ValueError for a folder without pictures."""
    for given in inputs:
        if given.is_dir() and not any(files_in(given, out)):
            raise ValueError(f"{given} holds no pictures; these are read: {' '.join(sorted(SUFFIXES))}")


def files_in(given: Path, out: Path | None = None) -> Iterator[Path]:
    """A file as it is; of a folder the pictures by name, but hidden ones and those in `out`, of earlier outputs."""
    if not given.is_dir():
        yield given
        return
    made = out.resolve() if out else None
    for file in files_of(given, SUFFIXES):
        hidden = any(part.startswith(".") for part in file.relative_to(given).parts)
        if not hidden and made not in file.resolve().parents:
            yield file
