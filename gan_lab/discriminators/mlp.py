"""A multilayer perceptron from points or small images to one logit."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from gan_lab.registry import Positive, discriminators


@discriminators.register("mlp")
class MLPDiscriminator(nn.Module):
    """`depth` hidden layers of `width` leaky rectified units; logits [B] (Goodfellow et al. 2014, arXiv 1406.2661)."""

    def __init__(self, sample_shape: tuple[int, ...], *, width: Positive = 128, depth: Positive = 3) -> None:
        super().__init__()
        sizes = [math.prod(sample_shape), *[width] * depth]
        self.hidden = nn.Sequential(
            *(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.LeakyReLU(0.2)))
        )
        self.output = nn.Linear(width, 1)

    def forward(self, sample: Tensor, label: Tensor | None = None) -> Tensor:
        return self.output(self.hidden(sample.flatten(1))).squeeze(1)
