"""Measures of anomaly detection, and solutions without a network to compare with.

Examples have `score` [N], higher for what is less normal, and `anomaly` (0 normal, 1 not); where masks are known,
`map` and `mask` [N, H, W]. Selection reads `normal_score`, which needs no anomaly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.datasets.store import scale
from gan_lab.metrics.base import OfColumns
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.registry import metrics

COMPONENTS = 32
AT_ONCE = 500  # rows whose distances are computed together
TOLD = "there are no examples of both kinds, normal and not, or no scores yet"


def area(score: Tensor, anomaly: Tensor) -> float:
    """The area under the ROC curve of scores [N]."""
    from torchmetrics.functional.classification import binary_auroc  # it imports torchvision

    return min(float(binary_auroc(ranked(score), anomaly.long())), 1.0)  # it rounds above 1


def ranked(score: Tensor) -> Tensor:
    """Scores as their ranks in [0, 1]: torchmetrics takes numbers outside of it for logits, whose sigmoid may tie."""
    return torch.unique(score.double(), return_inverse=True)[1].double() / max(len(score) - 1, 1)


class AUROC(OfColumns):
    """The chance that an anomalous picture has a higher score than a normal one."""

    better, headline, absent = "higher", True, TOLD
    column = "score"

    def scores(self, seen: MetricInputs) -> Tensor:
        return seen[self.column]

    def of(self, score: Tensor, anomaly: Tensor) -> float:
        return area(score, anomaly)

    def __call__(self, seen: MetricInputs) -> float | None:
        anomaly = seen["anomaly"]
        if not 0 < int(anomaly.sum()) < len(anomaly):
            return None
        scores = self.scores(seen)
        return self.of(scores, anomaly) if torch.isfinite(scores).all() else None  # before its stage has begun


@metrics.register("auroc")
class ScoreAUROC(AUROC):
    """The area under the ROC curve of the score."""

    word, reads = "auroc", frozenset({"score", "anomaly"})


@metrics.register("paper_auroc")
class PaperAUROC(AUROC):
    """The same of the score that the task's paper has, whichever is the task's score."""

    word, column, headline, reads = "paper_auroc", "paper", False, frozenset({"paper", "anomaly"})


@metrics.register("energy_auroc")
class EnergyAUROC(AUROC):
    """The same of the energy (`tasks.typical`), whichever is the task's score."""

    word, column, headline, reads = "energy_auroc", "energy", False, frozenset({"energy", "anomaly"})


@metrics.register("image_auroc")
class ImageAUROC(AUROC):
    """The same of the pixels' residual alone."""

    word, column, headline, reads = "image_auroc", "image", False, frozenset({"image", "anomaly"})


@metrics.register("feature_auroc")
class FeatureAUROC(AUROC):
    """The same of the residual of the discriminator's features alone."""

    word, column, headline, reads = "feature_auroc", "feature", False, frozenset({"feature", "anomaly"})


@metrics.register("average_precision")
class AveragePrecision(AUROC):
    """The area under the curve of precision and recall; anomalies are what is found. It depends on their share."""

    word, reads = "average_precision", frozenset({"score", "anomaly"})

    def of(self, score: Tensor, anomaly: Tensor) -> float:
        from torchmetrics.functional.classification import binary_average_precision

        return float(binary_average_precision(ranked(score), anomaly.long()))


@metrics.register("pixel_auroc")
class PixelAUROC(OfColumns):
    """The area under the ROC curve of the map, over all pixels of all pictures."""

    word, better, headline, absent = "pixel_auroc", "higher", True, "no mask has pixels of both kinds"
    reads = frozenset({"map", "mask"})

    def __call__(self, seen: MetricInputs) -> float | None:
        mask = (seen["mask"] > 0).flatten()
        if not 0 < int(mask.sum()) < len(mask):
            return None
        return area(seen["map"].flatten(), mask)


@metrics.register("normal_score")
class NormalScore(OfColumns):
    """The mean score of normal pictures: how well they are known."""

    word, better, absent = "normal_score", "lower", "there are no normal examples, or no scores yet"
    reads = frozenset({"score", "anomaly"})

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        normal = seen["score"][seen["anomaly"] == 0]
        if not len(normal) or not torch.isfinite(normal).all():
            return None
        return {"value": float(normal.double().mean()), "pictures": len(normal)}


# -- without a network -------------------------------------------------------------------------------------------------


def flat(pictures: Tensor) -> Tensor:
    """Pictures as they are stored, as rows of values in [-1, 1], [N, D]."""
    return scale(pictures).flatten(1).float()


@metrics.register("neighbour_bar")
class NeighbourBar(AUROC):
    """The same with the distance to the nearest training picture as the score."""

    word, constant = "neighbour_bar", True
    reads = frozenset({"sample", "anomaly"})

    def scores(self, seen: MetricInputs) -> Tensor:
        known = flat(seen.train.columns["sample"])
        queries = seen["sample"].flatten(1).float()
        return torch.cat([torch.cdist(part, known).amin(1) for part in queries.split(AT_ONCE)])


@metrics.register("pca_bar")
class PCABar(NeighbourBar):
    """The same with the squared distance to the plane of the training pictures' first 32 principal components."""

    word = "pca_bar"

    def scores(self, seen: MetricInputs) -> Tensor:
        known = flat(seen.train.columns["sample"]).double()
        centre = known.mean(0)
        axes = torch.linalg.eigh(torch.cov(known.T)).eigenvectors[:, -COMPONENTS:]
        rows = seen["sample"].flatten(1).double() - centre
        return (rows - rows @ axes @ axes.T).square().sum(1)
