"""A setting: runs that differ in nothing but their seeds, its score over them, and its names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gan_lab.comparing.runs import Reading, Run
from gan_lab.comparing.statistics import bootstrap_interval, interquartile_mean
from gan_lab.display.terminal import shortened

ENOUGH = 3  # runs of a setting; with fewer, the intervals of two equal settings are often disjoint by chance

Key = tuple[str, str]  # a score's word and what follows the extractor in its name: ("fd", "train")


def key_of(name: str) -> Key:
    """A score's name without its feature extractor: `fd/mnist5k-03da3a14/train` becomes ("fd", "train")."""
    parts = name.split("/")
    return parts[0], parts[-1] if len(parts) > 1 and parts[-1] in ("train", "test") else ""


@dataclass
class Setting:
    """All runs that differ in nothing but their seeds."""

    labels: dict[str, Any]  # its values of the keys that distinguish the settings
    runs: list[Run]
    readings: dict[Run, Reading] = field(default_factory=dict)  # of the score that is ranked
    verdict: str = ""

    @property
    def values(self) -> list[float]:
        return [reading.value for reading in self.readings.values() if reading.value is not None]

    @cached_property
    def mean(self) -> float | None:
        """The interquartile mean over its runs."""
        return interquartile_mean(self.values) if self.values else None

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The bootstrap's 95 % interval of the mean; None with fewer than two runs."""
        return bootstrap_interval(self.values) if len(self.values) > 1 else None

    @property
    def name(self) -> str:
        return " ".join(f"{shorter(key)}={shortened(str(value))}" for key, value in self.labels.items()) or "all runs"

    @property
    def broken(self) -> list[Run]:
        """Runs that diverged."""
        return [run for run in self.runs if run.status == "diverged"]

    def differs_from(self, other: Setting) -> bool:
        """Whether the intervals of the two settings, each of enough runs, do not overlap."""
        if min(len(self.values), len(other.values)) < ENOUGH or self.interval is None or other.interval is None:
            return False
        return self.interval[1] < other.interval[0] or other.interval[1] < self.interval[0]


def shorter(key: str) -> str:
    """A setting's key for display: `generator` for `generator.name`."""
    return key.removeprefix("trainer.").removesuffix(".name")


def short(key: Key | None) -> str:
    word, split = key or ("", "")
    return f"{word}/{split}" if split == "test" else word


def where(runs: Iterable[Run], conditions: Sequence[str]) -> list[Run]:
    """Runs that have all these settings, given as key=value. Raises ValueError where none has the key or the value."""
    kept = list(runs)
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise ValueError(f"--where {condition}: give key=value, such as --where dataset.name=fashion_mnist")
        named = [k for k in (key, f"{key}.name") if any(k in run.config for run in kept)]
        if not named:
            raise ValueError(f"--where {condition}: no run has a setting {key}")
        known = dict.fromkeys(str(run.config.get(named[0])) for run in kept)
        kept = [run for run in kept if str(run.config.get(named[0])) in value.split(",")]
        if not kept:
            raise ValueError(f"--where {condition}: no run has that; they have {', '.join(known)}")
    return kept
