"""Schedules: a factor on a hyperparameter as a function of the images shown. Data, not state: resuming needs nothing.

`depends_on_duration` says that the factor at some moment depends on `trainer.images`, so that a run with such a
schedule cannot be continued by raising it.
"""

from __future__ import annotations

import math

from gan_lab.registry import Positive, Share, schedules


@schedules.register("constant")
class Constant:
    """The factor 1 throughout."""

    depends_on_duration = False

    def __call__(self, images: int) -> float:
        return 1.0


@schedules.register("cosine")
class Cosine:
    """Half a cosine from 1 down to `final` (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, without restarts).

    It takes `images` images, or the whole run where that is null, and stays at `final` afterwards.
    """

    def __init__(self, total_images: int, *, final: Share = 0.0, images: Positive | None = None) -> None:
        self.images, self.final, self.depends_on_duration = images or total_images, final, images is None

    def __call__(self, images: int) -> float:
        progress = min(images / self.images, 1.0)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
