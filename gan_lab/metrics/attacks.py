"""Measures of attacks on a classifier, on held-out pictures that it classifies correctly.

Examples have `label`, `goal` (a class to be taken for, -1 for any wrong one), and logits for unchanged pictures and for
each attack. Pixels are in [0, 1] in all numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.metrics.base import OfColumns
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.restoration import mean
from gan_lab.registry import metrics

KNOWN = frozenset({"label", "goal", "clean_logits"})


def right(seen: MetricInputs, logits: str) -> Tensor:
    """Which rows get their own class, and may be attacked: with a goal, those of other classes."""
    return (seen[logits].argmax(1) == seen["label"]) & (seen["label"] != seen["goal"])


def success(seen: MetricInputs, attacked: str, among: Tensor) -> Mapping[str, Any] | None:
    """The share of these rows that are taken for the goal, or for any wrong class; None without rows."""
    taken, goal = seen[attacked].argmax(1), seen["goal"]
    reached = torch.where(goal < 0, taken != seen["label"], taken == goal)[among]
    return {**mean(reached.double()), "pictures": len(reached)} if len(reached) else None


class Success(OfColumns):
    """The share of correctly classified pictures that an attack turns."""

    headline = True
    attacked: str  # the column of logits for attacked pictures
    absent = "no picture is classified correctly"

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        return success(seen, self.attacked, right(seen, "clean_logits"))


@metrics.register("attack_success")
class AttackSuccess(Success):
    """The share of correctly classified pictures that the generator's changes turn."""

    word, better, attacked = "attack_success", "higher", "attacked_logits"
    reads = KNOWN | {"attacked_logits"}


@metrics.register("noise_success")
class NoiseSuccess(Success):
    """The same for random noise of that epsilon: the least that an attack has to beat."""

    word, attacked = "noise_success", "noise_logits"
    reads = KNOWN | {"noise_logits"}


@metrics.register("fgsm_success")
class FGSMSuccess(Success):
    """The same for one step along the classifier's gradient."""

    word, attacked = "fgsm_success", "fgsm_logits"
    reads = KNOWN | {"fgsm_logits"}


@metrics.register("pgd_success")
class PGDSuccess(Success):
    """The same for several steps along the classifier's gradient."""

    word, attacked = "pgd_success", "pgd_logits"
    reads = KNOWN | {"pgd_logits"}


@metrics.register("transfer_success")
class TransferSuccess(Success):
    """The success of the generator's changes with a classifier it never saw, where both were right before."""

    word, better, attacked = "transfer_success", "higher", "transferred_logits"
    reads = KNOWN | {"witness_logits", "transferred_logits"}

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        return success(seen, self.attacked, right(seen, "clean_logits") & right(seen, "witness_logits"))


@metrics.register("clean_accuracy")
class CleanAccuracy(OfColumns):
    """The share of unchanged pictures that are classified correctly."""

    word, headline = "clean_accuracy", True
    reads = KNOWN

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        return mean((seen["clean_logits"].argmax(1) == seen["label"]).double())


@metrics.register("change_l2")
class ChangeL2(OfColumns):
    """The mean Euclidean norm of the changes, of pictures rounded to 256 levels."""

    word, better = "change_l2", "lower"
    reads = frozenset({"sample", "source", "goal"})
    order: float = 2

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        change = (seen["sample"] - seen["source"]).flatten(1) / 2
        return mean(torch.linalg.vector_norm(change, ord=self.order, dim=1).double())


@metrics.register("change_max")
class ChangeMax(ChangeL2):
    """The mean largest change of a pixel: at most epsilon, up to rounding."""

    word, order = "change_max", float("inf")
