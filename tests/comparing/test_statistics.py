"""The interquartile mean and its interval: closed forms, SciPy's, and how often equal settings are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gan_lab.comparing.statistics import bootstrap_interval, interquartile_mean, interquartile_weights


def test_weights_of_few_values() -> None:
    assert interquartile_weights(1) == pytest.approx([1])
    assert interquartile_weights(2) == pytest.approx([0.5, 0.5])
    assert interquartile_weights(3) == pytest.approx([1 / 6, 2 / 3, 1 / 6])
    assert interquartile_weights(4) == pytest.approx([0, 0.5, 0.5, 0])
    for count in range(1, 40):
        assert interquartile_weights(count).sum() == pytest.approx(1)


@pytest.mark.parametrize("count", [4, 8, 20])
def test_it_is_the_trimmed_mean_where_quartiles_cut_no_value(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(values.tolist()) == pytest.approx(stats.trim_mean(values, 0.25))


def test_an_odd_run_among_four_moves_nothing() -> None:
    assert interquartile_mean([1, 2, 3, 4]) == interquartile_mean([1, 2, 3, 1e9]) == 2.5


@pytest.mark.parametrize("count", [5, 10])
def test_the_interval_is_that_of_scipys_bootstrap(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    weights = interquartile_weights(count)
    theirs = stats.bootstrap(
        (values,), lambda x, axis: np.sort(x, axis=axis) @ weights, method="percentile", n_resamples=20_000,
        rng=np.random.default_rng(1), vectorized=True,
    ).confidence_interval  # fmt: skip
    ours = bootstrap_interval(values.tolist())
    spread = values.std()
    assert ours[0] == pytest.approx(theirs.low, abs=0.05 * spread)
    assert ours[1] == pytest.approx(theirs.high, abs=0.05 * spread)
    assert bootstrap_interval(values.tolist()) == ours, "the same values, the same interval"


def test_three_runs_give_about_their_range() -> None:
    assert bootstrap_interval([1.0, 2.0, 4.0]) == (1.0, 4.0)


@pytest.mark.parametrize(("seeds", "low", "high"), [(3, 0.06, 0.14), (5, 0.0, 0.05)])
def test_how_often_equal_settings_are_told_apart(seeds: int, low: float, high: float) -> None:
    """Three seeds each: one time in ten, as 2 of the 20 ways to deal six values. Five: seldom."""
    random = np.random.default_rng(0)
    trials = 200
    apart = 0
    for _ in range(trials):
        a, b = (bootstrap_interval(random.normal(size=seeds).tolist()) for _ in range(2))
        apart += a[1] < b[0] or b[1] < a[0]
    assert low <= apart / trials <= high
