"""BigGAN's discriminators: SAGAN's at other widths, and the deep one of bottlenecks."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gan_lab.blocks.attention import SelfAttention, attended
from gan_lab.blocks.bottleneck import Bottleneck
from gan_lab.core.types import DiscriminatorOutput
from gan_lab.discriminators.resnet import SMALLEST, ResidualDiscriminator, halved
from gan_lab.layers import (
    DiscriminatorConditioning,
    ImageSize,
    Initialization,
    Normalization,
    Verdict,
    norm2d,
    prepare,
    sides,
)
from gan_lab.registry import Positive, discriminators

# Channels after each halving and of the last block, times `width`, by the number of halvings: the authors' tables.
TIMES = {4: (1, 2, 4, 8, 16), 5: (1, 2, 4, 8, 16, 16), 6: (1, 2, 4, 8, 8, 16, 16)}
MOST = 64  # pixels of the map with attention


def plan(image_size: ImageSize, width: int, name: str) -> tuple[list[int], int]:
    """The channels of each block's output and the number of halvings: two of four blocks up to 32 px.

    Raises ValueError for images that are too small or too large.
    """
    shorter = min(sides(image_size))
    halvings = 2 if shorter <= 32 else ((shorter - 1) // 4).bit_length()
    if shorter < SMALLEST or (halvings > 2 and halvings not in TIMES):
        raise ValueError(
            f"image_size={image_size}: discriminator={name} wants {SMALLEST} to 256 px on the shorter side"
        )
    return [width * times for times in TIMES.get(halvings, (4, 4, 4, 4))], halvings


@discriminators.register("biggan")
class BigGANDiscriminator(ResidualDiscriminator):
    """Images [B, C, H, W] to logits [B] (Brock et al. 2019, arXiv 1809.11096, appendix B, table 4).

    Widths are the authors' tables times `width`; up to 32 px, four blocks of 4 `width`, two of which halve.
    Self-attention stands after the maps whose shorter side is in `attention`, by default the largest of at most 64 px.
    87,982,370 parameters at 128 px, 3 channels and 1,000 classes with conditioning=projection. 16 to 256 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive = 96,
        attention: tuple[Positive, ...] | None = None,
        normalization: Normalization = "none",
        spectral_norm: bool = True,
        initialization: Initialization = "orthogonal",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        channels, halvings = plan(image_size, width, "biggan")
        maps = halved(image_size, len(channels), halvings)
        super().__init__(
            image_channels,
            num_classes,
            channels,
            halvings,
            wide=True,
            attention=attended(maps, attention, most=MOST, player="discriminator"),
            normalization=normalization,
            spectral_norm=spectral_norm,
            initialization=initialization,
            conditioning=conditioning,
        )


@discriminators.register("biggan_deep")
class BigGANDeepDiscriminator(nn.Module):
    """BigGAN-deep: two bottlenecks for each halving (Brock et al. 2019, arXiv 1809.11096, appendix B, table 8).

    A convolution to the widths of `biggan`, which each pair of bottlenecks takes to the next one; the first of a pair
    halves the map. 34,590,210 parameters at 128 px, 3 channels and 1,000 classes with conditioning=projection. 16 to
    256 px.
    """

    rowwise = True

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive = 128,
        attention: tuple[Positive, ...] | None = None,
        normalization: Normalization = "none",
        spectral_norm: bool = True,
        initialization: Initialization = "orthogonal",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        channels, halvings = plan(image_size, width, "biggan_deep")
        maps = halved(image_size, len(channels) - 1, halvings)
        after = attended(maps, attention, most=MOST, player="discriminator")

        def norm(channels: int) -> nn.Module:
            return norm2d(normalization, channels)

        layers: list[nn.Module] = [nn.Conv2d(image_channels, channels[0], 3, padding=1)]
        for k, (a, b) in enumerate(pairwise(channels)):
            halves = k < halvings
            layers += [Bottleneck(a, b, resample="down" if halves else None, norm=norm), Bottleneck(b, b, norm=norm)]
            if k in after:
                layers.append(SelfAttention(b))
        self.layers = nn.Sequential(*layers, norm(channels[-1]), nn.ReLU(inplace=True))
        self.last = nn.Linear(channels[-1], 1)
        self.verdict = Verdict(channels[-1], num_classes, conditioning)
        prepare(self, initialization, spectral_norm)

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        features = self.layers(image).sum((2, 3))
        return self.verdict(self.last(features).squeeze(1), features, label)
