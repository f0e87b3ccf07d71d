"""Nearest neighbours by Euclidean distance: of features, in double precision, and of pixels, to classify pictures."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 2_048  # known features that are compared at a time, where only the nearest counts: they stay in the cache
ROWS = 200  # features whose distances to all others are in memory at a time
AT_ONCE = 512  # pictures compared at a time: their distances stay in the processor's cache


def _without_own(features: Tensor, known: Tensor, squares: Tensor) -> Tensor:
    """|x - y|^2 - |x|^2 = |y|^2 - 2 xy of features x [n, D] and known y, transposed [D, M], of given |y|^2 [M]: [n, M].

    |x|^2 is the same for every y, so it moves no minimum.
    """
    return torch.addmm(squares, features, known, alpha=-2)


class Distances:
    """Squared Euclidean distances to some features [M, D], in double precision about their mean."""

    def __init__(self, known: Tensor, device: torch.device | str = "cpu") -> None:
        given = known.to(device).double()
        self.mean = given.mean(0)
        self.known = given - self.mean
        self.squares = self.known.square().sum(1)

    def __call__(self, features: Tensor) -> Tensor:
        """From features [n, D]: [n, M]."""
        own = self.centred(features).square().sum(1, keepdim=True)
        return self.without_own(features, slice(None)).add_(own).clamp_(min=0)

    def centred(self, features: Tensor) -> Tensor:
        return features.to(self.known.device).double() - self.mean

    def without_own(self, features: Tensor, part: slice) -> Tensor:
        """From features [n, D] to some of the known ones, less each feature's own square, which moves no minimum."""
        return _without_own(self.centred(features), self.known[part].T, self.squares[part])


def nearest(features: Tensor, known: Tensor, device: torch.device | str = "cpu") -> torch.return_types.min:
    """Of each feature [N, D] the distance to the nearest known one [M, D], and that one's index: both [N]."""
    to_known = Distances(known, device)
    values, indices = [], []
    for rows in features.split(ROWS):
        closest, which = [], []
        for start in range(0, len(known), BLOCK):
            found = to_known.without_own(rows, slice(start, start + BLOCK)).min(dim=1)
            closest.append(found.values)
            which.append(found.indices + start)
        best = torch.stack(closest).min(dim=0)
        values.append(best.values + to_known.centred(rows).square().sum(1))
        indices.append(torch.stack(which).gather(0, best.indices[None])[0])
    return torch.return_types.min((torch.cat(values).clamp_(min=0).sqrt().cpu(), torch.cat(indices).cpu()))


def radii(features: Tensor, neighbours: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Of each feature [N, D] the squared distances to its k-th nearest others, for each k: [len(neighbours), N]."""
    distances = Distances(features, device)
    at = torch.tensor(neighbours, device=device)  # itself is the nearest
    found = [
        distances(rows).topk(max(neighbours) + 1, dim=1, largest=False).values[:, at] for rows in features.split(ROWS)
    ]
    return torch.cat(found).T.contiguous()


class NearestNeighbour:
    """The class of the nearest of some known pictures, by the Euclidean distance of pixels: needs no training.

    Pictures are float [M, 1, H, W] in [-1, 1], labels int64 [M].
    """

    def __init__(self, pictures: Tensor, labels: Tensor) -> None:
        known = pictures.flatten(1).float()
        self.differs = known.amin(0) < known.amax(0)  # a pixel that all share adds the same to every distance
        known = known[:, self.differs]
        self.known, self.labels, self.squares = known.T.contiguous(), labels, known.square().sum(1)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        found = []
        known, squares, differs = (part.to(pictures.device) for part in (self.known, self.squares, self.differs))
        for chosen in pictures.flatten(1).float().split(AT_ONCE):
            found.append(_without_own(chosen[:, differs], known, squares).argmin(1))
        nearest = torch.cat(found) if found else torch.empty(0, dtype=torch.int64)
        return self.labels[nearest.to(self.labels.device)].to(pictures.device)
