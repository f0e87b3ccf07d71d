"""A folder of pictures: cropped, resized and decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from gan_lab.datasets.store import Rows, Store, cached, content_key, height_width
from gan_lab.registry import Bounds, Positive, datasets

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAX_PIXELS = 64_000_000  # a larger picture is a mistake or an attack
CHUNK = 256  # pictures decoded between two writes


@datasets.register("image_folder")
class ImageFolder:
    """Every picture under `path`: the largest centered crop of the wanted shape, then one antialiased resize.

    Sub-folders are searched. A picture that cannot be read whole is skipped, named and counted. Raises ValueError for a
    folder that is missing, or holds no picture.
    """

    num_classes = None

    def __init__(
        self,
        *,
        path: str | None = None,
        image_size: Positive | tuple[Positive, Positive] = 64,
        image_channels: Annotated[int, Bounds(1, 3)] = 3,
    ) -> None:
        if path is None:
            raise ValueError("dataset=image_folder needs dataset.path=FOLDER")
        if image_channels == 2:
            raise ValueError("dataset.image_channels=2: choose 1, grey, or 3, colour")
        self.path, self.size, self.channels = Path(path).expanduser(), height_width(image_size), image_channels
        self.sample_shape = (self.channels, *self.size)
        if not self.path.is_dir():
            raise ValueError(f"dataset.path={path}: there is no such folder")
        self.files = sorted(file for file in self.path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not self.files:
            raise ValueError(f"dataset.path={path}: no picture in it; these are read: {' '.join(sorted(SUFFIXES))}")

    def load(self, split: str = "train") -> Store:
        """All pictures, uint8 [N, H, W, C], from a cache that is keyed by the files' content."""
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_digest, self.files))
        names = [file.relative_to(self.path).as_posix() for file in self.files]
        key = content_key(list(zip(names, digests, strict=True)), self.size, self.channels, 1)
        return cached("image_folder", key, self._rows)

    def _rows(self, skipped: dict[str, str]) -> Rows:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self.files), CHUNK):
                files = self.files[start : start + CHUNK]
                if images := list(self._readable(files, pool.map(self._decode, files), skipped)):
                    yield {"sample": np.stack(images)}

    def _readable(self, files: list[Path], decoded: Any, skipped: dict[str, str]) -> Iterator[np.ndarray]:
        for file, image in zip(files, decoded, strict=True):
            if isinstance(image, str):
                skipped[file.relative_to(self.path).as_posix()] = image
            else:
                yield image

    def _decode(self, file: Path) -> np.ndarray | str:
        """One picture as uint8 [H, W, C], or why it cannot be read."""
        from PIL import Image, ImageOps

        height, width = self.size
        try:
            with Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    return f"{image.width} x {image.height} pixels are too many"
                image.load()  # only this finds a truncated file
                upright = _eight_bits(ImageOps.exif_transpose(image)).convert("L" if self.channels == 1 else "RGB")
                # cropped to whole pixels first: a resize of a box would blend in what lies outside
                scale = min(upright.width / width, upright.height / height)
                crop = max(round(width * scale), 1), max(round(height * scale), 1)
                left, top = (upright.width - crop[0]) // 2, (upright.height - crop[1]) // 2
                cropped = upright.crop((left, top, left + crop[0], top + crop[1]))
                resized = cropped.resize((width, height), Image.Resampling.LANCZOS)
        except Exception as error:  # decoders raise whatever they like
            return str(error) or type(error).__name__
        return np.asarray(resized, dtype=np.uint8).reshape(height, width, self.channels)


def _eight_bits(image: Any) -> Any:
    """Sixteen bits of grey scaled to eight; PIL's own conversion would cut them off at 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, dtype=np.float64) / 257).round().clip(0, 255).astype(np.uint8))


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
