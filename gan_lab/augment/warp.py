"""Moving pictures by matrices: exactly where pixels fall on pixels, with a low-pass filter where they do not.

Matrices [B, 3, 3] map homogeneous coordinates (x, y, 1) in pixels, with the origin in the picture's middle and y
downwards. What is needed is where a target's pixel comes from, so pictures are moved by the inverse.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import grid_sample, one_hot

from gan_lab.augment.pixels import gathered, reflected

# The low-pass filter of the wavelet symlet 6 (Daubechies 1992, table 8.3), divided by sqrt 2. Its even shifts are
# orthogonal: what is doubled and halved with it, without a move between, is the same as before.
SYMLET = tuple(
    tap / 2**0.5
    for tap in (
        0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
        0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
        0.0017677118642428036, -0.007800708325034148,
    )
)  # fmt: skip
REACH = len(SYMLET) // 4  # pixels that the filter reaches beyond an edge


# -- matrices ----------------------------------------------------------------------------------------------------------


def translation(x: Tensor, y: Tensor) -> Tensor:
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix((one, zero, x), (zero, one, y), (zero, zero, one))


def scaling(x: Tensor, y: Tensor) -> Tensor:
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix((x, zero, zero), (zero, y, zero), (zero, zero, one))


def rotation(angle: Tensor) -> Tensor:
    one, zero, cos, sin = torch.ones_like(angle), torch.zeros_like(angle), angle.cos(), angle.sin()
    return _matrix((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))


def _matrix(*rows: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _sources(inverse: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where the places of a target with columns x [W] and rows y [H] come from: [B, H, W] twice."""
    entry = inverse[:, :2, :, None, None].unbind(2)  # three times [B, 2, 1, 1]
    source = entry[0] * x + entry[1] * y[:, None] + entry[2]
    return source[:, 0], source[:, 1]


# -- moves -------------------------------------------------------------------------------------------------------------


def blitted(images: Tensor, inverse: Tensor) -> Tensor:
    """Images [B, C, H, W] moved by whole pixels, mirrored and turned by quarters, edges reflected. No new values."""
    height, width = images.shape[2:]
    x, y = (torch.arange(size, device=images.device) - (size - 1) / 2 for size in (width, height))
    x, y = _sources(inverse, x, y)
    # A little more than a half, or rounding would decide where a side of odd length is turned to one of even length.
    columns, rows = (
        reflected((place + size / 2 + 1e-3).floor().long(), size) for place, size in ((x, width), (y, height))
    )
    return gathered(images, rows, columns)


def warped(images: Tensor, inverse: Tensor) -> Tensor:
    """Images [B, C, H, W] moved by any matrices, edges reflected (Karras et al. 2020, arXiv 2006.06676, appendix B).

    Doubled and halved with `SYMLET`, and in between read at the places' sources, linearly interpolated. The identity
    and whole shifts leave pixels as they are, up to rounding.
    """
    height, width = images.shape[2:]
    (up, down), (right_up, right_down) = (_resampling(n, images.device, images.dtype) for n in (height, width))
    x, y = (
        (torch.arange(2 * (size + 2 * REACH), device=images.device, dtype=images.dtype) + 0.5) / 2 - REACH - size / 2
        for size in (width, height)
    )
    x, y = _sources(inverse, x, y)
    grid = torch.stack([_read_at(place, size) for place, size in ((x, width), (y, height))], dim=-1)
    read: Tensor = _Read.apply(up @ images @ right_up.T, grid)
    return down @ read @ right_down.T


@functools.lru_cache(maxsize=16)
def _resampling(size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A line's doubling [2 (n + 4 REACH), n], edges reflected first, and its halving [n, 2 (n + 2 REACH)], then cut.

    As matrices: for few channels, products are ten times as fast as convolutions with zeros between pixels.
    """
    places = torch.arange(-2 * REACH, size + 2 * REACH)
    framed = one_hot(reflected(places, size), size).double()
    up, down = _doubling(len(places)) @ framed, _doubling(size + 2 * REACH).T[REACH:-REACH] / 2
    return up.to(device, dtype), down.to(device, dtype)


def _doubling(size: int) -> Tensor:
    """Zeros between the numbers of a line and the filter, times two, as a matrix [2 size, size]; halving's adjoint."""
    matrix, pixel = torch.zeros(2 * size, size, dtype=torch.float64), torch.arange(size)
    for j, tap in enumerate(SYMLET):
        row = 2 * pixel + j - (len(SYMLET) // 2 - 1)
        inside = (row >= 0) & (row < 2 * size)
        matrix[row[inside], pixel[inside]] = 2 * tap
    return matrix


def _read_at(place: Tensor, size: int) -> Tensor:
    """Places of a line, from its middle, as places of its doubled and padded version, from -1 to 1."""
    pixel = place + (size - 1) / 2
    inside = (pixel >= -REACH) & (pixel <= size - 1 + REACH)  # what was reflected before the filter
    pixel = torch.where(inside, pixel, reflected(pixel, size))
    last = 2 * (size + 4 * REACH) - 1
    return ((pixel + 2 * REACH) * 2 + 0.5) * (2 / last) - 1


class _Read(Function):
    """Maps [B, C, h, w] read at places [B, H, W, 2], linearly interpolated: [B, C, H, W].

    torch's own function, but differentiable by the maps any number of times, and by the places not at all.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size = maps.shape[2:]
        return grid_sample(maps, grid, align_corners=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradient, grid, ctx.size), None


class _Spread(Function):
    """The adjoint of `_Read`: values [B, C, H, W] added where they were read, [B, C, h, w]."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        maps = values.new_empty(*values.shape[:2], *size)  # only its shape matters
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(values, maps, grid, 0, 0, True, [True, False])[0]
        return spread

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Read.apply(gradient, grid), None, None
