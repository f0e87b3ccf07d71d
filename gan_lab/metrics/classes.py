"""Measures by a classifier of the data: the inception score and the histogram of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

SPLITS = 10


def inception_score(class_logits: Tensor, splits: int = SPLITS) -> tuple[float, float]:
    """exp E_x KL(p(y|x) || p(y)) of logits [N, k] (Salimans et al. 2016, arXiv 1606.03498, section 4): its mean and
    standard deviation over `splits` parts.

    The order and the parts are torch-fidelity's. The order is random, because samples may come sorted by class.
    """
    order = torch.from_numpy(np.random.RandomState(2020).permutation(len(class_logits)))
    log_p = class_logits[order].double().log_softmax(1)
    bounds = [i * len(log_p) // splits for i in range(1, splits)]
    scores = []
    for part in log_p.tensor_split(bounds):
        p = part.exp()
        marginal = p.mean(0, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny).log()
        scores.append((p * (part.clamp(min=-700) - marginal)).sum(1).mean().exp())
    values = torch.stack(scores)
    return float(values.mean()), float(values.std(correction=0))


def class_histogram(predicted: Tensor, label: Tensor, num_classes: int) -> Mapping[str, Any]:
    """Total variation between the histograms of predicted classes [N] and of the data's labels [M], and both."""
    shares = torch.bincount(predicted, minlength=num_classes).double() / len(predicted)
    wanted = torch.bincount(label, minlength=num_classes).double() / len(label)
    return {
        "value": float((shares - wanted).abs().sum() / 2),
        "shares": [round(share, 4) for share in shares.tolist()],
        "shares_of_data": [round(share, 4) for share in wanted.tolist()],
    }
