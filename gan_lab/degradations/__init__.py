"""Degradations: what makes a translator's input from a picture. The registry imports every module here.

A degradation is one class: how a source is made from a target, and the trivial solution that a network has to beat.

    @degradations.register("darker")
    class Darker(Degradation):
        bar = "brightened"

        def __call__(self, target, draw):
            return (target - 1) / 2

        def solve(self, source):
            return 2 * source + 1

One that depends on units takes the parameter `pictures`, the data's `datasets.columns.Column` of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Protocol

from torch import Tensor


class Draw(Protocol):
    """Random numbers [B, *shape] for a stream's name: standard normal, or uniform in [0, 1).

    Keyed by position: training draws by the step, scores and pictures by the row of the data. A degradation has no
    other randomness, so a row has the same source however the rows are batched.
    """

    def __call__(self, stream: str, *shape: int, kind: Literal["normal", "uniform"] = "normal") -> Tensor: ...


class Degradation(ABC):
    """Makes a source from a target. Subclass it, set what differs, and register the class.

    Pictures are float [B, C, H, W] in [-1, 1], of any number of channels, any height and width, on any device.
    """

    bar: str  # the trivial solution's name in tables
    streams: tuple[str, ...] = ()  # what it draws, for a pass that has to draw the same in several phases

    @property
    def label(self) -> str:
        """What it does with which settings: scores under other ones are not compared."""
        settings = ", ".join(f"{name}={value}" for name, value in sorted(vars(self).items()))
        return f"{type(self).__name__}({settings})"

    def input_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The source's (C, h, w) for targets of (C, H, W). Raises ValueError where the size does not fit."""
        return shape

    @abstractmethod
    def __call__(self, target: Tensor, draw: Draw) -> Tensor:
        """The source [B, C', h, w] of a target [B, C, H, W]."""

    @abstractmethod
    def solve(self, source: Tensor) -> Tensor:
        """The trivial solution [B, C, H, W], from the source [B, C', h, w] alone."""

    def finish(self, output: Tensor, source: Tensor) -> Tensor:
        """A network's output [B, C, H, W] with what the source already knows put in place; here nothing."""
        return output

    def source_of(self, picture: Tensor, alpha: Tensor | None = None) -> Tensor:
        """The source of a user's own file: its picture [1, C, h, w] as it is.

        `alpha` is its opacity [1, 1, h, w] in [0, 1], None for a file without. Raises ValueError where the file lacks
        what a source needs.
        """
        return picture
