"""Distances between distributions of features, in double precision: single precision is inexact for large means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1_000  # features in a block of the kernel distance
SIZES = 10  # sample sizes for the extrapolation
CHUNK = 10_000  # features converted to double precision at a time


class Statistics(NamedTuple):
    """First two moments of N features: mean [D] and covariance [D, D] (of divisor N - 1), float64."""

    mean: Tensor
    covariance: Tensor


class Moments:
    """Accumulates statistics without keeping the features (Chan et al. 1979, the pairwise update)."""

    def __init__(self) -> None:
        self.count, self.mean, self.scatter = 0, torch.zeros(0), torch.zeros(0)

    def add(self, features: Tensor) -> None:
        """Add features [n, D]."""
        batch = features.double()
        count, mean = len(batch), batch.mean(0)
        centred = batch - mean
        scatter = centred.T @ centred
        if self.count:
            gap, total = mean - self.mean, self.count + count
            scatter += self.scatter + torch.outer(gap, gap) * (self.count * count / total)
            mean = self.mean + gap * (count / total)
        self.count, self.mean, self.scatter = self.count + count, mean, scatter

    def finish(self) -> Statistics:
        return Statistics(self.mean, self.scatter / (self.count - 1))


def statistics(features: Tensor | Iterable[Tensor]) -> Statistics:
    """The statistics of features [N, D], or of batches of features."""
    moments = Moments()
    for batch in features.split(CHUNK) if isinstance(features, Tensor) else features:
        moments.add(batch)
    return moments.finish()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2)  (Dowson and Landau 1982; FID: Heusel et al. 2017,
    arXiv 1706.08500, eq. 6), by eigenvalues of symmetric matrices, which are real.
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    gap = (a.mean - b.mean).square().sum()
    return float(gap + a.covariance.trace() + b.covariance.trace() - 2 * shared)


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x . y / D + 1)^3  (Binkowski et al. 2018, arXiv 1801.01401, section 3)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy of x [n, D] and y [m, D] (Gretton et al. 2012,
    eq. 3). It may be a little below 0.
    """
    n, m = len(x), len(y)
    xx, yy = polynomial_kernel(x, x), polynomial_kernel(y, y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2 * polynomial_kernel(x, y).mean())


def kernel_distance(x: Tensor, y: Tensor, block: int = BLOCK) -> tuple[float, float]:
    """The mean squared MMD over disjoint blocks of x [N, D] and y [M, D], and its standard error.

    Disjoint blocks are independent, so the mean has a valid standard error. The usual overlapping subsets do not.
    """
    count = min(len(x), len(y)) // block
    pairs = zip(x.double().split(block), y.double().split(block), strict=False)
    values = torch.tensor([squared_mmd(*pair) for _, pair in zip(range(count), pairs, strict=False)]).double()
    return float(values.mean()), float(values.std() / count**0.5)


def frechet_distance_at_infinity(features: Tensor, reference: Statistics) -> float:
    """The limit of the Frechet distance of N samples for N to infinity, by linear extrapolation.

    It is the intercept of a line through the distances at growing N against 1/N (Chong and Forsyth 2020, arXiv
    1911.07023, section 4). The reference does not change.
    """
    total, dimensions = features.shape
    random = torch.Generator().manual_seed(0)
    sizes = torch.linspace(max(total // 5, 2 * dimensions), total, SIZES).long().tolist()
    distances = []
    for size in sizes:
        chosen = torch.randperm(total, generator=random)[:size]
        distances.append(frechet_distance(statistics(features[chosen]), reference))
    line = torch.stack([torch.ones(SIZES).double(), 1 / torch.tensor(sizes).double()], dim=1)
    solution = torch.linalg.lstsq(line, torch.tensor(distances).double()[:, None]).solution
    return float(solution[0])
