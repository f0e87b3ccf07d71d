"""Measures by nearest neighbours: precision, recall, density, coverage, and memorization."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gan_lab.neighbours import ROWS, Distances, radii

# A neighbourhood's radius is the distance to the k-th neighbour: k for precision and recall, for density and coverage.
MANIFOLD, BALL = 3, 5


class Neighbourhoods:
    """Real and fake features, both [N, D], and the shares of each that are in neighbourhoods of the other."""

    def __init__(
        self, real: Tensor, fake: Tensor, device: torch.device | str = "cpu", *, real_radii: Tensor | None = None
    ) -> None:
        self.real, self.fake, self.device, self.real_radii = real, fake, device, real_radii

    @cached_property
    def shares(self) -> dict[str, float]:
        """precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2), density and coverage (Naeem
        et al. 2020, arXiv 2002.09797, eq. 3 and 5), in one pass over the pairs.
        """
        known = self.real_radii
        manifold, ball = radii(self.real, (MANIFOLD, BALL), self.device) if known is None else known
        (reach,) = radii(self.fake, (MANIFOLD,), self.device)
        to_real = Distances(self.real, self.device)
        precise, dense = 0, 0
        covered = torch.zeros(len(self.real), dtype=torch.bool, device=self.device)
        recalled = covered.clone()
        for start in range(0, len(self.fake), ROWS):
            part = slice(start, start + ROWS)
            distances = to_real(self.fake[part])  # [rows, reals]
            inside = distances <= ball
            precise += int((distances <= manifold).any(1).sum())
            dense += int(inside.sum())
            covered |= inside.any(0)
            recalled |= (distances <= reach[part, None]).any(0)
        return {
            "precision": precise / len(self.fake),
            "recall": float(recalled.double().mean()),
            "density": dense / (BALL * len(self.fake)),
            "coverage": float(covered.double().mean()),
        }


def area_under_curve(first: Tensor, second: Tensor) -> float:
    """The probability that one of `first` is larger than one of `second`, ties counting half."""
    order = second.sort().values
    below = torch.searchsorted(order, first, side="left").double()
    upto = torch.searchsorted(order, first, side="right").double()
    return float((below + upto).mean() / 2 / len(second))


def memorization(samples: Tensor, held_out: Tensor) -> Mapping[str, Any]:
    """Memorization, from the distances of samples [N] and held-out pictures [M] to the nearest training picture.

    "value" is the area under the ROC curve: near 0.5, samples are as far from training pictures as unseen pictures are;
    0 means copies; above 0.5, they are farther away. "copies" is the share of samples that are nearer than 99 % of the
    held-out pictures; 1 % is expected for fresh samples.
    """
    near = torch.quantile(held_out, 0.01)
    return {"value": area_under_curve(samples, held_out), "copies": float((samples < near).double().mean())}
