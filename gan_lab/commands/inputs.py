"""A user's own picture files, as commands take them: files, and folders of files."""

from __future__ import annotations

import os
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


def planned(inputs: Sequence[Path], out: Path, suffix: str, option: str) -> dict[Path, Path]:
    """Where the output of each file goes. `option` is the one that named the folder `out`.

    Raises ValueError for two of one name, and for one that is there already.
    """
    plan: dict[Path, Path] = {}
    by_target: dict[Path, Path] = {}
    for given in inputs:
        for file in files_in(given, out):
            name = file.stem if file.suffix.lower() in SUFFIXES else file.name
            folder = file.parent.relative_to(given) if given.is_dir() else Path()
            target = out / folder / f"{name}{suffix}"
            other = by_target.setdefault(target, file)
            if other.resolve() != file.resolve():
                raise ValueError(
                    f"{other} and {file} would both become {target}: rename one, or give each an {option} of its own"
                )
            plan[other] = target
    if there := [target for target in by_target if os.path.lexists(target)]:
        more = f", and {len(there) - 1:,} more" if there[1:] else ""
        raise ValueError(f"{there[0]} exists{more}: nothing is overwritten; give another {option}")
    return plan
