"""A picture of the samples that may be copies, each beside the training pictures that are nearest to it."""

from __future__ import annotations

import numpy as np

from gan_lab.display import pictures
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.neighbours import Distances

NEIGHBOURS = 7
SUSPECTS = 8  # samples shown beside the training pictures that they may have copied


def suspects(seen: MetricInputs) -> np.ndarray:
    """The samples that lie nearest to training pictures, on the left, and right of each those pictures, nearest first.

    By features, unlike `gan-lab sample --grid neighbours`, and of all samples that were scored: a picture [H, W, C].
    """
    train = seen.reference.train
    chosen = seen.nearest.values.argsort()[:SUSPECTS]
    distances = Distances(train.features, seen.reference.device)(seen.features[chosen])
    found = distances.topk(min(NEIGHBOURS, len(train)), largest=False).indices.cpu()
    left = pictures.grid(seen.raw[chosen].numpy(), columns=1)
    right = pictures.grid(train.pictures[found.flatten()].numpy(), columns=found.shape[1])
    return np.concatenate([left, right], axis=1)
