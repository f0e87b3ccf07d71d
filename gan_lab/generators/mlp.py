"""A multilayer perceptron from latents to points or to small images."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from gan_lab.registry import Positive, generators


@generators.register("mlp")
class MLPGenerator(nn.Module):
    """`depth` hidden layers of `width` rectified units, as in the first GAN (Goodfellow et al. 2014, arXiv 1406.2661).

    Points leave it unbounded, images [B, C, H, W] through tanh.
    """

    def __init__(
        self, sample_shape: tuple[int, ...], *, latent_dim: Positive = 16, width: Positive = 128, depth: Positive = 3
    ) -> None:
        super().__init__()
        self.latent_dim, self.sample_shape = latent_dim, tuple(sample_shape)
        sizes = [latent_dim, *[width] * depth]
        self.hidden = nn.Sequential(*(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())))
        self.output = nn.Linear(width, math.prod(sample_shape))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        sample = self.output(self.hidden(z)).unflatten(1, self.sample_shape)
        return sample.tanh() if len(self.sample_shape) == 3 else sample
