"""What normal pictures are like for a detector: where their vectors lie, and how well each pixel is made again."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

DECAY = 0.99  # per step, of the running moments
SHRINK = 1e-3  # of the mean variance, added to each direction of a covariance that few rows have shown
NOISE = 1e-3  # variance of a pixel's error below which none is told from another, of pixels in [-1, 1]


class Typical(nn.Module):
    """Running moments of normal pictures' vectors [B, D] and errors [B, C, H, W], which a game's steps update.

    They are buffers: a run that goes on knows them. All are NaN until the first step.
    """

    mean: Tensor
    moment: Tensor
    error: Tensor
    fixed: Tensor | None = None  # the inverse of the covariance, once nothing is learnt any more

    def __init__(self, dimensions: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        for name, size in (("mean", (dimensions,)), ("moment", (dimensions, dimensions)), ("error", shape)):
            self.register_buffer(name, torch.full(size, math.nan))

    @torch.no_grad()
    def after_step(self, forward: Any) -> None:
        """Learn from a pass with `vector` and `error`."""
        vector, error = forward.vector.detach().float(), forward.error.detach().float()
        seen = [vector.mean(0), vector.T @ vector / len(vector), error.square().mean(0)]
        forward.game.runtime.average(seen)
        for running, value in zip((self.mean, self.moment, self.error), seen, strict=True):
            running.copy_(torch.where(running.isnan(), value, running.lerp(value, 1 - DECAY)))

    def energy(self, vector: Tensor, error: Tensor) -> Tensor:
        """How untypical pictures are, [B]; about 2 for normal ones.

        Mahalanobis' squared distance of the vector, and the squared error of each pixel over its usual square, each a
        mean over its numbers: up to constants, minus the logarithm of a Gaussian density of both.
        """
        gap = vector.double() - self.mean
        distance = (gap @ (self.inverse() if self.fixed is None else self.fixed) * gap).mean(1)
        return (distance + (error.double().square() / (self.error + NOISE)).flatten(1).mean(1)).float()

    def fix(self) -> None:
        """Compute the inverse once for all: ONNX has no operator for it."""
        self.fixed = self.inverse()

    def inverse(self) -> Tensor:
        """The inverse of the covariance, float64 [D, D]."""
        covariance = self.moment.double() - torch.outer(self.mean, self.mean).double()
        unit = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
        covariance = covariance + SHRINK * covariance.diagonal().mean() * unit
        return torch.linalg.inv(covariance)
