"""Modes of stacked pictures and their divergence, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_lab.datasets.stacked_modes import classified_modes, mode_of, modes_kl, modes_reached

UNIFORM = torch.full((10,), 0.1, dtype=torch.float64)


def brightness(pictures: Tensor) -> Tensor:
    """A classifier that is told by its pictures' grey: -1, -0.8, ... for classes 0, 1, ..."""
    assert pictures.shape[1] == 1
    return (pictures.mean((1, 2, 3)) * 5 + 5).round().long()


def painted(classes: list[tuple[int, ...]]) -> Tensor:
    return (torch.tensor(classes, dtype=torch.float32) / 5 - 1)[..., None, None].expand(-1, -1, 4, 6).clone()


# -- modes -------------------------------------------------------------------------------------------------------------


def test_a_mode_is_the_number_whose_digits_are_the_classes() -> None:
    assert mode_of(torch.tensor([[3, 1, 4], [0, 0, 7], [9, 9, 9]]), 10).tolist() == [314, 7, 999]
    assert mode_of(torch.cartesian_prod(*[torch.arange(4)] * 3), 4).tolist() == list(range(64))


def test_each_channel_is_classified_by_itself_in_its_order() -> None:
    samples = painted([(3, 1, 4), (0, 0, 7), (3, 1, 4)])
    assert classified_modes(samples, brightness, 10).tolist() == [314, 7, 314]


def test_modes_are_counted_once() -> None:
    assert modes_reached(torch.tensor([5, 5, 5])) == 1
    assert modes_reached(torch.tensor([0, 999, 5, 0])) == 3
    assert modes_reached(torch.tensor([], dtype=torch.int64)) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_count_for_nothing(value: float) -> None:
    samples = painted([(3, 1, 4), (0, 0, 7)])
    samples[1, 2, 0, 0] = value
    assert classified_modes(samples, brightness, 10).tolist() == [314]
    samples[0, 0, 0, 0] = value
    modes = classified_modes(samples, lambda pictures: torch.empty(len(pictures), dtype=torch.int64), 10)
    assert modes_reached(modes) == 0
    assert math.isnan(modes_kl(modes, UNIFORM))


# -- divergence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reached", [1, 10, 500, 1000])
def test_equal_shares_of_some_modes_diverge_by_the_logarithm_of_what_is_missed(reached: int) -> None:
    modes = torch.arange(reached).repeat(3)
    assert modes_kl(modes, UNIFORM) == pytest.approx(math.log(1000 / reached), abs=1e-12)


def test_the_direction_is_from_samples_to_data() -> None:
    # two classes, one channel: samples 3/4 and 1/4, data 1/2 and 1/2; the other direction would be 0.144
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert modes_kl(torch.tensor([0, 0, 0, 1]), torch.tensor([0.5, 0.5]), channels=1) == pytest.approx(expected)


def test_the_datas_modes_have_the_products_of_the_shares_of_their_classes() -> None:
    share = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    counts = {mode_of(torch.tensor([[a, b, c]]), 3).item(): (share[a] * share[b] * share[c] * 1000).round().int().item()
              for a in range(3) for b in range(3) for c in range(3)}  # fmt: skip
    modes = torch.cat([torch.full((int(count),), mode) for mode, count in counts.items()])
    assert len(modes) == 1000
    assert modes_kl(modes, share) == pytest.approx(0, abs=1e-12)
    one = torch.tensor([mode_of(torch.tensor([[0, 1, 2]]), 3)])
    assert modes_kl(one, share) == pytest.approx(-math.log(0.5 * 0.3 * 0.2))


def test_a_perfect_generators_divergence_is_that_of_its_finite_number_of_samples() -> None:
    count = 26_000
    random = torch.Generator().manual_seed(0)
    found = [modes_kl(torch.randint(1000, (count,), generator=random), UNIFORM) for _ in range(5)]
    # 2N times it is nearly chi-squared with 999 degrees of freedom
    assert abs(sum(found) / 5 - 999 / (2 * count)) < 4 * math.sqrt(2 * 999 / 5) / (2 * count) + 2e-4


def test_a_class_that_the_data_do_not_have_is_infinitely_far() -> None:
    assert modes_kl(torch.tensor([0, 1]), torch.tensor([1.0, 0.0]), channels=1) == math.inf
