"""Pictures of a tar archive as webdataset writes it: files of one key side by side, `0007.jpg` and `0007.cls`.

Nothing is unpacked to the disk, and nothing but pictures and classes is read: no pickle, whatever a member is called.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_lab.core.files import printable
from gan_lab.datasets.sharded import LARGEST, Fault, Sample
from gan_lab.datasets.sources import DAMAGED, one_line
from gan_lab.datasets.trusted_files import check_regular, shown_name

PICTURES = {"png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm"}
NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")  # key and ending; a member without them belongs to no sample
LARGEST_LABEL = 1 << 20  # bytes


def samples_of_tar(file: Path, picture: str | None, label: str | None, labelled: bool) -> Iterator[Sample | Fault]:
    """The samples of an archive, in its order. `label` is "cls" or, of a JSON, "json.FIELD".

    Raises ValueError for an archive that is cut or damaged, or has members that are no plain files with plain paths.
    """
    ending, _, field = (label or "cls").partition(".")
    wanted = ({picture.lower()} if picture else PICTURES) | ({ending} if labelled else set())
    try:
        check_regular(file)
        with tarfile.open(file, "r:") as archive:
            key = ""
            parts: dict[str, bytes | str] = {}
            for name, content in _members(archive, file, wanted):
                if name[0] != key and parts:
                    yield _sample(file, key, parts, ending if labelled else None, field)
                    parts = {}
                key = name[0]
                if name[1] in parts:
                    raise ValueError(f"{file}: {shown_name('.'.join(name))} comes twice; pack it again")
                parts[name[1]] = content
            # tarfile takes a header that it cannot read, and the end of a cut file, for the end of the archive.
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"it has no end after {archive.offset:,} bytes")
            if parts:
                yield _sample(file, key, parts, ending if labelled else None, field)
    except (*DAMAGED, OverflowError, RecursionError) as error:
        raise ValueError(f"{file} is no whole tar archive ({one_line(error)}); get it again") from error


def _members(archive: tarfile.TarFile, file: Path, wanted: set[str]) -> Iterator[tuple[tuple[str, str], bytes | str]]:
    """(key, ending) of the members with these endings, and their content, or why they have none that is read."""
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # else it remembers them all
        name = member.name
        if name.startswith("/") or ".." in name.split("/") or printable(name) != name or "\n" in name:
            raise ValueError(f"{file}: a member has the odd path {shown_name(name)}; pack it again with plain names")
        if member.isdir():
            continue
        if not 0 <= member.size <= file.stat().st_size:
            raise tarfile.ReadError(f"{name} claims {member.size} bytes")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise ValueError(f"{file}: {name} is a link, a device or sparse; pack it again with plain files alone")
        if (found := NAME.fullmatch(name)) and (ending := found[2].lower()) in wanted:
            content = archive.extractfile(member)
            assert content is not None
            large = member.size > LARGEST
            yield (found[1], ending), f"it has {member.size:,} bytes" if large else content.read()


def _sample(file: Path, key: str, parts: dict[str, Any], ending: str | None, field: str) -> Sample | Fault:
    """One sample of its members by their endings. `ending` and `field` say where its class is; None: it needs none."""
    name = f"{file.name}/{key}"
    text = parts.pop(ending, None) if ending else None
    if len(parts) != 1:
        several = f"it has {len(parts)} pictures, {' and '.join(sorted(parts))}: name one by dataset.picture"
        return Fault(name, several if parts else "it has no picture")
    (picture,) = parts.values()
    if isinstance(picture, str):
        return Fault(name, picture)
    if ending is None:
        return Sample(name, picture, None)
    label = _label(text, field)
    if label is None:
        of = f"{field} in its .{ending}" if field else f".{ending}"
        return Fault(name, f"it has no {of}" if text is None else f"{of} is no class: a number from 0 on")
    return Sample(name, picture, label)


def _label(text: Any, field: str) -> int | None:
    """The class that a member says; None for what is none."""
    if not isinstance(text, bytes) or len(text) > LARGEST_LABEL:
        return None
    try:
        value = json.loads(text)
        value = value[field] if field else value
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if type(value) is int and value >= 0 else None
