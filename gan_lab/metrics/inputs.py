"""The inputs of measures: columns of examples, and features of samples and of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from gan_lab.datasets.store import Store, scale
from gan_lab.metrics.distances import Statistics, frechet_distance, statistics
from gan_lab.metrics.neighbours import BALL, MANIFOLD, Neighbourhoods
from gan_lab.neighbours import nearest, radii

MOST = 10_000  # samples for measures that compare pairs


@dataclass
class ReferenceSplit:
    """One split of the data with its features."""

    features: Tensor  # float32 [N, D]
    statistics: Statistics
    digest: str  # of the pictures
    pictures: Tensor  # uint8 [N, H, W, C]
    label: Tensor | None = None  # int64 [N]

    def __len__(self) -> int:
        return len(self.features)

    def shuffled(self, most: int = MOST) -> Tensor:
        """Features [n, D] of at most so many pictures, always the same ones, in a random order."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))
        return self.features[order[:most]]


@dataclass
class Reference:
    """The data that samples are compared with. Values that do not depend on samples are computed only once."""

    train: ReferenceSplit
    test: ReferenceSplit | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _radii: dict[int, Tensor] = field(default_factory=dict)

    def radii(self, count: int) -> Tensor:
        """The radii [2, count] of the neighbourhoods of so many training pictures; the same for every score."""
        if count not in self._radii:
            self._radii[count] = radii(self.train.shuffled(count), (MANIFOLD, BALL), self.device)
        return self._radii[count]

    @cached_property
    def floor(self) -> float | None:
        """The Frechet distance between the splits: the value of real, unseen pictures; too high where they are few."""
        return frechet_distance(self.train.statistics, self.test.statistics) if self.test else None

    @cached_property
    def held_out_distances(self) -> Tensor:
        """From each held-out picture to the nearest training picture, [n]."""
        assert self.test is not None
        return nearest(self.test.shuffled(), self.train.features, self.device).values


Bar = Callable[[Mapping[str, Tensor]], tuple[str, Tensor]]  # see tasks.contract.Task.bar


class MetricInputs:
    """The examples of one noise seed by their columns, and derived values, each computed once.

    `inputs["sample"]` is float [N, C, H, W] in [-1, 1] (pictures of 8 bits rounded to 256 levels, as in a file), or
    points [N, 2]. Other columns are as the task has made them.
    """

    def __init__(
        self,
        raw: Tensor,
        columns: Mapping[str, Tensor] | None = None,
        features: Tensor | None = None,
        class_logits: Tensor | None = None,
        reference: Reference | None = None,
        bar: Bar | None = None,
        train: Callable[[], Store] | None = None,
    ) -> None:
        self.raw = raw  # samples: uint8 [N, H, W, C], or as the task made them
        self.columns = dict(columns or {})  # all others
        self.class_logits = class_logits  # float32 [N, k]
        self._features, self._reference, self._bar, self._train = features, reference, bar, train

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, name: str) -> Tensor:
        return self.samples if name == "sample" else self.columns[name]

    @property
    def asked(self) -> Tensor | None:
        """The classes [N] for which the generator made the samples; None where it does not use classes."""
        return self.columns.get("label")

    @cached_property
    def samples(self) -> Tensor:
        """Pictures as float [N, C, H, W] in [-1, 1]; points unchanged."""
        return scale(self.raw) if self.raw.dtype == torch.uint8 else self.raw

    @cached_property
    def _trivial(self) -> tuple[str, Tensor]:
        assert self._bar is not None  # measures of it are offered where the task has one
        return self._bar(self.columns)

    @property
    def bar(self) -> Tensor:
        """The output of the trivial solution for the same inputs, [N, C, H, W]."""
        return self._trivial[1]

    @property
    def bar_name(self) -> str:
        return self._trivial[0]

    @property
    def train(self) -> Store:
        """The data that were trained on, for solutions without a network."""
        assert self._train is not None
        return self._train()

    @property
    def features(self) -> Tensor:
        """float32 [N, D]."""
        assert self._features is not None
        return self._features

    @property
    def reference(self) -> Reference:
        assert self._reference is not None
        return self._reference

    @cached_property
    def statistics(self) -> Statistics:
        return statistics(self.features)

    @cached_property
    def neighbourhoods(self) -> Neighbourhoods:
        """The neighbourhoods of samples and of equally many training pictures."""
        count = min(len(self), len(self.reference.train), MOST)
        known = self.reference
        return Neighbourhoods(
            known.train.shuffled(count), self.features[:count], known.device, real_radii=known.radii(count)
        )

    @cached_property
    def nearest(self) -> torch.return_types.min:
        """For the first `MOST` samples, the distance to the nearest training picture and the index of it."""
        return nearest(self.features[:MOST], self.reference.train.features, self.reference.device)
