"""Closed-form measures for mixtures of Gaussians (Srivastava et al. 2017, arXiv 1705.07761, section 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS = 3.0  # standard deviations within which a sample belongs to a mode


def _nearest(samples: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    distance, mode = torch.cdist(samples.double(), centers.double()).min(dim=1)
    return distance, mode


def modes(samples: Tensor, centers: Tensor, std: float) -> float:
    """How many modes own at least one of the samples [N, 2] within three standard deviations."""
    distance, mode = _nearest(samples, centers)
    return float(torch.unique(mode[distance < RADIUS * std]).numel())


def high_quality(samples: Tensor, centers: Tensor, std: float) -> float:
    """The share of samples [N, 2] within three standard deviations of a mode: 1 - exp(-9/2) = 0.989 for the truth."""
    distance, _ = _nearest(samples, centers)
    return float((distance < RADIUS * std).double().mean())
