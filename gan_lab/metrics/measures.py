"""Every measure of features: what it is called, what it compares with, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gan_lab.metrics.base import Metric
from gan_lab.metrics.classes import class_histogram, inception_score
from gan_lab.metrics.distances import BLOCK, frechet_distance, frechet_distance_at_infinity, kernel_distance
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.neighbours import memorization
from gan_lab.registry import metrics


@metrics.register("fd")
class FrechetDistance(Metric):
    """The Frechet distance to the training pictures, all of them."""

    word, bare, better, split = "fd", "fid", "lower", "train"
    over_noise = headline = True

    def minimum(self, dimensions: int) -> int:
        return dimensions + 1  # below that the covariance is singular

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        test, floor = seen.reference.test, seen.reference.floor
        value = {"value": frechet_distance(seen.statistics, seen.reference.train.statistics)}
        return value if test is None or floor is None else value | {"floor": floor, "floor_samples": len(test)}


@metrics.register("fd_test")
class FrechetDistanceToTest(FrechetDistance):
    """The Frechet distance to pictures that the generator has not seen."""

    split, headline = "test", False
    needs = frozenset({"test"})

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        assert seen.reference.test is not None
        return {"value": frechet_distance(seen.statistics, seen.reference.test.statistics)}


@metrics.register("fd_infinity")
class FrechetDistanceAtInfinity(Metric):
    """The Frechet distance to the training pictures, extrapolated to infinitely many samples: its bias removed."""

    word, better, split = "fd_infinity", "lower", "train"
    over_noise = True

    def minimum(self, dimensions: int) -> int:
        return 4 * dimensions

    def __call__(self, seen: MetricInputs) -> float:
        return frechet_distance_at_infinity(seen.features, seen.reference.train.statistics)


@metrics.register("kd")
class KernelDistance(Metric):
    """The kernel distance to the training pictures, unbiased, over disjoint blocks of 1,000."""

    word, bare, better, split = "kd", "kid", "lower", "train"
    over_noise = True
    absent = f"the data have fewer than {2 * BLOCK:,} pictures"

    def minimum(self, dimensions: int) -> int:
        return 2 * BLOCK

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        known = seen.reference.train.shuffled(len(seen))
        if len(known) < 2 * BLOCK:
            return None
        value, error = kernel_distance(known, seen.features)
        return {"value": value, "standard_error": error}


class OfNeighbourhoods(Metric):
    """A share of samples or of training pictures, as many of the one as of the other, 10,000 at most."""

    better, split = "higher", "train"

    def minimum(self, dimensions: int) -> int:
        return 100

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        return {"value": seen.neighbourhoods.shares[self.word], "compared": len(seen.neighbourhoods.real)}


@metrics.register("precision")
class Precision(OfNeighbourhoods):
    """The share of samples that lie in some training picture's neighbourhood. Pure noise may have a high one."""

    word = "precision"


@metrics.register("recall")
class Recall(OfNeighbourhoods):
    """The share of training pictures that lie in some sample's neighbourhood. Pure noise may have a high one."""

    word = "recall"


@metrics.register("density")
class Density(OfNeighbourhoods):
    """In how many training pictures' neighbourhoods a sample lies, over the number expected: 1 for the data itself."""

    word = "density"


@metrics.register("coverage")
class Coverage(OfNeighbourhoods):
    """The share of training pictures that have a sample in their neighbourhood: 0.969 for as many fresh pictures."""

    word, headline = "coverage", True


@metrics.register("memorization")
class Memorization(Metric):
    """How samples and held-out pictures compare in their distance to the nearest training picture: near 0.5 is fresh,
    0 is copying.
    """

    word, split, headline = "memorization", "train", True
    needs = frozenset({"test"})

    def minimum(self, dimensions: int) -> int:
        return 100

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        return memorization(seen.nearest.values, seen.reference.held_out_distances)


@metrics.register("inception_score")
class InceptionScore(Metric):
    """How sure a classifier is of each sample, and how unsure of all together: 1 to the number of classes."""

    word, bare, better = "inception_score", "is", "higher"
    needs = frozenset({"class_logits"})

    def minimum(self, dimensions: int) -> int:
        return 100

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        assert seen.class_logits is not None
        value, deviation = inception_score(seen.class_logits)
        return {"value": value, "deviation": deviation}


@metrics.register("class_histogram")
class ClassHistogram(Metric):
    """How far the shares of the classes are from the data's, in total variation: 0 equal, 0.9 one class of ten."""

    word, better, split = "class_histogram", "lower", "train"
    needs = frozenset({"class_logits", "classes"})

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        label = seen.reference.train.label
        assert seen.class_logits is not None
        assert label is not None
        return class_histogram(seen.class_logits.argmax(1), label, seen.class_logits.shape[1])


@metrics.register("class_accuracy")
class ClassAccuracy(Metric):
    """The share of samples that are classified as what the generator was asked for; None where it does not listen."""

    word, better, headline = "class_accuracy", "higher", True
    absent = "nobody asked for classes, or the generator is not told them"
    needs = frozenset({"class_logits", "classes"})

    def __call__(self, seen: MetricInputs) -> float | None:
        if seen.asked is None:
            return None
        assert seen.class_logits is not None
        return float((seen.class_logits.argmax(1) == seen.asked).double().mean())
