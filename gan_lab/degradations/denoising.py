"""Denoising: pictures with Gaussian noise."""

from __future__ import annotations

from torch import Tensor

from gan_lab.degradations import Degradation, Draw
from gan_lab.registry import Weight, degradations

NOISE = "degradation/noise"


@degradations.register("denoising")
class Denoising(Degradation):
    """The source is the target plus white Gaussian noise of standard deviation `sigma`, of a range of 255.

    It is neither clipped nor rounded, as in DnCNN (Zhang et al. 2017, arXiv 1608.03981, section IV), so sources leave
    [-1, 1]. The trivial solution is the input itself: 20 log10(255 / sigma) dB, 20.17 at 25.
    """

    bar = "input"
    streams = (NOISE,)

    def __init__(self, *, sigma: Weight = 25.0) -> None:
        self.sigma = sigma

    def __call__(self, target: Tensor, draw: Draw) -> Tensor:
        return target + self.sigma / 127.5 * draw(NOISE, *target.shape[1:])

    def solve(self, source: Tensor) -> Tensor:
        return source
