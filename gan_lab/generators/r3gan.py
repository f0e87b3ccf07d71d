"""R3GAN's generator: a residual network of our day, without styles, noise or normalization."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from gan_lab.generators.grouped import Bottleneck, Doubled, initialized, pointwise
from gan_lab.layers import ImageSize, conditioned_on, sides, widening
from gan_lab.registry import Depth, Positive, generators

WIDEST = 768  # channels; no stage has more, unless `width` says so
PIXELS = 24_576  # channels times the image's shorter side, where fewer than 768 channels are left


@generators.register("r3gan")
class R3GANGenerator(nn.Module):
    """Latents [B, latent_dim] to pictures [B, C, H, W] around [-1, 1], not bounded (Huang et al. 2024, 2501.05441).

    A learnt map of 4 x 4 pixels, its channels scaled by a linear map of the latent, then `blocks` inverted bottlenecks
    at each size. `width` channels at full size, by default as many as the paper's config E has, doubled at every
    halving, up to 768. Convolutions inside have groups of `group_size` channels where these divide them. 23.06 million
    parameters at 256 px with 3 channels. With `concat`, a linear embedding of the class, as long as the latent, is
    appended to it. 28 px, and 32 px and more.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: Positive = 64,
        width: Positive | None = None,
        blocks: Depth = 2,
        group_size: Positive = 16,
        conditioning: Literal["none", "concat"] = "none",
    ) -> None:
        super().__init__()
        self.latent_dim, self.conditioning = latent_dim, conditioning
        classes = conditioned_on(num_classes, conditioning, "generator")
        self.embedding = initialized(nn.Linear(classes, latent_dim, bias=False)) if classes else None
        base, channels = widening(image_size, width or min(PIXELS // min(sides(image_size)), WIDEST), WIDEST)
        depth = blocks * len(channels)
        self.basis = nn.Parameter(torch.randn(1, channels[0], *base))
        self.input = initialized(nn.Linear(latent_dim * (2 if classes else 1), channels[0], bias=False))
        layers: list[nn.Module] = [Bottleneck(channels[0], group_size, depth) for _ in range(blocks)]
        for inside, outside in pairwise(channels):
            layers += [Doubled(inside, outside), *(Bottleneck(outside, group_size, depth) for _ in range(blocks))]
        self.layers = nn.Sequential(*layers)
        self.output = pointwise(channels[-1], image_channels)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            assert label is not None
            z = torch.cat([z, self.embedding(one_hot(label, self.embedding.in_features).to(z.dtype))], dim=1)
        picture: Tensor = self.output(self.layers(self.basis * self.input(z)[:, :, None, None]))
        return picture
