"""SNGAN's discriminator: spectrally normalized residual blocks that halve the image."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

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


@discriminators.register("resnet")
class ResNetDiscriminator(nn.Module):
    """Images [B, C, H, W] to logits [B] (Miyato et al. 2018, arXiv 1802.05957, tables 3 to 5).

    Up to 32 px, four blocks of `width` channels, by default the paper's 128; the first two halve the image. For larger
    images, the first block has `width` channels, by default 64. The number doubles at every halving, up to 16 times,
    until 4 px are left. Then ReLU, sum over the picture, linear layer. 1,053,825 parameters at 32 px, 3 channels; any
    size from 16 px.
    """

    rowwise = True

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
        super().__init__()
        self.conditioning = conditioning
        shorter = min(sides(image_size))
        if shorter < SMALLEST:
            raise ValueError(f"image_size={image_size}: discriminator=resnet wants at least {SMALLEST} px a side")
        if shorter <= 32:
            channels, halvings = [width or 128] * 4, 2
        else:
            halvings = ((shorter - 1) // 4).bit_length()
            channels = [(width or 64) * min(2**k, WIDEST) for k in range(halvings + 1)]
        first = Residual(image_channels, channels[0], resample="down", bare=True)
        rest = [
            Residual(a, b, hidden=a, resample="down" if k < halvings else None, norm=lambda c: norm2d(normalization, c))
            for k, (a, b) in enumerate(pairwise(channels), start=1)
        ]
        self.layers = nn.Sequential(first, *rest, norm2d(normalization, channels[-1]), nn.ReLU(inplace=True))
        self.last = nn.Linear(channels[-1], 1)
        self.verdict = Verdict(channels[-1], num_classes, conditioning)
        prepare(self, initialization, spectral_norm, residual_gains(self))

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        features = self.layers(image).sum((2, 3))
        return self.verdict(self.last(features).squeeze(1), features, label)
