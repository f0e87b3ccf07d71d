"""A multilayer perceptron from points or small images to one logit."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.layers import DiscriminatorConditioning, Initialization, Verdict, norm1d, prepare
from gan_lab.registry import Depth, Positive, discriminators


@discriminators.register("mlp")
class MLPDiscriminator(nn.Module):
    """`depth` hidden layers of `width` leaky rectified units; logits [B] (Goodfellow et al. 2014, arXiv 1406.2661)."""

    rowwise = True

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        num_classes: int | None,
        *,
        width: Positive = 128,
        depth: Depth = 3,
        normalization: Literal["batch", "layer", "none"] = "none",
        spectral_norm: bool = False,
        initialization: Initialization = "default",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        sizes = [math.prod(sample_shape), *[width] * depth]
        self.hidden = nn.Sequential(
            *(
                layer
                for a, b in pairwise(sizes)
                for layer in (nn.Linear(a, b), norm1d(normalization, b), nn.LeakyReLU(0.2))
            )
        )
        self.output = nn.Linear(width, 1)
        self.verdict = Verdict(width, num_classes, conditioning)
        prepare(self, initialization, spectral_norm)

    def forward(self, sample: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        features = self.hidden(sample.flatten(1))
        return self.verdict(self.output(features).squeeze(1), features, label)
