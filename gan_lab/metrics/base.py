"""The base class of measures, and the names of their numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor

from gan_lab.metrics.inputs import MetricInputs
from gan_lab.registry import load, metrics

OFFICIAL = "inception-v3-compat-6726825d"  # torch-fidelity's Inception with its published weights


class Metric(ABC):
    """A measure of samples against data. Subclass it, set the attributes that differ, and register the class.

    Called with the inputs, it returns a number, or a mapping with the number under "value" and further fields, or None
    where the samples do not have what it needs.
    """

    word: str  # the first part of its number's name
    bare: str | None = None  # the word reserved for the measure with torch-fidelity's Inception
    better: Literal["lower", "higher"] | None = None
    needs: frozenset[str] = frozenset()  # class_logits, classes (of the data set), test (a split), bar, reconstruction
    reads: frozenset[str] = frozenset({"sample"})  # columns of examples that a task must have
    split: str | None = None  # the split with which samples are compared
    over_noise: bool = False  # measured with every noise seed, instead of the first one alone
    absent: str = ""  # the reason where it returns None
    headline: bool = False  # shown in compact tables and at a run's end; the others are in summary.json and W&B
    constant: bool = False  # does not depend on the networks, so it is measured only at the end
    uses_features: bool = True  # whether it needs the feature extractor

    def minimum(self, dimensions: int) -> int:
        """The smallest number of samples, for features of so many dimensions."""
        return 1

    def lacks(self) -> str | None:
        """Why it cannot be measured on this machine, such as a missing file of weights; None where it can."""
        return None

    @abstractmethod
    def __call__(self, seen: MetricInputs) -> float | Mapping[str, Any] | None: ...

    def name(self, extractor: str) -> str:
        """The name of its number, for an extractor's name with its weights' hash."""
        official = self.bare if extractor == OFFICIAL else None
        middle = [official] if official else [self.word, extractor]
        return "/".join([*middle, *([self.split] if self.split else [])])


class OfColumns(Metric):
    """A measure of columns of examples. It needs no feature extractor; the name of its number is its word."""

    uses_features = False

    def name(self, extractor: str) -> str:
        return self.word


class OfSamples(OfColumns):
    """A data set's own measure: a function of the samples alone."""

    headline = True

    def __init__(
        self,
        word: str,
        measure: Callable[[Tensor], float],
        better: Literal["lower", "higher"] = "higher",
        *,
        constant: bool = False,
    ) -> None:
        self.word, self.measure, self.better, self.constant = word, measure, better, constant

    def __call__(self, seen: MetricInputs) -> float:
        return self.measure(seen.samples)


def is_headline(name: str) -> bool:
    """Whether a number with that name is shown in compact tables."""
    load()  # all measures, also those of plug-ins
    word = name.split("/")[0]
    known = [cls for cls in metrics.classes.values() if word in (cls.word, cls.bare)]  # type: ignore[attr-defined]
    return not known or any(cls.headline and cls.split in (None, *name.split("/")) for cls in known)  # type: ignore[attr-defined]


def short_names(names: Mapping[str, Any]) -> dict[str, str]:
    """Each name's first part where it is unique, else the name: `fd` for `fd/mnist5k-.../train`."""
    words = [name.split("/")[0] for name in names]
    return {name: word if words.count(word) == 1 else name for name, word in zip(names, words, strict=True)}
