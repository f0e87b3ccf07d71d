"""Pictures in a terminal, by half blocks in 24-bit colour: two pixels in each character."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

from gan_lab.core.files import BadFile, read_bytes
from gan_lab.display.pictures import GAP, GREY, open_picture

SMALLEST = 0.5  # of a sheet's pixels to those shown; of a larger sheet the first pictures are shown
UPPER = "▀"


def blocks(pixels: np.ndarray) -> Text:
    """A picture uint8 [H, W, 3] as H / 2 lines of W characters."""
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, pixels[-1:]])
    text = Text(no_wrap=True)
    for above, below in zip(pixels[::2], pixels[1::2], strict=True):
        for upper, lower in zip(above.tolist(), below.tolist(), strict=True):
            text.append(UPPER, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        text.append("\n")
    text.right_crop(1)
    return text


def sheet_in_blocks(file: Path, width: int, height: int) -> Text | None:
    """A sheet of pictures in at most `width` characters and `height` lines; None where it cannot be read.

    A grid that would be too small to see is cut to its first rows and columns.
    """
    try:
        sheet = open_picture(read_bytes(file))
    except (OSError, BadFile, ValueError, SyntaxError):
        return None
    if sheet is None:
        return None
    pixels = np.asarray(sheet)
    wide, high = (_kept(lines, most) for lines, most in zip(_gaps(pixels), (width, 2 * height), strict=True))
    sheet = sheet.crop((0, 0, wide, high))
    sheet.thumbnail((width, 2 * height), Image.Resampling.BOX)
    return blocks(np.asarray(sheet))


def _gaps(pixels: np.ndarray) -> tuple[list[int], list[int]]:
    """Where a grid may be cut, across and down: behind its gaps, and at its end."""
    cuts = []
    for axis in (0, 1):
        even = (pixels == GREY).all((axis, 2))
        ends = [i + 1 for i in range(GAP, len(even)) if even[i - GAP + 1 : i + 1].all() and not even[i - GAP]]
        cuts.append([*ends, len(even)] if even[:GAP].all() else [len(even)])
    return cuts[0], cuts[1]


def _kept(cuts: list[int], most: int) -> int:
    """How many pixels of a side are shown: all, or as many as stay large enough."""
    fitting = [cut for cut in cuts if cut * SMALLEST <= most]
    return max(fitting) if fitting and len(cuts) > 1 else cuts[-1]
