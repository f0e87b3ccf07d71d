"""Super-resolution: pictures reduced by a whole factor."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_lab.degradations import Degradation, Draw
from gan_lab.registry import Bounds, Positive, degradations

FACTORS = (2, 4, 8)


@degradations.register("super_resolution")
class SuperResolution(Degradation):
    """The source is the target reduced by `factor` (2, 4 or 8) in height and width, bicubic and antialiased.

    It is rounded to `levels` values as a file would be: 256 for 8 bits, 65536 for 16, null for none. The trivial
    solution is bicubic enlargement. Both use the cubic of Keys (1981) with a = -0.5, as Pillow and MATLAB's imresize
    do. Raises ValueError for another factor, and for sizes that it does not divide.
    """

    bar = "bicubic"

    def __init__(self, *, factor: Positive = 2, levels: Annotated[int, Bounds(2)] | None = 256) -> None:
        if factor not in FACTORS:
            raise ValueError(f"degradation.factor={factor}: choose from {', '.join(map(str, FACTORS))}")
        self.factor, self.levels = factor, levels

    def input_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        channels, height, width = shape
        factor = self.factor
        if height % factor or width % factor:
            below, above = ([max(size // factor + more, 1) * factor for size in (height, width)] for more in (0, 1))
            raise ValueError(
                f"degradation=super_resolution: pictures of {height} x {width} do not divide by factor={factor}; "
                f"heights that fit are {below[0]} and {above[0]}, widths {below[1]} and {above[1]}"
            )
        return channels, height // factor, width // factor

    def __call__(self, target: Tensor, draw: Draw) -> Tensor:
        _, *size = self.input_shape((target.shape[1], target.shape[2], target.shape[3]))
        return rounded(resized(target, size), self.levels)

    def solve(self, source: Tensor) -> Tensor:
        return resized(source, [self.factor * size for size in source.shape[2:]]).clamp(-1, 1)


def resized(pictures: Tensor, size: list[int]) -> Tensor:
    """[B, C, H, W] to another (height, width), bicubic, antialiased where it shrinks.

    `antialias` when enlarging, too: without it torch takes a = -0.75, which is not the usual bar (0.16 dB more at x2).
    """
    pictures = pictures.to(torch.promote_types(pictures.dtype, torch.float32))
    return interpolate(pictures, size, mode="bicubic", align_corners=False, antialias=True)


def rounded(pictures: Tensor, levels: int | None) -> Tensor:
    """Pictures clipped to [-1, 1] and rounded to so many equal levels: 256 give the values of 8-bit pictures."""
    if levels is None:
        return pictures
    half = (levels - 1) / 2
    return pictures.add(1).mul(half).round().clamp(0, 2 * half).div(half).sub(1)
