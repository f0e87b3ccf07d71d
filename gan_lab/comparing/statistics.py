"""The interquartile mean of a setting's scores over its seeds, and its bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95


def interquartile_weights(count: int) -> np.ndarray:
    """Weights [count] of sorted values that make their mean the interquartile mean; they sum to 1.

    Each value stands for 1 / count of the distribution. The middle half counts, and a value that a quartile cuts counts
    in part: with 3 values the weights are 1/6, 2/3, 1/6.
    """
    edges = np.linspace(0, 1, count + 1).clip(0.25, 0.75)
    return 2 * np.diff(edges)


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean of the middle half: little moved by one odd run, and less noisy than the median.

    Recommended for few runs by Agarwal et al. (2021, arXiv 2108.13264, section 4.3).
    """
    return float(np.sort(np.asarray(values, dtype=float)) @ interquartile_weights(len(values)))


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of the interquartile mean, over runs (Efron 1979).

    The same values give the same interval. It never leaves the values' range, so with few runs it is too narrow: with
    three, it is about that range.
    """
    sample = np.asarray(values, dtype=float)
    random = np.random.default_rng(seed)
    drawn = np.sort(sample[random.integers(len(sample), size=(RESAMPLES, len(sample)))], axis=1)
    means = drawn @ interquartile_weights(len(sample))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
