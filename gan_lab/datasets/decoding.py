"""Reads pixels from picture files: cropped and resized, for data sets, or unchanged, for scores."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from gan_lab.datasets.cache import Rows
from gan_lab.datasets.packed import pictures_of_npz, refuse_large
from gan_lab.datasets.trusted_files import check_regular

MAX_PIXELS = 64_000_000  # a larger picture is a mistake or an attack
LARGE = MAX_PIXELS // 8  # such pictures are decoded one at a time: all threads at once would need gigabytes
CHUNK = 256  # pictures decoded between two writes
LOSSLESS = {".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
# Of what Pillow could open, those that it decodes itself: it would start Ghostscript for an EPS, whatever its name.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP", "GIF")
LOSSY = {".jpg", ".jpeg", ".webp", ".gif"}
_one_at_a_time = threading.RLock()


def decoded(
    folder: Path,
    names: Sequence[str],
    labels: np.ndarray | None,
    size: tuple[int, int],
    channels: int,
    skipped: dict[str, str],
) -> Rows:
    """Rows of the named pictures of a folder, uint8 [N, H, W, C], with their classes if `labels` [N] is given.

    A picture that cannot be read completely is left out with its label, and added to `skipped` with the reason.
    """
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(names), CHUNK):
            chosen = names[start : start + CHUNK]
            results = list(pool.map(lambda name: decode(folder / name, size, channels), chosen))
            skipped |= {name: why for name, why in zip(chosen, results, strict=True) if isinstance(why, str)}
            kept = [i for i, result in enumerate(results) if not isinstance(result, str)]
            if kept:
                rows = {"sample": np.stack([results[i] for i in kept])}
                if labels is not None:
                    rows["label"] = labels[start : start + CHUNK][kept].astype(np.int64)
                yield rows


def decode(file: Path | IO[bytes], size: tuple[int, int], channels: int) -> np.ndarray | str:
    """One picture, a file or its content, as uint8 [H, W, C], grey or colour, or the reason why it cannot be read.

    It is the largest centered crop with the aspect ratio of `size`, resized once with antialiasing.
    """
    height, width = size
    try:
        image = _upright(file, channels)
        # Cropped to whole pixels first: resizing a box would mix in pixels outside of it.
        scale = min(image.width / width, image.height / height)
        crop = max(round(width * scale), 1), max(round(height * scale), 1)
        return _cut(image, crop, size, channels)
    except Exception as error:  # decoders may raise any exception
        return _why(error)


def reduced(file: Path, factor: int, channels: int) -> np.ndarray | str:
    """One picture, smaller by an integer factor, as uint8 [H, W, C], or the reason why it cannot be read.

    One antialiased resize, after the border is cut to a multiple of the factor. A factor of 1 changes no pixel.
    """
    try:
        image = _upright(file, channels)
        width, height = image.width // factor, image.height // factor
        if not width or not height:
            return f"{image.width} x {image.height} pixels are too few to be reduced by {factor}"
        return _cut(image, (width * factor, height * factor), (height, width), channels)
    except Exception as error:  # decoders may raise any exception
        return _why(error)


def _upright(file: Path | IO[bytes], channels: int) -> Any:
    """A complete picture of 8 bits, grey or colour, rotated as its EXIF orientation says."""
    from PIL import ImageOps

    with opened(file, MAX_PIXELS) as image:
        image.load()  # only this finds a truncated file
        ImageOps.exif_transpose(image, in_place=True)
        image, mode = _eight_bits(image), "L" if channels == 1 else "RGB"
        return image if image.mode == mode else image.convert(mode)  # which copies


@contextlib.contextmanager
def opened(file: Path | IO[bytes], most: int) -> Iterator[Any]:
    """A picture, of which only the header is read so far, in one of our formats and of `most` pixels at most.

    Raises ValueError for a larger one, and OSError for what is no regular file or no picture.
    """
    from PIL import Image

    look_at_sizes_ourselves()
    if isinstance(file, Path):
        check_regular(file)
    with Image.open(file, formats=FORMATS) as image:
        pixels = image.width * image.height
        if pixels > most:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        with _one_at_a_time if pixels > LARGE else contextlib.nullcontext():
            yield image


def _cut(image: Any, crop: tuple[int, int], size: tuple[int, int], channels: int) -> np.ndarray:
    """The centre of (width, height) `crop`, resized to (height, width) `size`: uint8 [H, W, C]."""
    from PIL import Image

    if image.size != crop:
        left, top = (image.width - crop[0]) // 2, (image.height - crop[1]) // 2
        image = image.crop((left, top, left + crop[0], top + crop[1]))
    if crop != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8).reshape(*size, channels)


def _why(error: Exception) -> str:
    return "there is no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__


@functools.cache
def look_at_sizes_ourselves() -> None:
    """Silence PIL's warning of large pictures: our own limit, MAX_PIXELS, is lower than the size that PIL refuses."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def _eight_bits(image: Any) -> Any:
    """A grey picture of 16 bits scaled to 8 bits. PIL's own conversion would clip values at 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, dtype=np.float64) / 257).round().clip(0, 255).astype(np.uint8))


def has_sixteen_bits(image: Any) -> bool:
    """Whether a picture that is opened, but not loaded, has 16 bits per channel in its file."""
    return any("16" in str(raw_mode) for _, _, _, raw_mode in image.tile)


# -- unchanged pictures ------------------------------------------------------------------------------------------------


def files_of(folder: Path, suffixes: set[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in suffixes and file.is_file())


def read_exactly(path: Path, *, force: bool) -> Tensor:
    """Pictures, uint8 [N, H, W, C], of an .npz under the key `images`, or of a folder's files, grey or colour.

    Raises ValueError for other types, for lossy files unless `force`, for a file that cannot be read, for sizes that
    differ, where memory has no room for all, and where there is none.
    """
    if path.is_file():
        return _read_npz(path)
    files, lossy = files_of(path, LOSSLESS), files_of(path, LOSSY)
    if lossy and not force:
        raise ValueError(
            f"{path} holds {lossy[0].name}: lossy files change every distance; save PNGs, or insist with --force"
        )
    if not (files := sorted([*files, *lossy])):
        raise ValueError(f"{path} is no run, and holds no pictures ({' '.join(sorted(LOSSLESS))}) or runs to evaluate")
    first = _read_picture(files[0])
    try:
        refuse_large(2 * len(files) * first.nbytes)  # decoded, and in one array
    except ValueError as error:
        raise ValueError(f"{path} holds {len(files):,} pictures: {error}; make it fewer") from error
    with ThreadPoolExecutor() as pool:
        images = [first, *pool.map(lambda file: _read_picture(file, like=(files[0], first)), files[1:])]
    channels = max(image.shape[2] for image in images)
    return torch.from_numpy(np.stack([np.repeat(i, channels, axis=2) if i.shape[2] < channels else i for i in images]))


def _read_npz(path: Path) -> Tensor:
    try:
        return torch.from_numpy(pictures_of_npz(path))
    except Exception as error:  # numpy and zipfile may raise any exception
        why = " ".join(str(error).split())
        raise ValueError(f"{path} is no .npz with the key images, as gan-lab sample writes it ({why})") from error


def _read_picture(file: Path, like: tuple[Path, np.ndarray] | None = None) -> np.ndarray:
    """One picture as uint8 [H, W, 1 or 3]. Raises ValueError for another size than that of `like`, (file, pixels)."""
    try:
        with opened(file, MAX_PIXELS) as image:
            if like and (image.height, image.width) != like[1].shape[:2]:
                one, other = " x ".join(map(str, like[1].shape[:2])), f"{image.height} x {image.width}"
                raise ValueError(f"it has {other} pixels and {like[0].name} {one}; make them equal")
            if has_sixteen_bits(image):  # PIL would cut colours down to 8 bits
                raise ValueError("it has 16 bits a colour, not 8")
            image.load()
            mode = image.mode
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise ValueError("it has transparent pixels")
            if mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
                raise ValueError(f"its mode {mode} is not 8 bits of grey or colour")
            pixels = np.asarray(image.convert("L" if mode in ("1", "L", "LA") else "RGB"), dtype=np.uint8)
    except Exception as error:  # decoders may raise any exception
        raise ValueError(f"{file} cannot be taken: {' '.join(str(error).split())}") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]
