"""Hypothesis draws the cases; all of them are run, failures are grouped by cause, and each cause is shrunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis import seed as seeded

from tests.fuzz.harness import Verdict
from tests.fuzz.lab import Lab

SHRINKING = 60  # cases run to shrink one cause, at most


@dataclass
class Found:
    """The figures of all cases, and the first case and verdict of each cause."""

    verdicts: list[Verdict] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[int, Any, Verdict]] = field(default_factory=dict)  # index, case, verdict

    def note(self, case: Any, verdict: Verdict) -> None:
        if verdict.cause:
            self.causes[verdict.cause] += 1
            self.first.setdefault(verdict.cause, (len(self.verdicts), case, verdict))
        self.verdicts.append(verdict)


def search(
    strategy: strategies.SearchStrategy[Any], lab: Lab, count: int, seed: int,
    tell: Callable[[Any, Verdict], object] = lambda case, verdict: None,
) -> Found:  # fmt: skip
    """Run `count` cases. `tell` hears of each."""
    found = Found()

    def test(case: Any) -> None:
        verdict = case.run(lab)
        found.note(case, verdict)
        tell(case, verdict)

    _drawn(strategy, test, count, seed)()
    return found


def check(strategy: strategies.SearchStrategy[Any], lab: Lab, count: int) -> None:
    """Run `count` cases, the same ones each time. The first failing one is shrunk and raised."""

    def test(case: Any) -> None:
        verdict = case.run(lab)
        assert not verdict.cause, f"{verdict.cause}\n{verdict.output[-3000:]}"

    _drawn(strategy, test, count, seed=0)()


def shrunk(
    strategy: strategies.SearchStrategy[Any], lab: Lab, count: int, seed: int, cause: str, index: int
) -> tuple[Any, Verdict]:
    """The smallest case with this cause that hypothesis finds from the one that `search` met as number `index`."""
    drawn, known = 0, {}
    best: list[tuple[Any, Verdict]] = []

    def test(case: Any) -> None:
        nonlocal drawn
        drawn += 1
        if drawn <= index or (repr(case) not in known and len(known) >= SHRINKING):
            return
        if repr(case) not in known:
            known[repr(case)] = case.run(lab)
        if known[repr(case)].cause == cause:
            best.append((case, known[repr(case)]))
            raise AssertionError(cause)

    try:
        _drawn(strategy, test, count, seed)()
    except AssertionError:
        return best[-1]
    raise RuntimeError(f"it did not happen again: {cause}")


def _drawn(
    strategy: strategies.SearchStrategy[Any], test: Callable[[Any], None], count: int, seed: int
) -> Callable[[], None]:
    quiet = settings(
        max_examples=count, database=None, deadline=None, print_blob=False, report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    drawn: Callable[[], None] = seeded(seed)(quiet(given(strategy)(test)))
    return drawn
