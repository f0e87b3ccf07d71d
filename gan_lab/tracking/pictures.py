"""Samples as pictures: a grid of images, or points in the plane over the data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_lab.datasets.store import unscale

GAP = 2  # pixels between the images of a grid


def save(samples: Tensor, path: Path, data: Tensor | None = None) -> None:
    """Write samples, images [N, C, H, W] in [-1, 1] or points [N, 2], as a PNG that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.png")
    try:
        if samples.dim() == 4:
            save_image(grid(unscale(samples).numpy()), temporary)
        else:
            _scatter(samples, data, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_image(pixels: np.ndarray, path: Path) -> None:
    """uint8 [H, W, C] as a PNG."""
    from PIL import Image

    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path, format="PNG")


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """uint8 [N, H, W, C] side by side in a grid [H', W', C], nearly square or so wide, with a dark gap between them."""
    n, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 32, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = image
    return sheet


def _scatter(samples: Tensor, data: Tensor | None, path: Path) -> None:
    """Samples in front of data, both on axes that the data decides, so that pictures of one run can be compared."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=110, layout="tight")
    axes = figure.add_subplot()
    if data is not None:
        axes.scatter(data[:, 0], data[:, 1], s=6, c="#c8ccd4", linewidths=0, label="data")
        low, high = data.min().item(), data.max().item()
        margin = 0.15 * (high - low)
        axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
        outside = int(((samples < low - margin) | (samples > high + margin)).any(1).sum())
        axes.set_title(f"{len(samples):,} samples" + (f", {outside:,} of them outside" if outside else ""), fontsize=10)
    shown = torch.nan_to_num(samples)
    axes.scatter(shown[:, 0], shown[:, 1], s=3, c="#d9480f", linewidths=0, alpha=0.6, label="samples")
    axes.set_aspect("equal")
    axes.legend(loc="upper right", fontsize=8, markerscale=3)
    figure.savefig(path)
