"""DCGAN's discriminator: strided convolutions, batch normalization, leaky ReLU."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.layers import ImageSize, pyramid
from gan_lab.registry import Positive, discriminators


@discriminators.register("dcgan")
class DCGANDiscriminator(nn.Module):
    """Images [B, C, H, W] to logits [B] (Radford et al. 2015, arXiv 1511.06434, section 3).

    `width` channels at half the image size, doubled at every halving: 2,765,568 parameters at 64 px, 3 channels.
    No biases, batch norm everywhere but in the first and the last layer; 28 px and 32 to 128 px.
    """

    def __init__(self, image_size: ImageSize, image_channels: int, *, width: Positive = 64) -> None:
        super().__init__()
        base, doublings = pyramid(image_size)
        layers: list[nn.Module] = [
            nn.Conv2d(image_channels, width, 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        channels = width
        for _ in range(doublings - 1):
            layers += [
                nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels * 2),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, base, bias=False), nn.Flatten(0))

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(image)
