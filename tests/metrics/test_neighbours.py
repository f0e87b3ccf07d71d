"""Precision, recall, density, coverage and memorization against definitions, closed forms and torch-fidelity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_prc import calculate_precision_recall_full

from gan_lab.metrics.neighbours import BALL, Neighbourhoods, area_under_curve, memorization
from gan_lab.neighbours import nearest


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_precision_and_recall_equal_torch_fidelitys() -> None:
    real, fake = normal(700, 8), normal(700, 8, seed=1) * 0.8 + 0.2
    precision, recall = calculate_precision_recall_full(fake.double(), real.double())
    shares = Neighbourhoods(real, fake).shares
    assert shares["precision"] == pytest.approx(precision)
    assert shares["recall"] == pytest.approx(recall)


def test_density_and_coverage_equal_their_definitions() -> None:
    real, fake = normal(150, 5).double(), normal(150, 5, seed=1).double()
    radius = torch.cdist(real, real).sort(dim=1).values[:, BALL]
    inside = torch.cdist(fake, real) <= radius
    shares = Neighbourhoods(real, fake).shares
    assert shares["density"] == pytest.approx(float(inside.double().sum() / (BALL * len(fake))))
    assert shares["coverage"] == pytest.approx(float(inside.any(0).double().mean()))


def test_of_equal_distributions_density_is_one_and_coverage_has_a_closed_form() -> None:
    """Naeem et al. 2020, section 3.3: 1 - (N - 1) ... (N - k) / ((2N - 1) ... (2N - k)) for as many of both."""
    n = 400
    missed = 1.0
    for i in range(1, BALL + 1):
        missed *= (n - i) / (2 * n - i)
    shares = [Neighbourhoods(normal(n, 4, seed=i), normal(n, 4, seed=100 + i)).shares for i in range(20)]
    assert sum(s["coverage"] for s in shares) / 20 == pytest.approx(1 - missed, abs=0.01)
    assert sum(s["density"] for s in shares) / 20 == pytest.approx(1, abs=0.04)


def test_a_tight_cluster_is_precise_and_recalls_nothing() -> None:
    real = normal(500, 6)
    shares = Neighbourhoods(real, normal(500, 6, seed=1) * 1e-3).shares
    assert shares["precision"] == 1
    assert shares["recall"] == 0
    assert shares["coverage"] < 0.1


def test_copies_of_the_data_are_in_every_neighbourhood_in_spite_of_rounding() -> None:
    real = normal(300, 64) * 50 + 1_000
    shares = Neighbourhoods(real, real.clone()).shares
    assert (shares["precision"], shares["recall"], shares["coverage"]) == (1, 1, 1)


def test_the_area_under_the_curve_is_a_probability_and_ties_count_half() -> None:
    first, second = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 2.0, 5.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in first.tolist() for b in second.tolist()]
    assert area_under_curve(first, second) == pytest.approx(sum(pairs) / len(pairs))


def test_fresh_samples_are_near_half_copies_are_zero_and_a_fifth_of_copies_is_found() -> None:
    train, held_out, fresh = normal(2_000, 8), normal(1_000, 8, seed=1), normal(1_000, 8, seed=2)
    known = nearest(held_out, train).values
    assert memorization(nearest(fresh, train).values, known)["value"] == pytest.approx(0.5, abs=0.04)
    copied = memorization(nearest(train[:1_000], train).values, known)
    assert (copied["value"], copied["copies"]) == (0, 1)
    some = memorization(nearest(torch.cat([train[:200], fresh[200:]]), train).values, known)
    assert some["copies"] == pytest.approx(0.2, abs=0.03)
    assert some["value"] == pytest.approx(0.4, abs=0.04)
