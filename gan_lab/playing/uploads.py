"""A file that was dropped into the page, through a translator or a detector."""

from __future__ import annotations

import base64
import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lab.commands.apply import Translator, why_not
from gan_lab.commands.score import Detector
from gan_lab.datasets.decoding import decode
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import heat, save_image
from gan_lab.generators.sources import shown

LARGEST = 32 << 20  # bytes of a file; the decoders have limits of their own, of pixels
MOST_PIXELS = 4_000_000  # of an output: a CPU takes seconds for so many, and nobody else is served meanwhile
BINS = 40  # of the histogram of normal scores
# How files begin that are not recognized by the decoder of all others.
BEGINNINGS = {b"\x93NUMPY": ".npy", b"II*\0": ".tif", b"MM\0*": ".tif"}
DICOM = slice(128, 132)


@contextlib.contextmanager
def as_file(content: bytes) -> Iterator[Path]:
    """A file with this content, alone in a folder that only this user sees, and that is gone afterwards.

    Its name is ours, and says what the content begins like.
    """
    suffix = next((suffix for start, suffix in BEGINNINGS.items() if content.startswith(start)), ".png")
    suffix = ".dcm" if content[DICOM] == b"DICM" else suffix
    with tempfile.TemporaryDirectory(prefix="gan_lab-") as folder:
        file = Path(folder, f"picture{suffix}")
        file.write_bytes(content)
        yield file


def translate(translator: Translator, content: bytes) -> dict[str, Any]:
    """The source as the network sees it and the result, as pictures to look at, and the result as a file.

    Raises ValueError, in one line, for a file that cannot be taken.
    """
    with as_file(content) as file:
        target = file.with_name(f"result{translator.suffix}")
        try:
            source = translator.source(file)
            height, width = source.shape[2:]
            if height * width * translator.factor**2 > MOST_PIXELS:
                raise ValueError(f"{width} x {height} pixels are too many for the page; gan-lab apply takes them")
            output = translator.output(source, file)
            translator.write(output, target)
        except Exception as error:  # decoders and layers raise whatever they like
            raise ValueError(why_not(error, file).replace(str(file), "the file")) from error
        if translator.made.kind == "mask":  # numbers of classes: the largest one white
            output = (output + 1) / (output + 1).max().clamp(min=1e-6) * 2 - 1
        return {
            "source": data_url(as_picture(source)),
            "result": data_url(as_picture(output)),
            "file": base64.b64encode(target.read_bytes()).decode(),
            "suffix": translator.suffix,
        }


def score(detector: Detector, content: bytes) -> dict[str, Any]:
    """The picture as the detector sees it, its score and map, and where the score lies among normal ones.

    Raises ValueError, in one line, for a file that cannot be taken.
    """
    with as_file(content) as file:
        pixels = decode(file, detector.size, detector.channels)
        if isinstance(pixels, str):
            raise ValueError(pixels.replace(str(file), "the file"))
    found = detector.detected([pixels])
    return {
        "source": data_url(pixels),
        "map": data_url(heat(found["map"])[0]),
        "score": float(found["score"][0]),
        "above": float(found["above"][0]),
    }


def normal_scores(detector: Detector) -> dict[str, Any]:
    """A histogram of the scores of the run's own normal pictures."""
    low, high = float(detector.normal[0]), float(detector.normal[-1])
    counts = torch.histc(detector.normal.float(), BINS, low, high) if high > low else torch.ones(1)
    return {"low": low, "high": high, "counts": counts.tolist(), "of": len(detector.normal)}


def as_picture(values: Tensor) -> np.ndarray:
    """The first picture of [B, C, H, W] in [-1, 1] as uint8 [H, W, 1 or 3]; of more bands the first three."""
    channels = 3 if values.shape[1] >= 3 else 1
    pixels: np.ndarray = unscale(shown(values[:1], channels).clamp(-1, 1))[0].numpy()
    return pixels


def png(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, C] as a PNG."""
    packed = io.BytesIO()
    save_image(pixels, packed)
    return packed.getvalue()


def data_url(pixels: np.ndarray) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"
