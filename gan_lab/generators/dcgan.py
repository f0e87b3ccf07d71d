"""DCGAN's generator: strided transposed convolutions, batch normalization, ReLU, tanh."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.convolutions import Doubling, FromPixel
from gan_lab.layers import (
    GeneratorConditioning,
    ImageSize,
    Initialization,
    Latents,
    Normalization,
    Stack,
    conditioned_on,
    norm2d,
    norm_classes,
    prepare,
    pyramid,
)
from gan_lab.registry import Positive, generators


@generators.register("dcgan")
class DCGANGenerator(nn.Module):
    """Latents [B, latent_dim] to images [B, C, H, W] in [-1, 1] (Radford et al. 2015, arXiv 1511.06434, figure 1).

    `width` channels at half the image size, doubled at every halving: 3,576,704 parameters at 64 px, 3 channels.
    Normalization in all layers but the last; layers with normalization have no biases. 28 px and 32 to 128 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: Positive = 100,
        width: Positive = 64,
        normalization: Normalization = "batch",
        spectral_norm: bool = False,
        initialization: Initialization = "default",
        conditioning: GeneratorConditioning = "none",
    ) -> None:
        super().__init__()
        self.latent_dim, self.conditioning = latent_dim, conditioning
        classes = conditioned_on(num_classes, conditioning, "generator")
        self.latents = Latents(latent_dim, classes if conditioning == "concat" else None)
        in_norms, bias = norm_classes(classes, conditioning, normalization), normalization == "none"
        base, doublings = pyramid(image_size)
        channels = width * 2 ** (doublings - 1)
        layers: list[nn.Module] = [
            nn.Unflatten(1, (self.latents.size, 1, 1)),
            FromPixel(self.latents.size, channels, base, bias=bias),
            norm2d(normalization, channels, in_norms),
            nn.ReLU(inplace=True),
        ]
        while channels > width:
            layers += [
                Doubling(channels, channels // 2, bias=bias),
                norm2d(normalization, channels // 2, in_norms),
                nn.ReLU(inplace=True),
            ]
            channels //= 2
        layers += [Doubling(width, image_channels, bias=False), nn.Tanh()]
        self.layers = Stack(*layers)
        prepare(self, initialization, spectral_norm)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(self.latents(z, label), label)
