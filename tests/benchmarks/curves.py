"""A curve of the scale study: what each size costs, and the power law behind it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

LINEAR, FLAT = 1.1, 0.1  # the largest exponents that are called so


class Point(NamedTuple):
    """What a size costs: the median over the rounds, the lowest and the highest."""

    size: int
    median: float
    lowest: float
    highest: float


@dataclass
class Curve:
    """Costs by size. They should grow as the last kind of `work` does, or not at all where there is none."""

    name: str
    size_of: str
    cost_of: str
    points: list[Point]
    work: dict[str, list[float]] = field(default_factory=dict)  # how much of each unit there is to do at each size
    notes: list[str] = field(default_factory=list)
    negligible: float = 0.0  # costs up to this are none: no power law is fitted to noise

    @property
    def exponents(self) -> dict[str, float | None]:
        """Of the cost against the size and every kind of work."""
        against = {self.size_of: [point.size for point in self.points]} | self.work
        costs = [point.median for point in self.points]
        return {name: None if self._none() else power_law(amounts, costs) for name, amounts in against.items()}

    @property
    def verdict(self) -> str:
        exponent = list(self.exponents.values())[-1]
        word, bound = ("linear", LINEAR) if self.work else ("flat", FLAT)
        return word if self._none() or (exponent is not None and exponent <= bound) else f"not {word}"

    def _none(self) -> bool:
        return max(point.median for point in self.points) <= self.negligible

    def row(self) -> dict[str, Any]:
        """As --json writes it."""
        return vars(self) | {"exponents": self.exponents, "verdict": self.verdict}


def points(figures: Mapping[int, Sequence[float]]) -> list[Point]:
    """Points of the rounds' figures by size."""
    return [Point(size, statistics.median(costs), min(costs), max(costs)) for size, costs in figures.items()]


def power_law(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The b of  cost = a size^b  by least squares in logarithms; None where something is not positive.

    >>> round(power_law([1, 10, 100], [3, 30, 300]), 6)
    1.0
    """
    if len(sizes) < 2 or min(*sizes, *costs) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
