"""The mixtures and their measures, against what is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_lab.datasets.mixture import Mixture

LAYOUTS = [("ring", 8), ("grid", 25)]
WITHIN = 1 - math.exp(-9 / 2)  # of a Gaussian in the plane within three standard deviations: Rayleigh's distribution


def points(dataset: Mixture, split: str = "train") -> Tensor:
    return dataset.load(split).columns["sample"]


@pytest.mark.parametrize(("layout", "count"), LAYOUTS)
def test_true_samples_reach_every_mode_and_the_quality_of_the_closed_form(layout: str, count: int) -> None:
    dataset = Mixture(layout=layout)
    for split in ("train", "test"):
        samples = points(dataset, split)
        error = math.sqrt(WITHIN * (1 - WITHIN) / len(samples))
        assert dataset.metrics["modes"](samples) == count == dataset.num_classes
        assert abs(dataset.metrics["high_quality"](samples) - WITHIN) < 3 * error


@pytest.mark.parametrize(("layout", "count"), LAYOUTS)
def test_a_collapsed_sample_reaches_one_mode(layout: str, count: int) -> None:
    dataset = Mixture(layout=layout)
    collapsed = dataset.centers[3] + 0.01 * torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    assert dataset.metrics["modes"](collapsed) == 1
    assert dataset.metrics["high_quality"](collapsed) == 1


@pytest.mark.parametrize(("layout", "count"), LAYOUTS)
def test_far_samples_reach_nothing(layout: str, count: int) -> None:
    dataset = Mixture(layout=layout)
    far = torch.full((100, 2), 50.0)
    assert dataset.metrics["modes"](far) == 0
    assert dataset.metrics["high_quality"](far) == 0


def test_three_standard_deviations_are_the_border() -> None:
    dataset = Mixture(layout="ring", std=0.1)
    inside, outside = torch.tensor([[2.299, 0.0]]), torch.tensor([[2.301, 0.0]])
    assert (dataset.metrics["modes"](inside), dataset.metrics["modes"](outside)) == (1, 0)
    assert dataset.metrics["high_quality"](torch.cat([inside, outside])) == 0.5


def test_samples_that_are_not_finite_count_for_nothing() -> None:
    dataset = Mixture()
    broken = torch.tensor([[math.nan, 0.0], [math.inf, 0.0], [2.0, 0.0], [2.0, 0.0]])
    assert dataset.metrics["modes"](broken) == 1
    assert dataset.metrics["high_quality"](broken) == 0.5


@pytest.mark.parametrize(("layout", "count"), LAYOUTS)
def test_the_modes_are_equally_likely_isotropic_gaussians_at_the_centers(layout: str, count: int) -> None:
    dataset = Mixture(layout=layout, std=0.05)
    store = dataset.load()
    samples, label = store.columns["sample"].double(), store.columns["label"]
    share = torch.bincount(label, minlength=count) / len(label)
    assert (share - 1 / count).abs().max() < 4 * math.sqrt((1 / count) * (1 - 1 / count) / len(label))
    noise = samples - dataset.centers[label]
    assert noise.mean(0).abs().max() < 4 * 0.05 / math.sqrt(len(label))
    covariance = noise.T @ noise / len(label) / 0.05**2
    assert (covariance - torch.eye(2)).abs().max() < 4 * math.sqrt(2 / len(label))


def test_the_ring_has_radius_two_and_the_grid_spacing_one() -> None:
    ring, grid = Mixture(layout="ring").centers, Mixture(layout="grid").centers
    assert torch.allclose(ring.norm(dim=1), torch.full((8,), 2.0, dtype=torch.float64))
    neighbours = torch.cdist(ring, ring).fill_diagonal_(9).min(1).values
    assert torch.allclose(neighbours, torch.full((8,), 4 * math.sin(math.pi / 8), dtype=torch.float64))
    assert sorted(map(tuple, grid.tolist())) == [(x, y) for x in range(-2, 3) for y in range(-2, 3)]


def test_radius_and_spacing_scale_the_layout_that_has_them() -> None:
    assert torch.allclose(Mixture(radius=1).centers, Mixture().centers / 2)
    assert torch.allclose(Mixture(layout="grid", spacing=2).centers, 2 * Mixture(layout="grid").centers)
    with pytest.raises(ValueError, match=r"dataset\.spacing=2: a ring has a radius; set dataset\.radius"):
        Mixture(spacing=2)
    with pytest.raises(ValueError, match=r"dataset\.radius=2: a grid has a spacing; set dataset\.spacing"):
        Mixture(layout="grid", radius=2)


@pytest.mark.parametrize(("layout", "count"), LAYOUTS)
def test_kl_is_that_of_the_shares_of_the_nearest_modes(layout: str, count: int) -> None:
    dataset = Mixture(layout=layout)
    assert dataset.metrics["kl"](dataset.centers) == pytest.approx(0, abs=1e-12)
    assert dataset.metrics["kl"](dataset.centers[2:3]) == pytest.approx(math.log(count))
    uneven = dataset.centers[[0, 0, 0, 1]] + 0.2  # far from a mode counts, too: PacGAN takes the nearest
    expected = 0.75 * math.log(0.75 * count) + 0.25 * math.log(0.25 * count)
    assert dataset.metrics["kl"](uneven) == pytest.approx(expected)
    assert dataset.metrics["kl"](torch.cat([uneven, torch.tensor([[math.nan, 0], [math.inf, 0]])])) == pytest.approx(
        expected
    )
    truth = dataset.metrics["kl"](points(dataset)[:2_500])
    assert 0 < truth < 3 * (count - 1) / 5_000
    assert math.isnan(dataset.metrics["kl"](torch.full((3, 2), math.nan)))


def test_the_points_are_the_same_at_every_load_and_others_in_the_test_split() -> None:
    first, again, test = points(Mixture()), points(Mixture()), points(Mixture(), "test")
    assert torch.equal(first, again)
    assert first.shape == test.shape == (100_000, 2)
    assert first.dtype == torch.float32
    assert not torch.isclose(first, test).all(1).any()


def test_the_global_random_state_neither_decides_nor_moves() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = points(Mixture(samples=100))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(points(Mixture(samples=100)), first)
