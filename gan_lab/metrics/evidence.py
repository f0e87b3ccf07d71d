"""What measures look at: samples of a generator and pictures of the data, through one feature extractor."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from gan_lab.datasets.store import scale
from gan_lab.metrics.distances import Statistics, frechet_distance, statistics
from gan_lab.metrics.neighbours import BALL, MANIFOLD, Neighbourhoods, nearest, radii

MOST = 10_000  # samples that are compared with each other pair by pair


@dataclass
class Known:
    """One split of the data as an extractor sees it."""

    features: Tensor  # float32 [N, D]
    statistics: Statistics
    digest: str  # of the pictures
    pictures: Tensor  # uint8 [N, H, W, C]
    label: Tensor | None = None  # int64 [N]

    def __len__(self) -> int:
        return len(self.features)

    def shuffled(self, most: int = MOST) -> Tensor:
        """Features [n, D] of so many pictures at most, the same ones each time, in an order that follows no class."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))
        return self.features[order[:most]]


@dataclass
class Reference:
    """The data that samples are compared with. What does not depend on samples is computed once for all of them."""

    train: Known
    test: Known | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _radii: dict[int, Tensor] = field(default_factory=dict)

    def radii(self, count: int) -> Tensor:
        """Of so many training pictures the neighbourhoods' radii, [2, count]: every score needs the same ones."""
        if count not in self._radii:
            self._radii[count] = radii(self.train.shuffled(count), (MANIFOLD, BALL), self.device)
        return self._radii[count]

    @cached_property
    def floor(self) -> float | None:
        """The Frechet distance between the splits: what unseen pictures reach, biased upwards by few of them."""
        return frechet_distance(self.train.statistics, self.test.statistics) if self.test else None

    @cached_property
    def held_out_distances(self) -> Tensor:
        """From each held-out picture to the nearest training picture, [n]."""
        assert self.test is not None
        return nearest(self.test.shuffled(), self.train.features, self.device).values


class Evidence:
    """The samples of one noise seed, and everything that is derived from them."""

    def __init__(
        self,
        raw: Tensor,
        asked: Tensor | None = None,
        features: Tensor | None = None,
        class_logits: Tensor | None = None,
        reference: Reference | None = None,
    ) -> None:
        self.raw = raw  # uint8 [N, H, W, C], or points float [N, 2]
        self.asked = asked  # the classes [N] that the generator was asked for, where it listens
        self.class_logits = class_logits  # float32 [N, k]
        self._features, self._reference = features, reference

    def __len__(self) -> int:
        return len(self.raw)

    @cached_property
    def samples(self) -> Tensor:
        """Pictures as float [N, C, H, W] in [-1, 1], of 256 levels; points as they are."""
        return scale(self.raw) if self.raw.dtype == torch.uint8 else self.raw

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
        """Samples and training pictures, as many of the one as of the other."""
        count = min(len(self), len(self.reference.train), MOST)
        known = self.reference
        return Neighbourhoods(
            known.train.shuffled(count), self.features[:count], known.device, real_radii=known.radii(count)
        )

    @cached_property
    def nearest(self) -> torch.return_types.min:
        """The distance from each of the first samples to the nearest training picture, and which that is."""
        return nearest(self.features[:MOST], self.reference.train.features, self.reference.device)
