"""Scores of a run: which ones there are, and each with the record of how it came about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from gan_lab.registry import unknown


def choose_metrics(dataset: Any, names: Sequence[str] | None) -> Mapping[str, Callable[[Tensor], float]]:
    """The metrics that `evaluation.metrics` names, or all that the data set offers.

    Raises ValueError for a name that it does not offer.
    """
    offered: Mapping[str, Callable[[Tensor], float]] = getattr(dataset, "metrics", {})
    if names is None:
        return offered
    for name in names:
        if name not in offered:
            raise unknown("evaluation.metrics", name, offered)
    return {name: offered[name] for name in names}


@contextmanager
def inference(nets: nn.ModuleDict, batch_norm: str) -> Iterator[nn.ModuleDict]:
    """Networks in eval mode, as they were afterwards.

    `batch_norm="batch"` normalizes by each batch's own statistics, as in training, without touching the running ones.
    """
    modes = {module: module.training for module in nets.modules()}
    norms = [m for m in nets.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    nets.eval()
    try:
        if batch_norm == "batch":
            for norm in norms:
                norm.train()
                norm.track_running_stats = False
        yield nets
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for module, mode in modes.items():
            module.training = mode


def score(
    metrics: Mapping[str, Callable[[Tensor], float]], samples: Tensor, **provenance: Any
) -> dict[str, dict[str, Any]]:
    """{name: {"value": number, "samples": how many, ...}}."""
    return {name: {"value": metric(samples), "samples": len(samples), **provenance} for name, metric in metrics.items()}
