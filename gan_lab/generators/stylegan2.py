"""StyleGAN2's generator: a style, mapped from the latent, scales the channels of every convolution."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gan_lab.core.runtime import mean_over_ranks
from gan_lab.generators.modulated import EqualizedLinear, Mapping, activated, modulated
from gan_lab.layers import ImageSize, conditioned_on, sides, widening
from gan_lab.registry import Depth, Positive, Share, generators
from gan_lab.resampling import doubled

WIDEST = 512  # channels; no layer has more, unless `width` says so
PIXELS = 32_768  # channels times the image's shorter side, where fewer than 512 channels are left
MEAN_RATE = 0.002  # of the mean style's moving average


class StyledConv(nn.Module):
    """A modulated 3 x 3 convolution, noise and leaky ReLU: maps [B, C, H, W] and styles [B, D] to [B, K, H, W].

    `size` is the output's. In training the noise is drawn anew for each row; in evaluation it is the same for all.
    """

    noise: Tensor  # [H, W]

    def __init__(self, inside: int, outside: int, style_dim: int, size: tuple[int, int], *, doubling: bool) -> None:
        super().__init__()
        self.doubling = doubling
        self.weight = nn.Parameter(torch.randn(outside, inside, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.style = EqualizedLinear(style_dim, inside, initial_bias=1.0)
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = modulated(x, self.weight, self.style(style), doubling=self.doubling)
        drawn = torch.randn(x.shape[0], 1, *x.shape[2:], device=x.device) if self.training else self.noise
        return activated(x + drawn * self.strength + self.bias[:, None, None])


class ToPicture(nn.Module):
    """A modulated 1 x 1 convolution without demodulation: maps [B, C, H, W] to a part of the picture [B, K, H, W]."""

    def __init__(self, inside: int, outside: int, style_dim: int) -> None:
        super().__init__()
        self.gain = 1 / math.sqrt(inside)
        self.weight = nn.Parameter(torch.randn(outside, inside, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.style = EqualizedLinear(style_dim, inside, initial_bias=1.0)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return modulated(x, self.weight * self.gain, self.style(style), demodulate=False) + self.bias[:, None, None]


class Synthesis(nn.Module):
    """Styles [B, layers, D] to pictures [B, C, H, W]: a learnt constant, then two convolutions at each size.

    The picture is the sum of what each size adds to it, doubled to the next (skip generator: Karras et al. 2020, arXiv
    1912.04958, section 4.1). A size's last convolution, its picture and the next size's first one take successive
    styles; `layers` counts them.
    """

    def __init__(self, base: tuple[int, int], channels: list[int], image_channels: int, style_dim: int) -> None:
        super().__init__()
        self.layers = 2 * len(channels)
        self.constant = nn.Parameter(torch.randn(1, channels[0], *base))
        self.first, self.second, self.pictures = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for k, outside in enumerate(channels):
            size = base[0] * 2**k, base[1] * 2**k
            if k > 0:
                self.first.append(StyledConv(channels[k - 1], outside, style_dim, size, doubling=True))
            self.second.append(StyledConv(outside, outside, style_dim, size, doubling=False))
            self.pictures.append(ToPicture(outside, image_channels, style_dim))

    def forward(self, styles: Tensor) -> Tensor:
        each = list(styles.unbind(1))
        maps = self.second[0](self.constant.expand(styles.shape[0], -1, -1, -1), each[0])
        picture: Tensor = self.pictures[0](maps, each[1])
        for k, first in enumerate(self.first, start=1):
            maps = self.second[k](first(maps, each[2 * k - 1]), each[2 * k])
            picture = doubled(picture) + self.pictures[k](maps, each[2 * k + 1])
        return picture


@generators.register("stylegan2")
class StyleGAN2Generator(nn.Module):
    """Latents [B, latent_dim] to pictures [B, C, H, W] around [-1, 1], not bounded (Karras et al. 2020, 1912.04958).

    `width` channels at full size, by default as many as the paper's config F has, doubled at every halving, up to 512.
    Latents and styles have as many numbers as the smallest map has channels. 30,034,338 parameters at 256 px with 3
    channels. Without a tanh, as in the paper. 28 px, and 32 px and more.

    In training, a share `style_mixing` of the rows takes the styles of a second latent from a random layer on. A moving
    average of the styles is kept: with `truncation` psi, which is no setting but an attribute, samples are made from
    mean + psi (style - mean). In place of latents, styles [B, layers, latent_dim] can be given, one for each layer.
    """

    truncation: float = 1.0
    mean_style: Tensor  # [latent_dim]

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive | None = None,
        latent_dim: Positive | None = None,
        mapping_layers: Depth = 8,
        style_mixing: Share = 0.9,
        conditioning: Literal["none", "concat"] = "none",
    ) -> None:
        super().__init__()
        self.conditioning, self.style_mixing = conditioning, style_mixing
        classes = conditioned_on(num_classes, conditioning, "generator")
        width = width or min(PIXELS // min(sides(image_size)), WIDEST)
        base, channels = widening(image_size, width, WIDEST)
        self.latent_dim = latent_dim or channels[0]
        self.mapping = Mapping(self.latent_dim, classes, self.latent_dim, mapping_layers)
        self.synthesis = Synthesis(base, channels, image_channels, self.latent_dim)
        self.register_buffer("mean_style", torch.zeros(self.latent_dim))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        picture: Tensor = self.synthesis(z if z.dim() == 3 else self.styles(z, label))
        return picture

    def styles(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """The styles [B, layers, latent_dim] of latents: mixed and averaged in training, truncated in evaluation."""
        style: Tensor = self.mapping(z, label)
        layers = self.synthesis.layers
        if not self.training:
            if self.truncation != 1:
                style = torch.lerp(self.mean_style, style, self.truncation)
            return style[:, None].expand(-1, layers, -1)
        with torch.no_grad():
            self.mean_style.lerp_(mean_over_ranks(style.mean(0)).to(self.mean_style.dtype), MEAN_RATE)
        if not self.style_mixing:
            return style[:, None].expand(-1, layers, -1)
        second: Tensor = self.mapping(torch.randn_like(z), label)
        start = torch.randint(1, layers, (len(z), 1), device=z.device)
        mixed = torch.rand(len(z), 1, device=z.device) < self.style_mixing
        late = mixed & (torch.arange(layers, device=z.device) >= start)
        return torch.where(late[:, :, None], second[:, None], style[:, None])
