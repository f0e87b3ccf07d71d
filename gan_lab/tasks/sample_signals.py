"""Health signals of samples and of the discriminator's outputs for them: collapse, overfitting, batch statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from gan_lab.core.runtime import has_batch_statistics, inference
from gan_lab.core.types import Data

LOOKED_AT = 64  # samples, and examples of each split, at a look
FEWEST = 8  # examples; with fewer, distances between neighbours mean nothing
SEED = 0  # of the noise: the same at each look, so that only the generator changes the samples
SMALL = 8  # pixels a side to which pictures are averaged before distances are computed


def nearest_distance(samples: Tensor) -> float:
    """The mean Euclidean distance to the nearest other sample, [N, ...]; pictures are averaged to 8 x 8 pixels first.

    After a collapse to a few modes, the median distance between samples may still be normal. The distance to the
    nearest neighbour shows the collapse.
    """
    if samples.dim() == 4:
        samples = adaptive_avg_pool2d(samples, SMALL)
    flat = samples.flatten(1).double()
    distances = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    return float(distances.min(1).values.mean())


def overfitting(known: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """D's mean output on held-out data, as a position between that on training data (0) and that on fakes (1).

    NaN where D does not separate training data from fakes, by three standard errors: near an equilibrium the position
    is a quotient of noise. Logits [N]; Karras et al. (2020, arXiv 2006.06676, eq. 1, r_v).
    """
    a, b, c = (float(logits.double().mean()) for logits in (known, held_out, fake))
    error = math.sqrt(sum(float(logits.double().var()) / len(logits) for logits in (known, fake)))
    return (a - b) / (a - c) if a - c > 3 * error else math.nan


def statistics_gap(running: Tensor, batch: Tensor) -> float:
    """The mean absolute difference between samples [N, ...] with running and with batch statistics of batch norm."""
    return float((running - batch).abs().mean())


class SampleSignals:
    """The signals of a task that makes samples from noise (`sample`, `latents`) and judges them (`logits`).

    Without held-out data, there is no signal for D's overfitting. Computing the signals changes no statistics and uses
    no random numbers of training.
    """

    def __init__(self, task: Any, train: Data, held_out: Data | None, device: torch.device) -> None:
        self.task = task
        self._real, self._label = _spread(train, device)
        self._held_out = None if held_out is None else _spread(held_out, device)
        self._real_distance = nearest_distance(self._real) if len(self._real) >= FEWEST else math.nan

    @torch.no_grad()
    def __call__(self, playing: nn.ModuleDict, averaged: nn.ModuleDict) -> Mapping[str, float]:
        task, count = self.task, len(self._real)
        values: dict[str, float] = {}
        with inference(averaged, "running") as nets:
            samples = task.sample(nets, count, SEED)
        values["collapse"] = nearest_distance(samples) / max(self._real_distance, 1e-12)
        if any(has_batch_statistics(averaged[name]) for name in task.averaged):
            with inference(averaged, "batch") as nets:
                values["statistics_gap"] = statistics_gap(samples, task.sample(nets, count, SEED))
        if self._held_out is not None:
            _, label = task.latents(count, SEED)
            device = self._real.device
            with inference(playing, "running") as nets:
                fake = task.logits(nets, samples.to(device), None if label is None else label.to(device))
                known = task.logits(nets, self._real, self._label)
                held_out = task.logits(nets, *self._held_out)
            values["overfitting"] = overfitting(known, held_out, fake)
        return values


def _spread(data: Data, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Samples and labels of rows that are evenly spaced over the data, so that sorted data give all classes."""
    rows = torch.linspace(0, len(data) - 1, min(LOOKED_AT, len(data))).long()
    return data.fetch("sample", rows, device), data.fetch("label", rows, device) if "label" in data else None
