"""What translators do with their source: its size beside the target's, and a start at the source itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from gan_lab.layers import ImageSize, sides


def enlargement(input_shape: tuple[int, int, int], image_size: ImageSize) -> int:
    """How many times larger a target of `image_size` is than its source (C, h, w): the same in height and width.

    Raises ValueError where it is no whole multiple, with sizes that are.

    >>> enlargement((3, 16, 24), (32, 48))
    2
    """
    (_, h, w), (height, width) = input_shape, sides(image_size)
    factor = max(height // h, 1)
    if (height, width) != (factor * h, factor * w):
        near = " or ".join(f"{k * h} x {k * w}" for k in (factor, factor + 1))
        raise ValueError(
            f"image_size={image_size}: a source of {h} x {w} px is enlarged by whole factors; choose {near} px"
        )
    return factor


def enlarged(source: Tensor, factor: int) -> Tensor:
    """Pictures [B, C, h, w] as [B, C, factor h, factor w], by bicubic interpolation; overshoots are not clipped.

    The cubic of Keys (1981) with a = -0.75. Pillow's -0.5, which `antialias=True` takes, is not the same in ONNX:
    exporters wrote -0.75 for it until 2026 (pytorch issue 177138).
    """
    return source if factor == 1 else interpolate(source, scale_factor=factor, mode="bicubic")


def shown(source: Tensor, channels: int) -> Tensor:
    """The picture in a source [B, C, H, W], as `channels` channels: its first ones, or its only one repeated; a view.

    What follows them (a mask) is no part of the picture.
    """
    return source[:, :channels].expand(-1, channels, -1, -1)


def padded(picture: Tensor, multiple: int) -> Tensor:
    """Pictures [B, C, H, W], bottom and right mirrored to a multiple of pixels; repeated where too small to mirror."""
    for dim in (2, 3):
        size = picture.shape[dim]
        if missing := -size % multiple:
            margins = (0, 0, 0, missing) if dim == 2 else (0, missing, 0, 0)
            picture = pad(picture, margins, mode="reflect" if missing < size else "replicate")
    return picture


def start_as_correction(last: nn.Module, input_channels: int, image_channels: int) -> None:
    """Scale a network's last convolution to 1 %, so that a source plus its output starts as little but the source.

    Not to zero: then no other layer would learn from the first step. Raises ValueError where the source shows no
    picture of `image_channels` channels to add to.
    """
    if 1 < input_channels < image_channels:
        raise ValueError(
            f"generator.residual=true adds the source to the output, and {input_channels} channels cannot be added to "
            f"{image_channels}; choose generator.residual=false"
        )
    with torch.no_grad():
        for parameter in last.parameters(recurse=False):
            parameter.mul_(0.01)
