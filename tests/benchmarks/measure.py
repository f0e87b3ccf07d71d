"""What every benchmark needs: a result with its goal, and rounds in which both sides share the machine's moods."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gan_lab.core.hooks import Log
from gan_lab.train import Assembly, assemble
from tests.helpers import compose


@dataclass(frozen=True)
class Goal:
    """A bound on the median ratio."""

    kind: Literal["at least", "at most"]
    bound: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.kind == "at least" else ratio <= self.bound

    def __str__(self) -> str:
        return f"{self.kind} {self.bound:g}"


@dataclass
class Result:
    """One row of the table: a figure a round for each side, and their ratio by the benchmark's own definition."""

    name: str
    unit: str
    ratio_of: str  # how ours and baseline make the ratio, in words
    goal: Goal
    ours: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        return self.goal.met(self.ratio)

    def add(self, ours: float, baseline: float, ratio: float) -> None:
        self.ours.append(ours)
        self.baseline.append(baseline)
        self.ratios.append(ratio)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alternate(ours: Callable[[], object], baseline: Callable[[], object], times: int) -> tuple[float, float]:
    """Mean seconds of each side, taken in turns: what slows the machine for a while then slows both.

    Who goes first changes every time, because the first finds the caches full of the other's data.
    """
    totals = [0.0, 0.0]
    for i in range(times):
        for side in ((0, 1), (1, 0))[i % 2]:
            totals[side] += seconds((ours, baseline)[side])
    return totals[0] / times, totals[1] / times


def build(*overrides: str, log_every: int) -> Assembly:
    """The parts of a run on the CPU as `gan-lab train` builds them, with a log that goes nowhere."""
    assembly = assemble(compose("trainer.device=cpu", *overrides))
    assembly.game.add(Log(log_every, lambda record: None))
    return assembly
