"""A multilayer perceptron from latents to points or to small images."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from gan_lab.layers import (
    GeneratorConditioning,
    Initialization,
    Latents,
    Stack,
    conditioned_on,
    norm1d,
    norm_classes,
    prepare,
)
from gan_lab.registry import Depth, Positive, generators


@generators.register("mlp")
class MLPGenerator(nn.Module):
    """`depth` hidden layers of `width` rectified units, as in the first GAN (Goodfellow et al. 2014, arXiv 1406.2661).

    Points are unbounded; images [B, C, H, W] go through tanh.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        num_classes: int | None,
        *,
        latent_dim: Positive = 16,
        width: Positive = 128,
        depth: Depth = 3,
        normalization: Literal["batch", "layer", "none"] = "none",
        spectral_norm: bool = False,
        initialization: Initialization = "default",
        conditioning: GeneratorConditioning = "none",
    ) -> None:
        super().__init__()
        self.latent_dim, self.sample_shape, self.conditioning = latent_dim, tuple(sample_shape), conditioning
        classes = conditioned_on(num_classes, conditioning, "generator")
        self.latents = Latents(latent_dim, classes if conditioning == "concat" else None)
        in_norms = norm_classes(classes, conditioning, normalization)
        sizes = [self.latents.size, *[width] * depth]
        self.hidden = Stack(
            *(
                layer
                for a, b in pairwise(sizes)
                for layer in (nn.Linear(a, b), norm1d(normalization, b, in_norms), nn.ReLU())
            )
        )
        self.output = nn.Linear(width, math.prod(sample_shape))
        prepare(self, initialization, spectral_norm)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        hidden = self.hidden(self.latents(z, label), label)
        sample = self.output(hidden).unflatten(1, self.sample_shape)
        return sample.tanh() if len(self.sample_shape) == 3 else sample
