"""Schedules: a factor of a hyperparameter as a function of the images shown. They have no state to save.

There are three groups: `schedule/learning_rate`; `schedule/beta2`, where the factor is of 1 - beta2 (`final=0.1` goes
from 0.9 to 0.99); and `schedule/regularizer`, for the strengths of all regularizers.

With `depends_on_duration`, the factor depends on `trainer.images`, so a finished run cannot be extended by raising
`trainer.images`.
"""

from __future__ import annotations

import math

from gan_lab.registry import NonNegative, Positive, Share, schedules


@schedules.register("constant")
class Constant:
    """The factor is always 1."""

    depends_on_duration = False

    def __call__(self, images: int) -> float:
        return 1.0


class _Decay:
    """From 1 down to `final` over `images` images after the first `start`, or until the end of the run."""

    def __init__(
        self,
        total_images: int,
        *,
        final: Share = 0.0,
        start: NonNegative = 0,
        images: Positive | None = None,
        warmup: Share = 0.0,
    ) -> None:
        if images is None and start >= total_images:
            raise ValueError(f"schedule start={start}: the run has no more than {total_images} images")
        self.start, self.images, self.final = start, images or total_images - start, final
        self.warmup = warmup * (self.start + self.images)
        self.depends_on_duration = images is None

    def __call__(self, images: int) -> float:
        progress = min(max(images - self.start, 0) / self.images, 1.0)
        warm = min((images + 1) / (self.warmup + 1), 1.0)
        return warm * (self.final + (1 - self.final) * self.remaining(progress))

    def remaining(self, progress: float) -> float:
        """The remaining share of the decay, from 1 to 0, at a progress from 0 to 1."""
        raise AssertionError


@schedules.register("linear")
class Linear(_Decay):
    """Linear from 1 to `final`, then constant. Miyato et al. 2018 (arXiv 1802.05957) end at 0.

    It begins after `start` images and takes `images` images, or the rest of the run where that is null. Over the
    share `warmup` of the images until its end, the factor also rises linearly, from nearly 0 (Goyal et al. 2017, arXiv
    1706.02677, section 2.2).
    """

    def remaining(self, progress: float) -> float:
        return 1 - progress


@schedules.register("cosine")
class Cosine(_Decay):
    """Half a cosine from 1 to `final` (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, without restarts).

    It begins after `start` images and takes `images` images, or the rest of the run where that is null. Over the
    share `warmup` of the images until its end, the factor also rises linearly, from nearly 0 (Goyal et al. 2017, arXiv
    1706.02677, section 2.2).
    """

    def remaining(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))
