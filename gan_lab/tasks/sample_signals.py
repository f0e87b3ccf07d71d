"""Signs of ill health of samples, and of what the discriminator makes of them: collapse, overfitting, statistics."""

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
FEWEST = 8  # examples whose neighbours say something
SEED = 0  # of the noise: the same at each look, so that a change is the generator's
SMALL = 8  # pixels that pictures are averaged to before their distances are taken


def nearest_distance(samples: Tensor) -> float:
    """The mean Euclidean distance to the nearest other sample, [N, ...]; pictures are averaged to 8 x 8 pixels first.

    A generator that has collapsed to a few modes still has a usual median distance between samples. Their nearest
    neighbours give it away.
    """
    if samples.dim() == 4:
        samples = adaptive_avg_pool2d(samples, SMALL)
    flat = samples.flatten(1).double()
    distances = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    return float(distances.min(1).values.mean())


def overfitting(known: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """How far D's mean output on held-out data has gone from that on training data to that on fakes: 0 not at all, 1
    all the way. NaN where D does not tell training data from fakes.

    Logits [N]; Karras et al. (2020, arXiv 2006.06676, eq. 1, r_v).
    """
    a, b, c = (float(logits.double().mean()) for logits in (known, held_out, fake))
    return (a - b) / (a - c) if a > c else math.nan


def statistics_gap(running: Tensor, batch: Tensor) -> float:
    """The mean absolute difference of samples [N, ...] by batch norm's running statistics and by the batch's own."""
    return float((running - batch).abs().mean())


class SampleSignals:
    """The signals of a task that makes samples of noise (`sample`, `latents`) and judges them (`logits`).

    Without held-out data, D's overfitting is not judged. It moves no statistics, and draws nothing that training would.
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
            _, asked = task.latents(count, SEED)
            device = self._real.device
            with inference(playing, "running") as nets:
                fake = task.logits(nets, samples.to(device), None if asked is None else asked.to(device))
                known = task.logits(nets, self._real, self._label)
                held_out = task.logits(nets, *self._held_out)
            values["overfitting"] = overfitting(known, held_out, fake)
        return values


def _spread(data: Data, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Examples evenly from the whole of some data, and so of each class even where these lie in order."""
    rows = torch.linspace(0, len(data) - 1, min(LOOKED_AT, len(data))).long()
    return data.fetch("sample", rows, device), data.fetch("label", rows, device) if "label" in data else None
