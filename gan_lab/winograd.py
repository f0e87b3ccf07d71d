"""4 x 4 convolutions with stride 2 and padding 1, with 9 products for every 16.

In cells of 2 x 2 pixels, such a convolution has a kernel of 2 x 2 cells and stride 1. Winograd's F(2 x 2, 2 x 2) makes
2 x 2 of its outputs of 3 x 3 cells with 9 products of matrices instead of 16 (Lavin and Gray 2016, arXiv 1509.09308,
section 4). In one dimension, with cells c, kernel g and outputs y:

    p0 = (c0 - c1) g0,  p1 = c1 (g0 + g1),  p2 = (c2 - c1) g1;   y0 = p0 + p1,  y1 = p1 + p2

All factors are 1 or -1, and sums are shorter than in the plain convolution, so rounding errors are not larger. A
transposed convolution is the adjoint, with the same matrices. Every function here is linear in each argument and has
its adjoint as its gradient, so that all can be differentiated at any order.

Maps are [B, h, w, C] in memory, kernels [K, 4, 4, C]; K belongs to the smaller map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def halved(x: Tensor, weight: Tensor) -> Tensor:
    """[B, 4T, 4S, C] convolved with kernels [K, 4, 4, C]: [B, 2T, 2S, K]."""
    batch, height, width, _ = x.shape
    tiles, kernels = _Tiles.apply(x), _kernels(weight)
    products: Tensor = _Product.apply(tiles, kernels)
    made: Tensor = _Folded.apply(products.unflatten(1, (batch * height // 4, width // 4)))
    return made.view(batch, height // 2, width // 2, len(weight))


def doubled(x: Tensor, weight: Tensor) -> Tensor:
    """The adjoint of `halved`: [B, 2T, 2S, K] to [B, 4T, 4S, C]."""
    batch, height, width, channels = x.shape
    folds = _Spread.apply(x.reshape(batch * height // 2, 2, width // 2, 2, channels))
    made: Tensor = _Untiled.apply(folds.flatten(1, 2) @ _kernels(weight), (batch, height // 2, width // 2))
    return made


def _kernels(weight: Tensor) -> Tensor:
    """Kernels [K, 4, 4, C] as matrices [9, K, 4C]."""
    outside, _, _, channels = weight.shape
    spread: Tensor = _Spread.apply(weight.reshape(outside, 2, 2, 2, 2 * channels))
    return spread.flatten(2)


class _Product(Function):
    """Matrices [9, N, C] times [9, K, C] transposed. Autograd's own gradient of the second would be transposed, too."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return left @ right.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        left, right = ctx.saved_tensors
        needs_left, needs_right = ctx.needs_input_grad
        return gradient @ right if needs_left else None, gradient.mT @ left if needs_right else None


class _Spread(Function):
    """Pairs of pairs [P, 2, Q, 2, R], in each direction to (first, first + second, second): [9, P, Q, R]."""

    @staticmethod
    def forward(ctx: Any, pairs: Tensor) -> Tensor:
        pairs = pairs.contiguous()
        top, bottom = pairs.unbind(1)
        first, _, count, _, rest = pairs.shape
        spread = pairs.new_empty(3, 3, first, count, rest)
        for row, pair in ((0, top), (2, bottom)):
            spread[row, 0], spread[row, 2] = pair.unbind(2)
            torch.add(*pair.unbind(2), out=spread[row, 1])
        torch.add(spread[0], spread[2], out=spread[1])
        return spread.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Folded.apply(gradient)


class _Folded(Function):
    """The adjoint of `_Spread`: [9, P, Q, R] to [P, 2, Q, 2, R]."""

    @staticmethod
    def forward(ctx: Any, spread: Tensor) -> Tensor:
        _, first, count, rest = spread.shape
        corners, made = spread.unflatten(0, (3, 3)), spread.new_empty(first, 2, count, 2, rest)
        for row in (0, 1):
            for column in (0, 1):
                pair = made[:, row, :, column]
                torch.add(corners[2 * row, 2 * column], corners[2 * row, 1], out=pair)
                pair += corners[1, 2 * column]
                pair += corners[1, 1]
        return made

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Spread.apply(gradient)


class _Tiles(Function):
    """Pixels [B, 4T, 4S, C] as 3 x 3 differences of cells: [9, B T S, 4C], each of one tile of the smaller map."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> Tensor:
        pixels = pixels.contiguous()
        batch, height, width, channels = pixels.shape
        down, across = height // 4, width // 4
        ctx.shape = batch, down, across
        rows = pixels.new_empty(3, batch, down, 2, width * channels)
        _subtract(pixels.view(batch, down, 4, width * channels), rows)
        tiles = pixels.new_empty(3, 3, batch, down, across, 2, 2, channels)
        _subtract(rows.view(3, batch, down, 2, across, 4, channels), _columns(tiles))
        return tiles.view(9, -1, 4 * channels)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Untiled.apply(gradient, ctx.shape)


class _Untiled(Function):
    """The adjoint of `_Tiles`, for a shape (B, T, S)."""

    @staticmethod
    def forward(ctx: Any, tiles: Tensor, shape: tuple[int, int, int]) -> Tensor:
        batch, down, across = shape
        channels = tiles.shape[2] // 4
        rows = tiles.new_empty(3, batch, down, 2, across * 4 * channels)
        parts = _columns(tiles.contiguous().view(3, 3, *shape, 2, 2, channels))
        _add(parts, rows.view(3, batch, down, 2, across, 4, channels))
        pixels = tiles.new_empty(batch, down * 4, across * 4, channels)
        _add(rows, pixels.view(batch, down, 4, -1))
        return pixels

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Tiles.apply(gradient), None


def _columns(tiles: Tensor) -> Tensor:
    """[a, b, B, T, S, r, c, C] as [b, a, B, T, r, S, c, C]."""
    return tiles.permute(1, 0, 2, 3, 5, 4, 6, 7)


def _subtract(pixels: Tensor, cells: Tensor) -> None:
    """Fill cells [3, ..., T, 2, R] from pixels [..., T, 4, R] in steps of four, with a border of zeros.

    The middle cell of tile t has its pixels 1 and 2. Subtracted from its neighbours, it gives the others: pixel 3 of
    the tile before and pixel 0, and pixel 3 and pixel 0 of the tile behind.
    """
    before, middle, behind = cells
    zero, one, two, three = pixels.unbind(-2)
    middle.copy_(pixels[..., 1:3, :])
    torch.sub(zero, two, out=before[..., 1, :])
    torch.sub(three, one, out=behind[..., 0, :])
    torch.sub(three[..., :-1, :], one[..., 1:, :], out=before[..., 1:, 0, :])
    torch.sub(zero[..., 1:, :], two[..., :-1, :], out=behind[..., :-1, 1, :])
    torch.neg(one[..., 0, :], out=before[..., 0, 0, :])
    torch.neg(two[..., -1, :], out=behind[..., -1, 1, :])


def _add(cells: Tensor, pixels: Tensor) -> None:
    """The adjoint of `_subtract`."""
    before, middle, behind = cells
    zero, _, _, three = pixels.unbind(-2)
    inner = pixels[..., 1:3, :]
    zero.copy_(before[..., 1, :])
    zero[..., 1:, :] += behind[..., :-1, 1, :]
    three.copy_(behind[..., 0, :])
    three[..., :-1, :] += before[..., 1:, 0, :]
    torch.sub(middle, before, out=inner)
    inner -= behind
