"""SNGAN's discriminator: spectrally normalized residual blocks that halve the image."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from torch import Tensor, nn

from gan_lab.blocks.attention import SelfAttention
from gan_lab.core.types import DiscriminatorOutput
from gan_lab.layers import (
    DiscriminatorConditioning,
    ImageSize,
    Initialization,
    Normalization,
    Residual,
    Verdict,
    norm2d,
    prepare,
    residual_gains,
    sides,
)
from gan_lab.registry import Positive, discriminators

WIDEST = 16  # times `width`: no block has more channels
SMALLEST = 16  # pixels a side


class ResidualDiscriminator(nn.Module):
    """Residual blocks, the first `halvings` of which halve the map: SNGAN's, SAGAN's and BigGAN's discriminators.

    Then ReLU, sum over the picture, linear layer. `channels` has those of each block's output. `wide` blocks widen the
    map in their first convolution, others in their second. `attention` has the blocks, by number from 0, that are
    followed by self-attention. Logits are [B], features the sums.
    """

    rowwise = True

    def __init__(
        self,
        image_channels: int,
        num_classes: int | None,
        channels: list[int],
        halvings: int,
        *,
        wide: bool,
        attention: Collection[int] = (),
        normalization: Normalization,
        spectral_norm: bool,
        initialization: Initialization,
        conditioning: DiscriminatorConditioning,
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        layers: list[nn.Module] = []
        for k, (a, b) in enumerate(pairwise([image_channels, *channels])):
            layers.append(
                Residual(
                    a,
                    b,
                    hidden=b if wide or not k else a,
                    resample="down" if k < halvings else None,
                    norm=lambda channels: norm2d(normalization, channels),
                    bare=not k,
                )
            )
            if k in attention:
                layers.append(SelfAttention(b))
        self.layers = nn.Sequential(*layers, norm2d(normalization, channels[-1]), nn.ReLU(inplace=True))
        self.last = nn.Linear(channels[-1], 1)
        self.verdict = Verdict(channels[-1], num_classes, conditioning)
        prepare(self, initialization, spectral_norm, residual_gains(self))

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        features = self.layers(image).sum((2, 3))
        return self.verdict(self.last(features).squeeze(1), features, label)


def plan(image_size: ImageSize, width: int | None, name: str = "resnet") -> tuple[list[int], int]:
    """The channels of each block's output and the number of halvings, as `ResNetDiscriminator` says.

    Raises ValueError for images that are too small.
    """
    shorter = min(sides(image_size))
    if shorter < SMALLEST:
        raise ValueError(f"image_size={image_size}: discriminator={name} wants at least {SMALLEST} px a side")
    if shorter <= 32:
        return [width or 128] * 4, 2
    halvings = ((shorter - 1) // 4).bit_length()
    return [(width or 64) * min(2**k, WIDEST) for k in range(halvings + 1)], halvings


def halved(image_size: ImageSize, blocks: int, halvings: int) -> list[int]:
    """The shorter side of each block's output, of which the first `halvings` are halved (rounded down)."""
    return [min(sides(image_size)) >> min(k + 1, halvings) for k in range(blocks)]


@discriminators.register("resnet")
class ResNetDiscriminator(ResidualDiscriminator):
    """Images [B, C, H, W] to logits [B] (Miyato et al. 2018, arXiv 1802.05957, tables 3 to 5).

    Up to 32 px, four blocks of `width` channels, by default the paper's 128; the first two halve the image. For larger
    images, the first block has `width` channels, by default 64. The number doubles at every halving, up to 16 times,
    until 4 px are left. Then ReLU, sum over the picture, linear layer. 1,053,825 parameters at 32 px, 3 channels; any
    size from 16 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive | None = None,
        normalization: Normalization = "none",
        spectral_norm: bool = True,
        initialization: Initialization = "xavier",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__(
            image_channels,
            num_classes,
            *plan(image_size, width),
            wide=False,
            normalization=normalization,
            spectral_norm=spectral_norm,
            initialization=initialization,
            conditioning=conditioning,
        )
