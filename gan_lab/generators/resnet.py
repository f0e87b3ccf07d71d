"""SNGAN's generator: residual blocks that double the image."""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import pairwise

from torch import Tensor, nn

from gan_lab.blocks.attention import SelfAttention
from gan_lab.layers import (
    GeneratorConditioning,
    ImageSize,
    Initialization,
    Latents,
    Normalization,
    Residual,
    Stack,
    conditioned_on,
    norm2d,
    norm_classes,
    prepare,
    pyramid,
    residual_gains,
)
from gan_lab.registry import Positive, generators

WIDEST = 16  # times `width`: no block has more channels


class ResidualGenerator(nn.Module):
    """A linear layer, then residual blocks that double the map: SNGAN's and SAGAN's generators.

    `channels` has those of the base and of each block's output; `attention` the blocks, by number from 0, that are
    followed by self-attention.
    """

    def __init__(
        self,
        base: tuple[int, int],
        channels: list[int],
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: int,
        attention: Collection[int] = (),
        normalization: Normalization,
        spectral_norm: bool,
        initialization: Initialization,
        conditioning: GeneratorConditioning,
    ) -> None:
        super().__init__()
        self.latent_dim, self.conditioning = latent_dim, conditioning
        classes = conditioned_on(num_classes, conditioning, "generator")
        self.latents = Latents(latent_dim, classes if conditioning == "concat" else None)
        in_norms = norm_classes(classes, conditioning, normalization)
        self.input = nn.Linear(self.latents.size, channels[0] * math.prod(base))
        layers: list[nn.Module] = [nn.Unflatten(1, (channels[0], *base))]
        for i, (a, b) in enumerate(pairwise(channels)):
            layers.append(
                Residual(a, b, resample="up", norm=lambda channels: norm2d(normalization, channels, in_norms))
            )
            if i in attention:
                layers.append(SelfAttention(b))
        self.layers = Stack(
            *layers,
            norm2d(normalization, channels[-1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[-1], image_channels, 3, padding=1),
            nn.Tanh(),
        )
        prepare(self, initialization, spectral_norm, residual_gains(self))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(self.input(self.latents(z, label)), label)


def plan(image_size: ImageSize, width: int | None) -> tuple[tuple[int, int], list[int]]:
    """The base, and the channels of it and of each block's output, as `ResNetGenerator` says. ValueError: `pyramid`."""
    base, doublings = pyramid(image_size)
    small = min(base) * 2**doublings <= 32
    times = [1 if small else min(2**k, WIDEST) for k in range(doublings, -1, -1)]
    return base, [(width or (256 if small else 64)) * k for k in times]


@generators.register("resnet")
class ResNetGenerator(ResidualGenerator):
    """Latents [B, latent_dim] to images [B, C, H, W] in [-1, 1] (Miyato et al. 2018, arXiv 1802.05957, tables 3 to 5).

    Up to 32 px, every block has `width` channels, by default the paper's 256. For larger images, the block of the
    highest resolution has `width` channels, by default 64, and the number doubles towards the base, up to 16 times.
    4,276,739 parameters at 32 px, 3 channels. 28 px and 32 to 128 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: Positive = 128,
        width: Positive | None = None,
        normalization: Normalization = "batch",
        spectral_norm: bool = False,
        initialization: Initialization = "xavier",
        conditioning: GeneratorConditioning = "none",
    ) -> None:
        super().__init__(
            *plan(image_size, width),
            image_channels,
            num_classes,
            latent_dim=latent_dim,
            normalization=normalization,
            spectral_norm=spectral_norm,
            initialization=initialization,
            conditioning=conditioning,
        )
