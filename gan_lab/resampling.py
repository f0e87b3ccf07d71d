"""Doubling and halving of maps with a low-pass filter, in plain PyTorch: what StyleGAN calls upfirdn.

Filters are separable, of even length, symmetric or not; their taps sum to 1. Every channel is filtered alone, by
depthwise convolutions, which can be differentiated any number of times. Beyond their edges, maps are zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

SMOOTH = (0.125, 0.375, 0.375, 0.125)  # [1, 3, 3, 1] of StyleGAN2 and R3GAN; doubling with it is bilinear
SHORT = 4  # taps, up to which one convolution in two dimensions is as fast as two in one


def kernels(x: Tensor, taps: Sequence[float]) -> list[Tensor]:
    """The filter as depthwise kernels [C, 1, h, w] to apply one after another, in the dtype and on the device of x."""
    line = x.new_tensor(taps)
    parts = [torch.outer(line, line)] if len(taps) <= SHORT else [line[:, None], line[None, :]]
    return [part.expand(x.shape[1], 1, *part.shape) for part in parts]


def filtered(x: Tensor, padding: int, *, gain: float = 1.0, taps: Sequence[float] = SMOOTH) -> Tensor:
    """Maps [B, C, H, W], correlated with the filter; each side changes by 2 padding + 1 - len(taps) pixels."""
    for kernel in kernels(x, taps):
        dims = [padding if length > 1 else 0 for length in kernel.shape[2:]]
        x = conv2d(x, kernel, padding=dims, groups=x.shape[1])
    return x if gain == 1 else x * gain


def halved(x: Tensor, taps: Sequence[float] = SMOOTH) -> Tensor:
    """Maps [B, C, 2H, 2W], filtered and with every second pixel left out: [B, C, H, W]."""
    for kernel in kernels(x, taps):
        stride = [2 if length > 1 else 1 for length in kernel.shape[2:]]
        dims = [length // 2 - 1 if length > 1 else 0 for length in kernel.shape[2:]]
        x = conv2d(x, kernel, stride=stride, padding=dims, groups=x.shape[1])
    return x


def doubled(x: Tensor, taps: Sequence[float] = SMOOTH) -> Tensor:
    """Maps [B, C, H, W], with zeros between the pixels and filtered: [B, C, 2H, 2W].

    Four times the adjoint of `halved`: a constant stays the same, but for the edges.
    """
    for kernel in kernels(x, [2 * tap for tap in taps]):
        stride = [2 if length > 1 else 1 for length in kernel.shape[2:]]
        dims = [length // 2 - 1 if length > 1 else 0 for length in kernel.shape[2:]]
        x = conv_transpose2d(x, kernel, stride=stride, padding=dims, groups=x.shape[1])
    return x
