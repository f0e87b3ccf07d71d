"""DCGAN's discriminator: strided convolutions, batch normalization, leaky ReLU."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.convolutions import Halving, ToPixel
from gan_lab.core.types import DiscriminatorOutput
from gan_lab.layers import (
    DiscriminatorConditioning,
    ImageSize,
    Initialization,
    Normalization,
    Verdict,
    norm2d,
    prepare,
    pyramid,
)
from gan_lab.registry import Positive, discriminators


@discriminators.register("dcgan")
class DCGANDiscriminator(nn.Module):
    """Images [B, C, H, W] to logits [B] (Radford et al. 2015, arXiv 1511.06434, section 3).

    `width` channels at half the image size, doubled at every halving: 2,765,568 parameters at 64 px, 3 channels.
    Normalization in all layers but the first and the last; layers with normalization have no biases. 28 px and 32 to
    128 px. The features are the last map's mean over the picture.
    """

    rowwise = True

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive = 64,
        normalization: Normalization = "batch",
        spectral_norm: bool = False,
        initialization: Initialization = "default",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        base, doublings = pyramid(image_size)
        bias = normalization == "none"
        layers: list[nn.Module] = [
            Halving(image_channels, width, bias=bias),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        channels = width
        for _ in range(doublings - 1):
            layers += [
                Halving(channels, channels * 2, bias=bias),
                norm2d(normalization, channels * 2),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels *= 2
        self.layers = nn.Sequential(*layers)
        self.last = nn.Sequential(ToPixel(channels, 1, base, bias=False), nn.Flatten(0))
        self.verdict = Verdict(channels, num_classes, conditioning)
        prepare(self, initialization, spectral_norm)

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        features = self.layers(image)
        return self.verdict(self.last(features), features.mean((2, 3)), label)
