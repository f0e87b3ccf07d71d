"""DCGAN's generator: strided transposed convolutions, batch normalization, ReLU, tanh."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.layers import ImageSize, pyramid
from gan_lab.registry import Positive, generators


@generators.register("dcgan")
class DCGANGenerator(nn.Module):
    """Latents [B, latent_dim] to images [B, C, H, W] in [-1, 1] (Radford et al. 2015, arXiv 1511.06434, figure 1).

    `width` channels at half the image size, doubled at every halving: 3,576,704 parameters at 64 px, 3 channels.
    No biases, batch norm everywhere but in the last layer; 28 px and 32 to 128 px.
    """

    def __init__(
        self, image_size: ImageSize, image_channels: int, *, latent_dim: Positive = 100, width: Positive = 64
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        base, doublings = pyramid(image_size)
        channels = width * 2 ** (doublings - 1)
        layers: list[nn.Module] = [
            nn.Unflatten(1, (latent_dim, 1, 1)),
            nn.ConvTranspose2d(latent_dim, channels, base, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        while channels > width:
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels // 2),
                nn.ReLU(inplace=True),
            ]
            channels //= 2
        layers += [nn.ConvTranspose2d(width, image_channels, 4, stride=2, padding=1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(z)
