"""R3GAN's layers: inverted bottlenecks with grouped convolutions and without normalization."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from gan_lab.resampling import doubled, halved

EXPANSION = 2  # channels inside a block, times those outside
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
GAIN = math.sqrt(2 / (1 + 0.2**2))  # of leaky ReLU with slope 0.2: He et al. 2015, arXiv 1502.01852, eq. 14


def initialized(layer: Layer, gain: float = 1.0) -> Layer:
    """The layer with normal weights of standard deviation gain / sqrt(inputs of one output)."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    return layer


def pointwise(inside: int, outside: int, gain: float = 1.0) -> nn.Module:
    return initialized(nn.Conv2d(inside, outside, 1, bias=False), gain)


class Biased(nn.Module):
    """A bias for each channel of a map, then leaky ReLU with slope 0.2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(x + self.bias[:, None, None], 0.2)


class Bottleneck(nn.Module):
    """x + f(x), f with twice as many channels inside as out, of maps [B, C, H, W] (Huang et al. 2024, section 4).

    1 x 1, grouped 3 x 3 and 1 x 1 convolutions, without biases but before the activations. Initialized so that nothing
    explodes without normalization (fix-up: Zhang et al. 2019, arXiv 1901.09321, section 3): the last convolution is
    zero, the others are scaled by L^(-1/4), with `depth` L, the number of blocks in the network.
    """

    def __init__(self, channels: int, group_size: int, depth: int) -> None:
        super().__init__()
        inner = channels * EXPANSION
        groups = math.gcd(inner, max(inner // group_size, 1))
        gain = GAIN * depth ** (-1 / 4)
        self.layers = nn.Sequential(
            pointwise(channels, inner, gain),
            Biased(inner),
            initialized(nn.Conv2d(inner, inner, 3, padding=1, groups=groups, bias=False), gain),
            Biased(inner),
            pointwise(inner, channels, 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Doubled(nn.Module):
    """A 1 x 1 convolution where the channels change, then bilinear doubling: [B, C, H, W] to [B, K, 2H, 2W]."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.change = pointwise(inside, outside) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return doubled(self.change(x))


class Halved(nn.Module):
    """The mirror of `Doubled`: [B, C, 2H, 2W] to [B, K, H, W]."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.change = pointwise(inside, outside) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.change(halved(x))
        return changed
