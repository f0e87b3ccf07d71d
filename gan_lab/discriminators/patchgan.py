"""PatchGAN: a convolutional discriminator that judges every patch of a picture separately."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.core.types import DiscriminatorOutput
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

WIDEST = 8  # times `width`: no layer has more channels


@discriminators.register("patchgan")
class PatchGANDiscriminator(nn.Module):
    """Images [B, C, H, W] to a map of logits [B, h, w], one per patch (Isola et al. 2017, arXiv 1611.07004, 6.1.2).

    `layers` strided convolutions with `width`, 2 `width`, ... channels, then two with stride 1. With the default of
    three, a logit depends on 70 x 70 px. 2,765,633 parameters for 3 channels. No normalization in the first and last
    layer.
    """

    rowwise = True

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive = 64,
        layers: Positive = 3,
        normalization: Normalization = "batch",
        spectral_norm: bool = False,
        initialization: Initialization = "normal",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        shorter = min(sides(image_size))
        if shorter >> layers < 3:  # each of the last two layers makes the map one pixel smaller
            raise ValueError(
                f"image_size={image_size}: discriminator.layers={layers} leaves no patch of it; lower "
                f"discriminator.layers, or give at least {3 << layers} px a side"
            )
        channels = [width * min(2**k, WIDEST) for k in range(layers + 1)]
        stack: list[nn.Module] = [nn.Conv2d(image_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for k in range(layers):
            stride = 2 if k < layers - 1 else 1
            stack += [
                nn.Conv2d(channels[k], channels[k + 1], 4, stride, padding=1, bias=normalization == "none"),
                norm2d(normalization, channels[k + 1]),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*stack)
        self.last = nn.Conv2d(channels[-1], 1, 4, padding=1)
        # The last features are one pixel larger than the map of logits; averaging makes the sizes equal.
        self.smooth = nn.AvgPool2d(2, stride=1)
        self.verdict = Verdict(channels[-1], num_classes, conditioning)
        prepare(self, initialization, spectral_norm)

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        features = self.layers(image)
        return self.verdict(self.last(features).squeeze(1), self.smooth(features), label)
