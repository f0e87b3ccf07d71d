"""Writes shards: tar archives as webdataset's own writer makes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """uint8 [H, W, C] as the content of a file."""
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(content, kind)
    return content.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> Path:
    """An archive of these members, in their order."""
    with tarfile.open(path, "w") as archive:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def members_of(pixels: np.ndarray, labels: Iterable[int], first: int = 0) -> Iterable[tuple[str, bytes]]:
    """A picture and its class for each of uint8 [N, H, W, C], called by their numbers."""
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True), first):
        yield f"{number:08}.png", encoded(picture)
        yield f"{number:08}.cls", str(label).encode()
