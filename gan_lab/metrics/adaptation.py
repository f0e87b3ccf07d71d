"""Measures of domain adaptation, and solutions without a network to compare with.

Examples have `domain` (0 the source, 1 the target), `label`, `class_logits` and `features`. None of these measures is
part of training; `label_free` and `proxy_a_distance` do not even read the target's labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.datasets.store import scale
from gan_lab.metrics.base import OfColumns
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.restoration import mean
from gan_lab.registry import metrics

CLASSIFIED = frozenset({"domain", "label", "class_logits"})
RIDGE = 1e-3  # of the linear classifier of domains, in units of the features' mean variance


def accuracy(seen: MetricInputs, domain: int) -> Mapping[str, Any] | None:
    """The share of a domain's pictures with the right class, with its standard error; None without such pictures."""
    rows = seen["domain"] == domain
    right = seen["class_logits"][rows].argmax(1) == seen["label"][rows]
    return mean(right.double()) if len(right) else None


def information(logits: Tensor) -> float:
    """The mutual information of pictures and predicted classes over log K, in [0, 1], for logits [N, K].

    H(mean of p) - mean of H(p): high where predictions are sure, and all classes are among them (Shi and Sha 2012,
    arXiv 1206.6438, section 3.2).
    """
    p = logits.double().softmax(1)
    entropies = [-(q * q.clamp(min=1e-12).log()).sum(-1).mean() for q in (p.mean(0), p)]
    return float(entropies[0] - entropies[1]) / math.log(logits.shape[1])


def a_distance(source: Tensor, target: Tensor) -> float:
    """2 (1 - 2 error) of a linear classifier of domains on features [N, D]: 0 where they look alike, at most 2.

    Ben-David et al. 2007 (NeurIPS 19), as in Ganin et al. 2016 (arXiv 1505.07818, section 5.1.5), with regularized
    least squares in place of a support vector machine. It learns from every second row, and is tested on the others.
    """
    count = min(len(source), len(target))
    x = torch.cat([source[:count], target[:count]]).double()
    y = torch.cat([torch.ones(count), -torch.ones(count)]).double()
    learn = torch.arange(len(x)) % 2 == 0
    x = x - x[learn].mean(0)
    gram = x[learn].T @ x[learn]
    ridge = (RIDGE * gram.diagonal().mean()).clamp(min=1e-12) * torch.eye(len(gram), dtype=torch.float64)
    direction = torch.linalg.solve(gram + ridge, x[learn].T @ (y[learn] - y[learn].mean()))
    error = float(((x[~learn] @ direction).sign() != y[~learn]).double().mean())
    return 2 * (1 - 2 * min(error, 0.5))


@metrics.register("label_free")
class LabelFree(OfColumns):
    """Selects a checkpoint without the target's labels: the mean of source accuracy and `information` of the target."""

    word, better = "label_free", "higher"
    reads = CLASSIFIED

    def __call__(self, seen: MetricInputs) -> float | None:
        right = accuracy(seen, 0)
        target = seen["class_logits"][seen["domain"] == 1]
        return None if right is None or not len(target) else (right["value"] + information(target)) / 2


@metrics.register("target_accuracy")
class TargetAccuracy(OfColumns):
    """The share of the target's pictures with the right class."""

    word, better, headline, domain = "target_accuracy", "higher", True, 1
    reads = CLASSIFIED
    absent = "there are no examples of that domain"

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        return accuracy(seen, self.domain)


@metrics.register("source_accuracy")
class SourceAccuracy(TargetAccuracy):
    """The share of the source's pictures with the right class."""

    word, domain = "source_accuracy", 0


@metrics.register("proxy_a_distance")
class ProxyADistance(OfColumns):
    """How well a linear classifier tells the domains by the features: 0 not at all, 2 always."""

    word, better, headline = "proxy_a_distance", "lower", True
    reads = frozenset({"domain", "features"})
    absent = "there are too few examples of one domain"

    def __call__(self, seen: MetricInputs) -> float | None:
        source, target = (seen["features"][seen["domain"] == domain] for domain in (0, 1))
        return a_distance(source, target) if min(len(source), len(target)) >= 4 else None


# -- without a network -------------------------------------------------------------------------------------------------


def flat(pictures: Tensor) -> Tensor:
    """Stored pictures as rows of pixels in [-1, 1], [N, D]."""
    return scale(pictures).flatten(1).float()


def nearest_label(queries: Tensor, known: Tensor, labels: Tensor) -> Tensor:
    """The class of each query's nearest known row, [N]."""
    return labels[torch.cat([torch.cdist(part, known).argmin(1) for part in queries.split(500)])]


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Source rows [N, D] with the target's covariance and mean (Sun et al. 2016, arXiv 1511.05547, algorithm 1).

    Both covariances have the identity added, as there, in units of the source's mean variance.
    """
    covariances = [torch.cov(rows.double().T) for rows in (source, target)]
    unit = covariances[0].diagonal().mean() * torch.eye(source.shape[1], dtype=torch.float64)
    whiten, colour = (power(c + unit, p) for c, p in zip(covariances, (-0.5, 0.5), strict=True))
    return ((source.double() - source.double().mean(0)) @ whiten @ colour + target.double().mean(0)).float()


def power(symmetric: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(symmetric)
    return vectors @ torch.diag(values.clamp(min=1e-12) ** exponent) @ vectors.T


@metrics.register("source_only_bar")
class SourceOnlyBar(OfColumns):
    """The target accuracy of the source's nearest picture, by the distance of pixels."""

    word, better, headline, constant = "source_only_bar", "higher", True, True
    reads = frozenset({"sample", "domain", "label"})
    absent = "there are no examples of the target"

    def known(self, seen: MetricInputs, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The rows [N, D] and classes [N] among which the nearest is looked for."""
        columns = seen.train.columns
        return flat(columns["sample"]), columns["label"]

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        target = seen["domain"] == 1
        if not target.any():
            return None
        queries = seen["sample"][target].flatten(1).float()
        found = nearest_label(queries, *self.known(seen, queries))
        return mean((found == seen["label"][target]).double())


@metrics.register("coral_bar")
class CoralBar(SourceOnlyBar):
    """The same with the source's covariance made the target's, by target pictures without labels."""

    word = "coral_bar"

    def known(self, seen: MetricInputs, queries: Tensor) -> tuple[Tensor, Tensor]:
        columns = seen.train.columns
        return coral(flat(columns["sample"]), flat(columns["other"])), columns["label"]


@metrics.register("target_only_bar")
class TargetOnlyBar(SourceOnlyBar):
    """The same with the target's own labelled pictures, which no adaptation has."""

    word = "target_only_bar"

    def known(self, seen: MetricInputs, queries: Tensor) -> tuple[Tensor, Tensor]:
        columns = seen.train.columns
        return flat(columns["other"]), columns["other_label"]
