"""Which files may be read: regular ones, where nothing waits; of a shared folder those of this user and of root."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gan_lab.core.files import printable


def is_ours(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), 0)


def is_private(folder: Path) -> bool:
    """Whether nobody but this user and root can write to a folder, or it does not exist yet."""
    try:
        found = folder.stat()
    except OSError:  # also where a parent is no folder: making it will say so
        return True
    return is_ours(found) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def make_private(folder: Path) -> None:
    """Make a folder into which no other user sees. Raises OSError for one that others can write to."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_private(folder):
        raise PermissionError(f"other users can write to {folder}")


def own_file(folder: Path, name: str) -> Path:
    """A regular file in a folder, of this user or of root. Raises ValueError for any other, and for a path as name."""
    if os.path.basename(name) != name:
        raise ValueError(f"{name} is no name of a file")
    found = (folder / name).lstat()
    if not stat.S_ISREG(found.st_mode) or not is_ours(found):
        raise ValueError(f"{folder / name} is no regular file of this user")
    return folder / name


def check_regular(file: Path) -> None:
    """Raises OSError for what is no regular file: a reader would wait for a pipe, and a device may never end.

    Links are followed: users link their data.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError("it is no regular file, but a folder, a pipe or a device")


def shown_name(name: str) -> str:
    r"""A file's name, or what is said of it, on one line: what controls a terminal, and new lines, become `\n`."""
    return printable(name).replace("\n", r"\n").replace("\t", r"\t")
