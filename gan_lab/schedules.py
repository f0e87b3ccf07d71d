"""Schedules: a factor on a hyperparameter as a function of the images shown. Data, not state: resuming needs nothing.

Three things take one: `schedule/learning_rate`; `schedule/beta2`, where the factor is on 1 - beta2 (`final=0.1` goes
from 0.9 to 0.99); and `schedule/regularizer`, on the strengths of all regularizers.

`depends_on_duration` says that the factor at some moment depends on `trainer.images`, so that a run with such a
schedule cannot be continued by raising it.
"""

from __future__ import annotations

import math

from gan_lab.registry import NonNegative, Positive, Share, schedules


@schedules.register("constant")
class Constant:
    """The factor 1 throughout."""

    depends_on_duration = False

    def __call__(self, images: int) -> float:
        return 1.0


class _Decay:
    """From 1 down to `final` over `images` images behind the first `start`, or until the end of the run."""

    def __init__(
        self, total_images: int, *, final: Share = 0.0, start: NonNegative = 0, images: Positive | None = None
    ) -> None:
        if images is None and start >= total_images:
            raise ValueError(f"schedule start={start}: the run has no more than {total_images} images")
        self.start, self.images, self.final = start, images or total_images - start, final
        self.depends_on_duration = images is None

    def __call__(self, images: int) -> float:
        progress = min(max(images - self.start, 0) / self.images, 1.0)
        return self.final + (1 - self.final) * self.remaining(progress)

    def remaining(self, progress: float) -> float:
        """The part of the way that is left, 1 to 0, after a share of the time."""
        raise AssertionError


@schedules.register("linear")
class Linear(_Decay):
    """Straight from 1 to `final`, which it keeps; Miyato et al. 2018 (arXiv 1802.05957) end at 0.

    It begins after `start` images and takes `images` images, or the rest of the run where that is null.
    """

    def remaining(self, progress: float) -> float:
        return 1 - progress


@schedules.register("cosine")
class Cosine(_Decay):
    """Half a cosine from 1 to `final` (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, without restarts).

    It begins after `start` images and takes `images` images, or the rest of the run where that is null.
    """

    def remaining(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))
