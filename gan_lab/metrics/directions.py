"""The mean absolute difference to the truth, and measures of the way back of a task that translates both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.restoration import PSNR, SSIM, MeanOfPairs, OfPairs
from gan_lab.metrics.restoration_bars import OfTheBar
from gan_lab.registry import metrics


def absolute(pictures: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference of each picture, float64 [N], for a range of 1."""
    return (pictures.double() - target.double()).abs().mean((1, 2, 3)) / 2


@metrics.register("l1")
class L1(MeanOfPairs):
    """The mean absolute difference to the truth, where values go from 0 to 1."""

    word, better, headline = "l1", "lower", True
    each = staticmethod(absolute)


@metrics.register("l1_bar")
class L1OfTheBar(OfTheBar, L1):
    """The trivial solution's mean absolute difference to the truth."""

    word = "l1_bar"


class OfTheWayBack(OfPairs):
    """The same number from b to a. It must be the first base of a class."""

    reads = frozenset({"reverse_sample", "reverse_target"})

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        pictures = seen["reverse_sample"].clamp(-1, 1)
        return self.of(pictures, seen["reverse_target"])


@metrics.register("psnr_b_to_a")
class PSNROfTheWayBack(OfTheWayBack, PSNR):
    """The peak signal-to-noise ratio in dB from b to a."""

    word = "psnr_b_to_a"


@metrics.register("ssim_b_to_a")
class SSIMOfTheWayBack(OfTheWayBack, SSIM):
    """The structural similarity from b to a."""

    word = "ssim_b_to_a"


@metrics.register("l1_b_to_a")
class L1OfTheWayBack(OfTheWayBack, L1):
    """The mean absolute difference to the truth from b to a."""

    word = "l1_b_to_a"
