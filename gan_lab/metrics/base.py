"""What a measure is, and what its number is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor

from gan_lab.metrics.inputs import MetricInputs
from gan_lab.registry import metrics

OFFICIAL = "inception-v3-compat-6726825d"  # torch-fidelity's Inception with its published weights


class Metric(ABC):
    """A measure of samples against data. Subclass it, set what differs, and register the class.

    Called with the inputs it returns a number, or a mapping with the number under "value" and what else belongs to
    it, or None where the samples do not have what it asks for.
    """

    word: str  # the first part of its number's name
    bare: str | None = None  # the word that is reserved for the measure with torch-fidelity's Inception
    better: Literal["lower", "higher"] | None = None
    needs: frozenset[str] = frozenset()  # of class_logits, classes (of the data set) and a split "test"
    reads: frozenset[str] = frozenset({"sample"})  # columns of examples; offered by tasks that have them
    split: str | None = None  # the split that it compares with
    over_noise: bool = False  # measured with every noise seed, or with the first one alone
    absent: str = ""  # why it returns None, if it does
    headline: bool = False  # shown in compact tables and at a run's end; the others are in summary.json and W&B
    constant: bool = False  # does not depend on the networks: measured at the end alone
    uses_features: bool = True  # whether it looks through the feature extractor

    def minimum(self, dimensions: int) -> int:
        """How many samples it takes at least, for features of so many dimensions."""
        return 1

    def lacks(self) -> str | None:
        """Why it cannot be had on this machine, if so: a file of weights that is not at hand."""
        return None

    @abstractmethod
    def __call__(self, seen: MetricInputs) -> float | Mapping[str, Any] | None: ...

    def name(self, extractor: str) -> str:
        """Its number's name, for an extractor's name with its weights' hash."""
        official = self.bare if extractor == OFFICIAL else None
        middle = [official] if official else [self.word, extractor]
        return "/".join([*middle, *([self.split] if self.split else [])])


class OfColumns(Metric):
    """A measure of named columns of examples. It needs no feature extractor, and its number has its word alone."""

    uses_features = False

    def name(self, extractor: str) -> str:
        return self.word


class OfSamples(OfColumns):
    """A data set's own measure: a function of the samples alone."""

    headline = True

    def __init__(
        self, word: str, measure: Callable[[Tensor], float], better: Literal["lower", "higher"] = "higher"
    ) -> None:
        self.word, self.measure, self.better = word, measure, better

    def __call__(self, seen: MetricInputs) -> float:
        return self.measure(seen.samples)


def is_headline(name: str) -> bool:
    """Whether a number with that name is shown in compact tables."""
    word = name.split("/")[0]
    known = [cls for cls in metrics.classes.values() if word in (cls.word, cls.bare)]  # type: ignore[attr-defined]
    return not known or any(cls.headline and cls.split in (None, *name.split("/")) for cls in known)  # type: ignore[attr-defined]


def short_names(names: Mapping[str, Any]) -> dict[str, str]:
    """The names' first parts where these tell them apart, for a person's eyes: `fd` for `fd/mnist5k-.../train`."""
    words = [name.split("/")[0] for name in names]
    return {name: word if words.count(word) == 1 else name for name, word in zip(names, words, strict=True)}
