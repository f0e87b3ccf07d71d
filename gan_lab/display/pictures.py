"""Sheets of examples as files: grids of pictures, points in the plane over the data, lines of text."""

from __future__ import annotations

import base64
import html
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

GAP, GREY = 2, 32  # pixels between the images of a grid, and their brightness
MOST_PIXELS = 64_000_000  # of a sheet that is read; more would take gigabytes when it is unpacked


@dataclass(frozen=True, repr=False)
class Sheet:
    """A picture, uint8 [H, W, C], or lines of text, for a person to look at. The caption explains the layout."""

    content: np.ndarray | str
    caption: str | None = None

    @property
    def suffix(self) -> str:
        return ".txt" if isinstance(self.content, str) else ".png"

    def __repr__(self) -> str:
        what = "lines of text" if isinstance(self.content, str) else " x ".join(map(str, self.content.shape[:2]))
        return f"<Sheet of {what}{f': {self.caption}' if self.caption else ''}>"

    def save(self, path: Path | str) -> None:
        """Write the sheet, a .png or a .txt, atomically."""
        save_sheet(self, Path(path))

    def _repr_png_(self) -> bytes | None:
        if isinstance(self.content, str):
            return None
        packed = io.BytesIO()
        save_image(self.content, packed)
        return packed.getvalue()

    def _repr_html_(self) -> str | None:
        """Text, or a picture with its caption; None for a picture alone."""
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        if isinstance(self.content, str):
            return f"<figure><pre>{html.escape(self.content)}</pre>{caption}</figure>"
        if not caption:
            return None
        data = base64.b64encode(self._repr_png_() or b"").decode()
        return f'<figure><img src="data:image/png;base64,{data}">{caption}</figure>'


def save_sheet(sheet: Sheet, path: Path) -> None:
    """Write the sheet atomically: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        if isinstance(sheet.content, str):
            temporary.write_text(sheet.content)
        else:
            save_image(sheet.content, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_image(pixels: np.ndarray, file: Path | io.BytesIO) -> None:
    """uint8 [H, W, C] as a PNG."""
    from PIL import Image

    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(file, format="PNG")


def open_picture(content: bytes) -> Image.Image | None:
    """A PNG in RGB; None where it has too many pixels. Raises OSError, ValueError or SyntaxError for a damaged one."""
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        return picture.convert("RGB") if picture.width * picture.height <= MOST_PIXELS else None


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Pictures uint8 [N, H, W, C] in a grid [H', W', C] with dark gaps: `columns` wide, or else nearly square."""
    n, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), GREY, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = image
    return sheet


def heat(differences: Tensor) -> np.ndarray:
    """Absolute differences [N, H, W] of pictures in [-1, 1] as grey ones, uint8 [N, H, W, 1]; white is 1 or more."""
    brightness = (differences.clamp(0, 1) * 255).round().to(torch.uint8)
    return brightness[..., None].numpy()


def scatter(samples: Tensor, data: Tensor | None) -> np.ndarray:
    """Points [N, 2] drawn over data [M, 2]. The data set the axes, so that pictures of one run can be compared."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=110)
    axes = figure.add_axes((0.125, 0.06, 0.84, 0.88))  # by hand: a layout to fit the labels takes as long as the rest
    if data is not None:
        axes.scatter(data[:, 0], data[:, 1], s=6, c="#c8ccd4", linewidths=0, label="data")
        low, high = data.min().item(), data.max().item()
        margin = 0.15 * (high - low)
        axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
        outside = int(((samples < low - margin) | (samples > high + margin)).any(1).sum())
        axes.set_title(f"{len(samples):,} samples" + (f", {outside:,} of them outside" if outside else ""), fontsize=10)
    finite = torch.nan_to_num(samples)
    axes.scatter(finite[:, 0], finite[:, 1], s=3, c="#d9480f", linewidths=0, alpha=0.6, label="samples")
    axes.set_aspect("equal")
    axes.legend(loc="upper right", fontsize=8, markerscale=3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def beside(*rows: np.ndarray) -> np.ndarray:
    """Several batches of pictures, each uint8 [N, H, W, C] of one size, as one grid with one row for each example.

    With many examples, a row holds several of them, so that the grid is not taller than wide.
    """
    count, across = len(rows[0]), len(rows)
    columns = max(round((count / across) ** 0.5), 1)
    mixed = np.stack(rows, axis=1).reshape(count * across, *rows[0].shape[1:])
    return grid(mixed, columns=across * columns)
