"""FastGAN's discriminator: it judges a picture at two sizes, and decoders make the picture again from its maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.generators.fastgan import SkipLayerExcitation
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

TIMES = (0.25, 0.5, 1, 2, 4, 8)  # channels of the picture's map and after each halving, times `width`: the last ones
DECODED = (4, 2, 2, 1)  # channels of a decoder after each doubling, times half of `width`: the last ones
REACH = 3  # halvings from a map to the one whose channels it gates


class Halved(nn.Module):
    """Half the size: the mean of a strided convolution with another one behind it, and of a 1 x 1 convolution of means.

    The first branch alone where `residual` is false, and only its first convolution.
    """

    def __init__(self, inside: int, outside: int, normalization: Normalization, *, residual: bool = True) -> None:
        super().__init__()

        def end() -> list[nn.Module]:
            return [norm2d(normalization, outside), nn.LeakyReLU(0.2)]

        self.main = nn.Sequential(nn.Conv2d(inside, outside, 4, stride=2, padding=1, bias=False), *end())
        self.direct: nn.Module | None = None
        if residual:
            self.main.extend([nn.Conv2d(outside, outside, 3, padding=1, bias=False), *end()])
            self.direct = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inside, outside, 1, bias=False), *end())

    def forward(self, x: Tensor) -> Tensor:
        main: Tensor = self.main(x)
        return main if self.direct is None else (main + self.direct(x)) / 2


class Decoder(nn.Sequential):
    """A map [B, C, h, w] to a picture in [-1, 1], 2^doublings times as large."""

    def __init__(
        self, inside: int, image_channels: int, width: int, doublings: int, normalization: Normalization
    ) -> None:
        channels = [inside, *(max(width * times // 2, 1) for times in DECODED[len(DECODED) - doublings :])]
        layers: list[nn.Module] = []
        for a, b in pairwise(channels):
            convolution = nn.Conv2d(a, 2 * b, 3, padding=1, bias=False)
            layers += [nn.Upsample(scale_factor=2), convolution, norm2d(normalization, 2 * b), nn.GLU(dim=1)]
        super().__init__(*layers, nn.Conv2d(channels[-1], image_channels, 3, padding=1, bias=False), nn.Tanh())


@discriminators.register("fastgan")
class FastGANDiscriminator(nn.Module):
    """Images [B, C, H, W] to two maps of logits [B, 2, h, w] (Liu et al. 2021, arXiv 2101.04775, section 3.2).

    The first map judges the picture, halved until 4 to 7 px are left, five times at most; maps from the third halving
    on are gated by the map three halvings before, smaller pictures' last map by the first one. The second map judges
    the picture at half its size. The class, with conditioning, is told to the first. Up to 16 `width` channels.

    The regularizer `reconstruction` trains the decoders. Features are the picture as it was seen, and the maps that
    are decoded: the last but one, the half-size picture's, and the last. 11,526,160 parameters at 256 px, 3 channels.
    28 px and 32 to 256 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive = 64,
        normalization: Normalization = "batch",
        spectral_norm: bool = True,
        initialization: Initialization = "normal",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        _, halvings = pyramid(image_size)
        if halvings < 2:
            raise ValueError(f"image_size={image_size}: discriminator=fastgan wants at least 16 px a side")
        halvings = min(halvings, len(TIMES) - 1)
        channels = [max(int(width * times), 1) for times in TIMES[-halvings - 1 :]]
        self.first = nn.Sequential(nn.Conv2d(image_channels, channels[0], 3, padding=1, bias=False), nn.LeakyReLU(0.2))
        self.halved = nn.ModuleList(Halved(a, b, normalization) for a, b in pairwise(channels))
        self.reach = min(REACH, halvings)
        self.gates = nn.ModuleList(
            SkipLayerExcitation(channels[k - self.reach], channels[k]) for k in range(self.reach, halvings + 1)
        )
        hidden = 16 * width
        self.hidden = nn.Sequential(
            nn.Conv2d(channels[-1], hidden, 1, bias=False), norm2d(normalization, hidden), nn.LeakyReLU(0.2)
        )
        self.last = nn.Conv2d(hidden, 1, 4, bias=False)
        self.seen = nn.AvgPool2d(4, stride=1)  # the features under each logit
        self.verdict = Verdict(hidden, num_classes, conditioning)
        self.small = nn.Sequential(
            nn.Conv2d(image_channels, channels[1], 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.2),
            *(Halved(a, b, normalization, residual=False) for a, b in pairwise(channels[1:-1])),
        )
        self.small_last = nn.Conv2d(channels[-2], 1, 4, bias=False)
        self.decoders = nn.ModuleList(
            Decoder(inside, image_channels, width, halvings - 1, normalization)
            for inside in (channels[-2], channels[-2], channels[-1])
        )
        prepare(self, initialization, spectral_norm)

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        maps = [self.first(image)]
        for k, halve in enumerate(self.halved, start=1):
            h = halve(maps[-1])
            maps.append(self.gates[k - self.reach](maps[k - self.reach], h) if k >= self.reach else h)
        hidden, small = self.hidden(maps[-1]), self.small(avg_pool2d(image, 2))
        whole = self.verdict(self.last(hidden).squeeze(1), self.seen(hidden), label)
        logits = torch.stack([whole.logits, self.small_last(small).squeeze(1)], dim=1)
        return DiscriminatorOutput(logits, whole.class_logits, (image, maps[-2], small, maps[-1]))

    def reconstruct(self, features: Sequence[Tensor], choice: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Pictures that the decoders make of `forward`'s features, each with what it should be, at half size [-1, 1].

        One is a quarter of the picture at its full size, chosen for each row by `choice` [B], uniform in [0, 1).
        """
        image, earlier, small, last = features
        quarter = (choice * 4).long()
        half = avg_pool2d(image, 2)
        part, again, whole = self.decoders
        return [
            (part(chosen_quarter(earlier, quarter)), chosen_quarter(image, quarter)),
            (again(small), half),
            (whole(last), half),
        ]


def chosen_quarter(maps: Tensor, quarter: Tensor) -> Tensor:
    """One of the four quarters [B, C, h/2, w/2] of each map [B, C, h, w], by its number [B]: row by row, from 0."""
    height, width = maps.shape[2] // 2, maps.shape[3] // 2
    quarters = maps.unflatten(2, (2, height)).unflatten(4, (2, width))  # [B, C, 2, h/2, 2, w/2]
    return quarters[torch.arange(len(maps), device=maps.device), :, quarter // 2, :, quarter % 2]
