"""A picture of the samples that may be copies, each beside the nearest training pictures."""

from __future__ import annotations

import numpy as np
import torch

from gan_lab.display import pictures
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.neighbours import Distances

NEIGHBOURS = 7
AT_ONCE = 50_000  # training pictures whose features are in memory
SUSPECTS = 8  # samples shown beside the training pictures that they may have copied


def suspects(seen: MetricInputs) -> np.ndarray:
    """A picture [H, W, C]: on the left the samples nearest to training pictures, on the right these, nearest first.

    Distances are of features, unlike in `gan-lab sample --grid neighbours`, and all scored samples are compared.
    """
    train = seen.reference.train
    chosen = seen.nearest.values.argsort()[:SUSPECTS]
    known = train.features.split(AT_ONCE)  # they may be mapped from the disk
    distances = torch.cat([Distances(part, seen.reference.device)(seen.features[chosen]) for part in known], dim=1)
    nearest = distances.topk(min(NEIGHBOURS, len(train)), largest=False).indices.cpu()
    left = pictures.grid(seen.raw[chosen].numpy(), columns=1)
    right = pictures.grid(train.pictures[nearest.flatten()].numpy(), columns=nearest.shape[1])
    return np.concatenate([left, right], axis=1)
