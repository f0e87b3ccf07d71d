"""One picture file to an array of its own values: 8 and 16 bits, grey, colour and more channels, and float."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.datasets.decoding import LOSSLESS, LOSSY, MAX_PIXELS, has_sixteen_bits, opened
from gan_lab.datasets.packed import mapped_npy
from gan_lab.datasets.sources import one_line

MAX_VALUES = 4 * MAX_PIXELS  # of all channels
DICOM = {".dcm", ".dicom", ".ima"}
SUFFIXES = LOSSLESS | LOSSY | DICOM | {".npy"}
TIFF = {".tif", ".tiff"}
BITS = 258  # the TIFF tag of the bits of each channel
EXTRA = 'pip install "hydra-gan-lab[images]"'
EIGHT_BITS = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA"}  # PIL's modes


class Unreadable(Exception):
    """A file that is no picture, or not a whole one; the message says why, without the name."""


class PackageMissing(ValueError):
    """A file that takes a package which is not installed; the message names it."""


def read_array(file: Path) -> np.ndarray:
    """The values of a picture file, [H, W, C] of the file's own dtype: uint8 or uint16, or any number of .npy and TIFF.

    A palette is resolved; a picture is turned as its camera says. PIL would cut 16 bits of colour down to 8 without a
    word, so a PNG of those is read twice, and a TIFF by tifffile. Raises Unreadable, and PackageMissing.
    """
    try:
        pixels = _decoder(file)(file)
    except (Unreadable, PackageMissing):
        raise
    except FileNotFoundError as error:
        raise Unreadable("there is no such file") from error
    except Exception as error:  # decoders raise whatever they like
        raise Unreadable(one_line(error)) from error
    return _checked(pixels[..., None] if pixels.ndim == 2 else pixels)


def _decoder(file: Path) -> Callable[[Path], np.ndarray]:
    from gan_lab.datasets.medical import read_dicom  # which imports this module

    if file.suffix.lower() == ".npy":
        return mapped_npy  # the size is looked at first
    return read_dicom if file.suffix.lower() in DICOM else _by_pillow


def _checked(pixels: np.ndarray) -> np.ndarray:
    shape = " x ".join(map(str, pixels.shape))
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.dtype.kind not in "uif":
        raise Unreadable(f"it holds {pixels.dtype} of {shape}, not numbers of height x width x channels")
    _refuse_large(pixels.shape)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise Unreadable("it holds values that are not finite")
    return np.array(pixels, order="C")


def _refuse_large(shape: tuple[int, ...]) -> None:
    height, width, channels = shape
    if height * width > MAX_PIXELS or height * width * channels > MAX_VALUES:
        raise Unreadable(f"{' x '.join(map(str, shape))} values are too many")


def _by_pillow(file: Path) -> np.ndarray:
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with opened(file, MAX_PIXELS) as image:
            if image.format == "TIFF" and _beyond_pillow(image):
                return _by_tifffile(file)
            if image.format == "PPM" and (image.mode == "I" or _largest_argument(image) > 255):
                raise Unreadable("it has more than 8 bits a channel: save it as a PNG")
            if image.format == "PNG" and has_sixteen_bits(image) and image.mode != "I;16":
                return _sixteen_bits(file)
            image.load()  # only this finds a truncated file
            return _values(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        if file.suffix.lower() in TIFF:
            return _by_tifffile(file)
        raise


def _beyond_pillow(tiff: Any) -> bool:
    """Whether it is a stack, or of colours of more than 8 bits; of grey and of float numbers PIL keeps all bits."""
    return getattr(tiff, "n_frames", 1) > 1 or (max(tiff.tag_v2.get(BITS, (1,))) > 8 and tiff.mode[0] not in "IF")


def _largest_argument(image: Any) -> int:
    """The largest number that PIL's decoder is told: of the PPM family the value of white."""
    arguments = image.tile[0][3] if image.tile else ()
    return max((value for value in arguments if isinstance(value, int)), default=0)


def _values(image: Any) -> np.ndarray:
    mode = image.mode
    if mode in ("F", "I"):
        return np.asarray(image)
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if mode == "P":
        mode = "RGBA" if image.has_transparency_data else "RGB"
        return np.asarray(image.convert(mode))
    if mode not in EIGHT_BITS:
        raise Unreadable(f"its mode {mode} is neither grey nor colour: save it as a PNG")
    return np.asarray(image.convert(EIGHT_BITS[mode]))


def _sixteen_bits(file: Path) -> np.ndarray:
    """A PNG of 16 bits a colour. PIL keeps one byte of the two: of big-endian values the high one, of little-endian
    ones the second, which here is the low one.
    """
    found = {}
    for order in "BL":
        with opened(file, MAX_PIXELS) as image:
            decoder: Any = image
            (codec, extents, offset, raw), *more = decoder.tile
            if more or raw not in ("RGB;16B", "RGBA;16B"):
                raise Unreadable(f"its 16 bits ({raw}) are neither grey nor colour: save it as colour, or as .npy")
            decoder.tile = [(codec, extents, offset, f"{image.mode};16{order}")]
            image.load()
            found[order] = np.asarray(image).astype(np.uint16)
    return found["B"] * 256 + found["L"]


def _by_tifffile(file: Path) -> np.ndarray:
    try:
        import tifffile
    except ImportError as error:
        raise PackageMissing(f"{file}: a TIFF of more than 8 bits a channel needs tifffile: {EXTRA}") from error
    with tifffile.TiffFile(file) as content:
        series = content.series[0]
        if series.axes not in ("YX", "YXS", "SYX"):
            raise Unreadable(f"it holds a stack of pictures ({series.axes} of {series.shape}): give one file each")
        _refuse_large((*series.shape, 1)[:3] if series.axes != "SYX" else (*series.shape[1:], series.shape[0]))
        pixels: np.ndarray = series.asarray()
        return pixels.transpose(1, 2, 0) if series.axes == "SYX" else pixels
