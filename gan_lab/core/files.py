"""Reads files that may be broken, or made by a stranger, and writes files whole. An error is one line with the path."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST = 64 << 20  # bytes of a file of records or settings; those of real runs have some kilobytes
DEEPEST = 32  # levels of mappings and lists
MOST = 1e300  # beyond it, squares of numbers overflow
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class BadFile(ValueError):
    """A file that is not what it should be. The message contains its path and the reason."""


class Unparsable(BadFile):
    """A file that is cut off, or was never JSON: a crash of the machine can leave such a file."""


def printable(text: str) -> str:
    r"""The text without characters that control a terminal, and bytes of a name that are no text: `\x1b` stands there.

    They may come from file names and from strangers' files. New lines and tabs stay.
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@contextlib.contextmanager
def content_of(where: object) -> Iterator[None]:
    """A context that uses a file's content. Whatever it raises means that the content is not what it should be."""
    try:
        yield
    except (BadFile, OSError):
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise BadFile(f"{where} holds something else than it should: {type(error).__name__}: {why}") from error


@contextlib.contextmanager
def named(where: object) -> Iterator[None]:
    """A context in which a BadFile that does not say its place gets one: a run's folder."""
    try:
        yield
    except BadFile as error:
        raise (error if str(where) in str(error) else BadFile(f"{where}: {error}")) from error


def leads_away(path: Path) -> bool:
    """Whether this is a symbolic link out of its folder. A link to the folder itself does not count."""
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(path.parent))


def oddity(path: Path, *, folder: bool = False) -> str | None:
    """What is wrong with what stands where a regular file belongs, or a folder; None where nothing is, or stands."""
    if leads_away(path):
        return f"{path} is a link to another place, where a run would write"
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return f"{path} is a link that leads nowhere" if path.is_symlink() else None
    except OSError as error:  # a link to itself
        return f"{path}: {(error.strerror or str(error)).lower()}"
    if kind == (stat.S_IFDIR if folder else stat.S_IFREG):
        return None
    what, wanted = ("a file", "folder") if folder else ("something else", "file")
    return f"{path} is {KINDS.get(kind, what)}, and no {wanted}"


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a regular file. Does not wait for a pipe.

    Raises BadFile for anything else, for a larger file, and for a link out of the folder; OSError where there is none.
    """
    if leads_away(path):
        raise BadFile(f"{path} is a link out of its folder, and is not followed; put the file itself there")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BadFile(f"{path} is {KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, and no file")
        if found.st_size > largest:
            raise BadFile(f"{path} has {found.st_size:,} bytes; at most {largest:,} are read")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(largest)
    finally:
        os.close(descriptor)


def read_text(path: Path, largest: int = LARGEST, *, errors: str = "strict") -> str:
    """The text of a regular file in UTF-8. Raises as `read_bytes`, and BadFile for other bytes."""
    try:
        return read_bytes(path, largest).decode(errors=errors)
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is no text in UTF-8") from error


def parse_json(text: str, where: object) -> Any:
    """JSON with finite numbers, at most DEEPEST levels deep. Raises BadFile for anything else."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise BadFile(f"{where} is nested too deeply") from None
    except ValueError as error:
        raise Unparsable(f"{where} is no JSON: {error}") from error
    check_plain(content, where)
    return content


def check_plain(value: Any, where: object, deepest: int = DEEPEST) -> None:
    """Raise BadFile for nested content deeper than `deepest` levels, or with a number that is not finite."""
    if isinstance(value, (dict, list)):
        if not deepest:
            raise BadFile(f"{where} is nested too deeply")
        for inner in value.values() if isinstance(value, dict) else value:
            if not isinstance(inner, str):
                check_plain(inner, where, deepest - 1)
    elif isinstance(value, (int, float)) and not (-MOST < value < MOST):
        raise BadFile(f"{where} holds a number that is not finite, or too large")


def is_count(value: Any) -> bool:
    """Whether it is a whole number that a counter can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def read_json(path: Path, largest: int = LARGEST) -> Any:
    """The content of a JSON file. Raises as `read_text` and `parse_json`."""
    return parse_json(read_text(path, largest), path)


def read_object(path: Path, largest: int = LARGEST) -> dict[str, Any]:
    """A JSON file with an object at its top. Raises as `read_json`."""
    content = read_json(path, largest)
    if not isinstance(content, dict):
        raise BadFile(f"{path} holds no JSON object")
    return content


def write_atomically(path: Path, text: str) -> None:
    """Write a file atomically: it exists completely or not at all.

    Through a link, its target is written. What is no regular file, such as a device or a pipe, is written to.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # Path.resolve raises for a link to itself
    if path.exists() and not path.is_file():
        path.write_text(text)
        return
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)  # of a killed process with this number; a link would be followed
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
