"""StyleGAN2's layers: equalized learning rates, modulated convolutions, and the mapping of latents to styles."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear, one_hot

from gan_lab.resampling import filtered, halved

EPSILON = 1e-8
SLOW = 0.01  # the mapping's learning rate, of the other layers' (Karras et al. 2019, arXiv 1812.04948, appendix C)


def activated(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, times sqrt 2, which keeps the variance."""
    return leaky_relu(x, 0.2) * math.sqrt(2)


def normalized(x: Tensor) -> Tensor:
    """Rows [B, N] scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


class EqualizedLinear(nn.Linear):
    """A linear layer whose weights begin with variance 1 and are scaled in use (Karras et al. 2018, 1710.10196, 4.1).

    So one learning rate fits layers of any width. `rate` is the layer's share of it.
    """

    def __init__(
        self, inside: int, outside: int, *, bias: bool = True, initial_bias: float = 0.0, rate: float = 1.0
    ) -> None:
        super().__init__(inside, outside, bias=bias)
        self.rate, self.gain = rate, rate / math.sqrt(inside)
        nn.init.normal_(self.weight, std=1 / rate)
        if bias:
            nn.init.constant_(self.bias, initial_bias / rate)

    def forward(self, x: Tensor) -> Tensor:
        bias: Tensor | None = self.bias
        bias = bias if bias is None or self.rate == 1 else bias * self.rate
        return linear(x, self.weight * self.gain, bias)


class EqualizedConv(nn.Conv2d):
    """A convolution with an equalized learning rate: [B, C, H, W] to [B, K, H, W], or half of both with `halving`."""

    def __init__(self, inside: int, outside: int, size: int, *, bias: bool = True, halving: bool = False) -> None:
        super().__init__(inside, outside, size, padding=size // 2, bias=bias)
        self.halving, self.gain = halving, 1 / math.sqrt(inside * size**2)
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.gain
        if not self.halving:
            return conv2d(x, weight, self.bias, padding=self.padding)
        if weight.shape[2] == 1:
            return conv2d(halved(x), weight, self.bias)
        return conv2d(filtered(x, 2), weight, self.bias, stride=2)


def modulated(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, doubling: bool = False) -> Tensor:
    """A convolution of maps [B, C, H, W] whose weights [K, C, k, k] are scaled by each row's style [B, C].

    With `demodulate`, each row's scaled kernels are divided by their norm (Karras et al. 2020, arXiv 1912.04958, eq. 1
    and 3). With `doubling` it makes [B, K, 2H, 2W]: a transposed convolution, then the smoothing filter.

    What scales an input channel's weights may as well scale the channel, and what scales an output channel's weights
    its result. So all rows share one convolution, and no weights are made for each row.
    """
    scaled = x * style[:, :, None, None]
    if doubling:
        maps = filtered(conv_transpose2d(scaled, weight.transpose(0, 1), stride=2), 1, gain=4)
    else:
        maps = conv2d(scaled, weight, padding=weight.shape[2] // 2)
    if demodulate:
        energy = style.square() @ weight.square().sum((2, 3)).T
        maps = maps * (energy + EPSILON).rsqrt()[:, :, None, None]
    return maps


class Mapping(nn.Module):
    """Latents [B, latent_dim], and classes [B] where there are any, to styles [B, outside].

    Fully connected layers that learn slowly (Karras et al. 2019, arXiv 1812.04948, section 2), on normalized latents. A
    class's normalized embedding of `outside` numbers is appended to the latents, as in StyleGAN2-ADA (Karras et al.
    2020, arXiv 2006.06676). Without latents (`latent_dim=0`) it maps classes alone.
    """

    def __init__(self, latent_dim: int, num_classes: int | None, outside: int, layers: int) -> None:
        super().__init__()
        self.embedding = EqualizedLinear(num_classes, outside) if num_classes else None
        inside = latent_dim + (outside if num_classes else 0)
        sizes = [inside, *[outside] * layers]
        self.layers = nn.ModuleList(EqualizedLinear(a, outside, rate=SLOW) for a in sizes[:-1])

    def forward(self, z: Tensor | None, label: Tensor | None) -> Tensor:
        parts = [] if z is None else [normalized(z)]
        if self.embedding is not None:
            assert label is not None
            chosen = one_hot(label, self.embedding.in_features).to(self.embedding.weight.dtype)
            parts.append(normalized(self.embedding(chosen)))
        style = torch.cat(parts, dim=1)
        for layer in self.layers:
            style = activated(layer(style))
        return style
