"""Nearest neighbours by Euclidean distance: of features, in double precision, and of pixels, to classify pictures."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 2_048  # known features compared at a time in a search for the nearest one: they fit into the processor's cache
ROWS = 200  # features whose distances to all others are in memory at a time
AT_ONCE = 512  # pictures compared at a time: their distances fit into the processor's cache


def _without_own(features: Tensor, known: Tensor, squares: Tensor) -> Tensor:
    """|x - y|^2 - |x|^2 = |y|^2 - 2 xy, [n, M], from features x [n, D], known y transposed [D, M], and |y|^2 [M].

    |x|^2 is the same for every y, so the nearest y does not depend on it.
    """
    return torch.addmm(squares, features, known, alpha=-2)


class Distances:
    """Squared Euclidean distances to known features [M, D], in double precision, after subtraction of their mean."""

    def __init__(self, known: Tensor, device: torch.device | str = "cpu") -> None:
        given = known.to(device).double()
        self.mean = given.mean(0)
        self.known = given - self.mean
        self.squares = self.known.square().sum(1)

    def __call__(self, features: Tensor) -> Tensor:
        """The squared distances [n, M] of features [n, D]."""
        own = self.centred(features).square().sum(1, keepdim=True)
        return self.without_own(features, slice(None)).add_(own).clamp_(min=0)

    def centred(self, features: Tensor) -> Tensor:
        return features.to(self.known.device).double() - self.mean

    def without_own(self, features: Tensor, part: slice) -> Tensor:
        """The squared distances of features [n, D] to a part of the known ones, without the constant |x|^2."""
        return _without_own(self.centred(features), self.known[part].T, self.squares[part])


def nearest(features: Tensor, known: Tensor, device: torch.device | str = "cpu") -> torch.return_types.min:
    """For each feature [N, D], the distance [N] to the nearest known feature [M, D], and its index [N].

    Of the known ones, which may be mapped from the disk, a block at a time is in memory.
    """
    features = features.to(device).double()
    mean = sum(block.to(device).double().sum(0) for block in known.split(BLOCK)) / len(known)
    centred = features - mean
    values = torch.full((len(features),), torch.inf, dtype=torch.float64, device=device)
    indices = torch.zeros(len(features), dtype=torch.int64, device=device)
    for start, block in zip(range(0, len(known), BLOCK), known.split(BLOCK), strict=True):
        columns = block.to(device).double() - mean
        columns, squares = columns.T, columns.square().sum(1)
        for first in range(0, len(features), ROWS):
            rows = slice(first, first + ROWS)
            closest = _without_own(centred[rows], columns, squares).min(dim=1)
            nearer = closest.values < values[rows]
            values[rows] = torch.where(nearer, closest.values, values[rows])
            indices[rows] = torch.where(nearer, closest.indices + start, indices[rows])
    distances = (values + centred.square().sum(1)).clamp_(min=0).sqrt()
    return torch.return_types.min((distances.cpu(), indices.cpu()))


def radii(features: Tensor, neighbours: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """The squared distance of each feature [N, D] to its k-th nearest other one, for each k: [len(neighbours), N]."""
    distances = Distances(features, device)
    at = torch.tensor(neighbours, device=device)  # place 0 is the feature itself
    squares = [
        distances(rows).topk(max(neighbours) + 1, dim=1, largest=False).values[:, at] for rows in features.split(ROWS)
    ]
    return torch.cat(squares).T.contiguous()


class NearestNeighbour:
    """A classifier: the class of the nearest known picture, by the Euclidean distance of pixels. It needs no training.

    Pictures are float [M, 1, H, W] in [-1, 1], labels int64 [M].
    """

    def __init__(self, pictures: Tensor, labels: Tensor) -> None:
        known = pictures.flatten(1).float()
        self.differs = known.amin(0) < known.amax(0)  # a constant pixel adds the same to every distance
        known = known[:, self.differs]
        self.known, self.labels, self.squares = known.T.contiguous(), labels, known.square().sum(1)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        indices = []
        known, squares, differs = (part.to(pictures.device) for part in (self.known, self.squares, self.differs))
        for chosen in pictures.flatten(1).float().split(AT_ONCE):
            indices.append(_without_own(chosen[:, differs], known, squares).argmin(1))
        nearest = torch.cat(indices) if indices else torch.empty(0, dtype=torch.int64)
        return self.labels[nearest.to(self.labels.device)].to(pictures.device)
