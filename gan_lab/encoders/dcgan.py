"""DCGAN's discriminator as an encoder: strided convolutions down to one vector."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.convolutions import Halving, ToPixel
from gan_lab.layers import ImageSize, Initialization, Normalization, norm2d, prepare, pyramid
from gan_lab.registry import Positive, encoders


@encoders.register("dcgan")
class DCGANEncoder(nn.Module):
    """Pictures [B, C, H, W] to codes [B, code_channels, 1, 1], not bounded.

    The layers of DCGAN's discriminator (Radford et al. 2015, arXiv 1511.06434), as f-AnoGAN and GANomaly have them:
    `width` channels at half the size, doubled at every halving. 28 px and 32 to 128 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        code_channels: int,
        *,
        width: Positive = 64,
        normalization: Normalization = "batch",
        initialization: Initialization = "default",
    ) -> None:
        super().__init__()
        base, doublings = pyramid(image_size)
        bias = normalization == "none"
        layers: list[nn.Module] = [Halving(image_channels, width, bias=bias), nn.LeakyReLU(0.2, inplace=True)]
        for k in range(doublings - 1):
            inside, outside = width * 2**k, width * 2 ** (k + 1)
            layers += [Halving(inside, outside, bias=bias), norm2d(normalization, outside)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.last = ToPixel(width * 2 ** (doublings - 1), code_channels, base, bias=True)
        prepare(self, initialization, spectral_norm=False)

    def forward(self, picture: Tensor) -> Tensor:
        code: Tensor = self.last(self.layers(picture))
        return code
