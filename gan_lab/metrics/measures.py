"""The registered measures of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gan_lab.metrics.base import Metric
from gan_lab.metrics.classes import class_histogram, inception_score
from gan_lab.metrics.distances import BLOCK, frechet_distance, frechet_distance_at_infinity, kernel_distance, statistics
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.neighbours import memorization
from gan_lab.registry import metrics


@metrics.register("fd")
class FrechetDistance(Metric):
    """The Frechet distance to the training pictures, all of them."""

    word, better, split = "fd", "lower", "train"
    bare: str | None = "fid"
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


@metrics.register("rfd")
class ReconstructionDistance(FrechetDistance):
    """The Frechet distance of held-out pictures that the decoder's frozen autoencoder makes again: a floor for `fd`."""

    word, bare = "rfd", None
    over_noise, constant = False, True
    needs = frozenset({"test", "reconstruction"})

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        assert seen.reference.test is not None
        made = statistics(seen.reconstructed(seen.reference.test.pictures))
        known = seen.reference.train.statistics
        return {"value": frechet_distance(made, known), "reconstructed": len(seen.reference.test)}


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
    """A share of samples or of training pictures: equally many of both, at most 10,000."""

    better, split = "higher", "train"

    def minimum(self, dimensions: int) -> int:
        return 100

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        return {"value": seen.neighbourhoods.shares[self.word], "compared": len(seen.neighbourhoods.real)}


@metrics.register("precision")
class Precision(OfNeighbourhoods):
    """The share of samples in the neighbourhood of any training picture. Pure noise may have a high value."""

    word = "precision"


@metrics.register("recall")
class Recall(OfNeighbourhoods):
    """The share of training pictures in the neighbourhood of any sample. Pure noise may have a high value."""

    word = "recall"


@metrics.register("density")
class Density(OfNeighbourhoods):
    """The mean number of neighbourhoods of training pictures that contain a sample, over its expectation for real data.

    It is 1 for the data themselves.
    """

    word = "density"


@metrics.register("coverage")
class Coverage(OfNeighbourhoods):
    """The share of training pictures with a sample in their neighbourhood; 0.969 for equally many fresh pictures."""

    word, headline = "coverage", True


@metrics.register("memorization")
class Memorization(Metric):
    """Compares samples with held-out pictures by their distance to the nearest training picture.

    Near 0.5, samples are as far away as held-out pictures; 0 means copies.
    """

    word, split, headline = "memorization", "train", True
    needs = frozenset({"test"})

    def minimum(self, dimensions: int) -> int:
        return 100

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        return memorization(seen.nearest.values, seen.reference.held_out_distances)


@metrics.register("inception_score")
class InceptionScore(Metric):
    """The inception score: high where each sample has one clear class and all classes occur; 1 to their number."""

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
    """Total variation between the samples' classes and the data's: 0 for equal shares, 0.9 for one class of ten."""

    word, better, split = "class_histogram", "lower", "train"
    needs = frozenset({"class_logits", "classes"})

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        label = seen.reference.train.label
        assert seen.class_logits is not None
        assert label is not None
        return class_histogram(seen.class_logits.argmax(1), label, seen.class_logits.shape[1])


@metrics.register("class_accuracy")
class ClassAccuracy(Metric):
    """The share of samples whose predicted class is the requested one. None where the output ignores the class."""

    word, better, headline = "class_accuracy", "higher", True
    absent = "nobody asked for classes, or the generator is not told them"
    needs = frozenset({"class_logits", "classes"})

    def __call__(self, seen: MetricInputs) -> float | None:
        if seen.asked is None:
            return None
        assert seen.class_logits is not None
        return float((seen.class_logits.argmax(1) == seen.asked).double().mean())
