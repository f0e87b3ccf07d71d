"""What every benchmark needs: a result with its goal, and rounds in which both sides share the machine's moods."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from rich.console import Console, RenderableType

from gan_lab.core.hooks import Log
from gan_lab.run.assembly import Assembly, assemble
from tests.helpers import compose

CONSOLE = Console(width=None if sys.stdout.isatty() else 120)
Found = TypeVar("Found")


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
    """One row of the table: a figure a round for each side, and their ratio by the benchmark's own definition.

    Where this machine cannot measure it there are no figures, and a note says why.
    """

    name: str
    unit: str
    ratio_of: str  # how ours and baseline make the ratio, in words
    goal: Goal
    ours: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None else self.goal.met(self.ratio)

    def add(self, ours: float, baseline: float, ratio: float) -> None:
        self.ours.append(ours)
        self.baseline.append(baseline)
        self.ratios.append(ratio)

    def row(self) -> dict[str, Any]:
        """As --json writes it."""
        bound = {"kind": self.goal.kind, "bound": self.goal.bound}
        return vars(self) | {"goal": str(self.goal), "ratio": self.ratio, "met": self.met} | bound


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


def build(*overrides: str, log_every: int, device: str = "cpu") -> Assembly:
    """The parts of a run as `gan-lab train` builds them, with a log that goes nowhere."""
    assembly = assemble(compose(f"trainer.device={device}", *overrides))
    assembly.game.add(Log(log_every, lambda record: None))
    return assembly


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


# -- the command line --------------------------------------------------------------------------------------------------


def arguments(
    module: str, description: str | None, names: Iterable[str], rounds: int, argv: Sequence[str] | None
) -> argparse.Namespace:
    """What the command line asks for; all names where it names none."""
    names = list(names)
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds, of which the median counts ({rounds})")
    # With two threads on a core that is shared, each waits for the other: times then say nothing.
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure, too")
    given = parser.parse_args(argv)
    if unknown := set(given.names) - set(names):
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(names)}")
    if given.rounds < 1 or given.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    given.names = given.names or names
    return given


def measured(given: argparse.Namespace, measures: Mapping[str, Callable[[int], Found]]) -> Iterator[Found]:
    """What each chosen measure finds, one after another."""
    for name in given.names:
        torch.set_num_threads(given.threads)  # an experiment may have asked for another number
        with CONSOLE.status(f"{name} ..."):
            found = measures[name](given.rounds)
        yield found


def surroundings(given: argparse.Namespace) -> dict[str, Any]:
    """What figures depend on besides the code."""
    return {
        "torch": str(torch.__version__), "python": platform.python_version(), "machine": platform.machine(),
        "cores": os.cpu_count(), "threads": given.threads, "rounds": given.rounds,
    }  # fmt: skip


def say(*lines: RenderableType) -> None:
    CONSOLE.print(*lines, sep="\n", highlight=False)


def in_words(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items())


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(content, indent=1) + "\n")
