"""FastGAN's generator: gated linear units, and small maps that gate the channels of large ones."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_lab.convolutions import FromPixel
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

TIMES = (16, 8, 4, 2, 2, 1, 0.5)  # channels of the base and after each doubling, times `width`
REACH = 4  # doublings from a map to the one whose channels it gates


class Noise(nn.Module):
    """x + weight n, n normal for each pixel of [H, W] and the same in all channels; the weight starts at zero.

    Fresh in training; a constant otherwise, so that a latent gives one picture.
    """

    constant: Tensor

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("constant", torch.randn(1, 1, *size))

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn_like(x[:, :1]) if self.training else self.constant.to(x.dtype)
        return x + self.weight * noise


class SkipLayerExcitation(nn.Module):
    """A large map times a weight in (0, 1) for each of its channels, computed from a small map (paper, eq. 1)."""

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(small, large, 4, bias=False),
            nn.SiLU(),
            nn.Conv2d(large, large, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        return large * self.weights(small)


@generators.register("fastgan")
class FastGANGenerator(nn.Module):
    """Latents [B, latent_dim] to images [B, C, H, W] in [-1, 1] (Liu et al. 2021, arXiv 2101.04775, section 3.1).

    16 `width` channels at the base, 8, 4, 2, 2, 1 and 1/2 after each doubling; every second one, from the first on, has
    two convolutions with noise. Maps from the fourth doubling on are gated by the map four doublings below; smaller
    pictures have one gate, of the last map by the base. 29,127,654 parameters at 256 px, 3 channels and 256 latents:
    the authors' without the layer that makes a second picture of 128 px, in whose place the discriminator reduces the
    first one. 28 px and 32 to 256 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: Positive = 256,
        width: Positive = 64,
        normalization: Normalization = "batch",
        spectral_norm: bool = True,
        initialization: Initialization = "normal",
        conditioning: GeneratorConditioning = "none",
    ) -> None:
        super().__init__()
        self.latent_dim, self.conditioning = latent_dim, conditioning
        classes = conditioned_on(num_classes, conditioning, "generator")
        self.latents = Latents(latent_dim, classes if conditioning == "concat" else None)
        in_norms = norm_classes(classes, conditioning, normalization)
        base, doublings = pyramid(image_size, most=len(TIMES) - 1)
        channels = [max(int(width * times), 1) for times in TIMES[: doublings + 1]]

        def gated(channels: int) -> list[nn.Module]:
            return [norm2d(normalization, 2 * channels, in_norms), nn.GLU(dim=1)]

        self.input = Stack(
            nn.Unflatten(1, (self.latents.size, 1, 1)),
            FromPixel(self.latents.size, 2 * channels[0], base, bias=False),
            *gated(channels[0]),
        )
        self.blocks = nn.ModuleList()
        for k, (a, b) in enumerate(pairwise(channels), start=1):
            layers: list[nn.Module] = [nn.Upsample(scale_factor=2)]
            for inside in (a, b) if k % 2 else (a,):
                layers.append(nn.Conv2d(inside, 2 * b, 3, padding=1, bias=False))
                layers += [Noise((base[0] << k, base[1] << k))] if k % 2 else []
                layers += gated(b)
            self.blocks.append(Stack(*layers))
        self.reach = min(REACH, doublings)
        self.gates = nn.ModuleList(
            SkipLayerExcitation(channels[k - self.reach], channels[k]) for k in range(self.reach, doublings + 1)
        )
        self.last = nn.Conv2d(channels[-1], image_channels, 3, padding=1, bias=False)
        prepare(self, initialization, spectral_norm)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        maps = [self.input(self.latents(z, label), label)]
        for k, block in enumerate(self.blocks, start=1):
            h = block(maps[-1], label)
            maps.append(self.gates[k - self.reach](maps[k - self.reach], h) if k >= self.reach else h)
        made: Tensor = self.last(maps[-1]).tanh()
        return made
