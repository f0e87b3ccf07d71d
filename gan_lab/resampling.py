"""Doubling and halving of maps with the filter [1, 3, 3, 1], in plain PyTorch: what StyleGAN2 and R3GAN call upfirdn.

Every channel is filtered alone, by a depthwise convolution, which can be differentiated any number of times. Beyond
their edges, maps are zero.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d


def _kernel(x: Tensor, gain: float) -> Tensor:
    """The filter in two dimensions, [C, 1, 4, 4], its taps summing to `gain`."""
    line = x.new_tensor([0.125, 0.375, 0.375, 0.125])
    return (torch.outer(line, line) * gain).expand(x.shape[1], 1, 4, 4)


def filtered(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """Maps [B, C, H, W], smoothed and times `gain`; each side becomes 2 padding - 3 pixels longer."""
    return conv2d(x, _kernel(x, gain), padding=padding, groups=x.shape[1])


def halved(x: Tensor) -> Tensor:
    """Maps [B, C, 2H, 2W], smoothed and with every second pixel left out: [B, C, H, W]."""
    return conv2d(x, _kernel(x, 1.0), stride=2, padding=1, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """Maps [B, C, H, W], with zeros between the pixels and smoothed: [B, C, 2H, 2W].

    Bilinear, and four times the adjoint of `halved`: a constant stays the same, but for the edges.
    """
    return conv_transpose2d(x, _kernel(x, 4.0), stride=2, padding=1, groups=x.shape[1])
