"""R3GAN's discriminator: the mirror of its generator."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import one_hot

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.generators.grouped import Bottleneck, Halved, initialized, pointwise
from gan_lab.generators.r3gan import PIXELS, WIDEST
from gan_lab.layers import DiscriminatorConditioning, ImageSize, Verdict, conditioned_on, sides, widening
from gan_lab.registry import Depth, Positive, discriminators


@discriminators.register("r3gan")
class R3GANDiscriminator(nn.Module):
    """Pictures [B, C, H, W] to logits [B] (Huang et al. 2024, arXiv 2501.05441, section 4).

    `blocks` inverted bottlenecks at each size, then a weighted sum of each channel's last map and a linear map.
    `width`, `blocks` and `group_size` as in the generator; 23.01 million parameters at 256 px with 3 channels. 28 px,
    and 32 px and more. With `projection`, the linear map's outputs are weighted by an embedding of the class. The
    features are the weighted sums.
    """

    rowwise = True

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive | None = None,
        blocks: Depth = 2,
        group_size: Positive = 16,
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        classes = conditioned_on(num_classes, conditioning, "discriminator")
        base, channels = widening(image_size, width or min(PIXELS // min(sides(image_size)), WIDEST), WIDEST)
        depth, last = blocks * len(channels), channels[0]
        self.input = pointwise(image_channels, channels[-1])
        layers: list[nn.Module] = []
        for inside, outside in pairwise(reversed(channels)):
            layers += [*(Bottleneck(inside, group_size, depth) for _ in range(blocks)), Halved(inside, outside)]
        self.layers = nn.Sequential(*layers, *(Bottleneck(last, group_size, depth) for _ in range(blocks)))
        self.basis = initialized(nn.Conv2d(last, last, base, groups=last, bias=False))
        projects = conditioning == "projection"
        self.output = initialized(nn.Linear(last, last if projects else 1, bias=False))
        self.embedding = None
        if classes and projects:
            self.embedding = initialized(nn.Linear(classes, last, bias=False), 1 / math.sqrt(last))
        self.verdict = Verdict(last, num_classes, "none" if projects else conditioning)

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        features = self.basis(self.layers(self.input(image))).flatten(1)
        output: Tensor = self.output(features)
        if self.embedding is not None:
            assert label is not None
            output = output * self.embedding(one_hot(label, self.embedding.in_features).to(output.dtype))
        return self.verdict(output.sum(1), features, label)
