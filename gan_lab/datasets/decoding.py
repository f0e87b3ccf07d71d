"""Picture files to pixels: the largest centered crop of the wanted shape, then one antialiased resize."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.datasets.store import Rows

MAX_PIXELS = 64_000_000  # a larger picture is a mistake or an attack
CHUNK = 256  # pictures decoded between two writes


def decoded(
    folder: Path,
    names: Sequence[str],
    labels: np.ndarray | None,
    size: tuple[int, int],
    channels: int,
    skipped: dict[str, str],
) -> Rows:
    """Rows of the named pictures of a folder, uint8 [N, H, W, C], and of their classes where `labels` [N] has them.

    A picture that cannot be read whole is noted in `skipped` with the reason, and its label left out with it.
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


def decode(file: Path, size: tuple[int, int], channels: int) -> np.ndarray | str:
    """One picture as uint8 [H, W, C], grey or colour, or why it cannot be read."""
    from PIL import Image, ImageOps

    height, width = size
    try:
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                return f"{image.width} x {image.height} pixels are too many"
            image.load()  # only this finds a truncated file
            upright = _eight_bits(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
            # cropped to whole pixels first: a resize of a box would blend in what lies outside
            scale = min(upright.width / width, upright.height / height)
            crop = max(round(width * scale), 1), max(round(height * scale), 1)
            left, top = (upright.width - crop[0]) // 2, (upright.height - crop[1]) // 2
            cropped = upright.crop((left, top, left + crop[0], top + crop[1]))
            resized = cropped.resize((width, height), Image.Resampling.LANCZOS)
    except FileNotFoundError:
        return "there is no such file"
    except Exception as error:  # decoders raise whatever they like
        return str(error) or type(error).__name__
    return np.asarray(resized, dtype=np.uint8).reshape(height, width, channels)


def _eight_bits(image: Any) -> Any:
    """Sixteen bits of grey scaled to eight; PIL's own conversion would cut them off at 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, dtype=np.float64) / 257).round().clip(0, 255).astype(np.uint8))
