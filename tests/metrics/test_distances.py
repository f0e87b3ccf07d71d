"""Frechet and kernel distances against closed forms, other implementations and their own statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kernel_mmd

from gan_lab.metrics.distances import (
    Statistics,
    frechet_distance,
    frechet_distance_at_infinity,
    kernel_distance,
    squared_mmd,
    statistics,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mixed(count: int, dimensions: int, seed: int) -> Tensor:
    """Correlated features with an offset, as extractors give them."""
    weights = normal(dimensions, dimensions, seed=9) / dimensions**0.5
    return normal(count, dimensions, seed=seed) @ weights + 3


def test_diagonal_gaussians_have_the_closed_form() -> None:
    m1, m2 = normal(12, seed=1).double(), normal(12, seed=2).double()
    v1, v2 = normal(12, seed=3).double().square(), normal(12, seed=4).double().square()
    expected = (m1 - m2).square().sum() + (v1.sqrt() - v2.sqrt()).square().sum()
    found = frechet_distance(Statistics(m1, v1.diag()), Statistics(m2, v2.diag()))
    assert found == pytest.approx(float(expected), rel=1e-10)


def test_a_distance_to_itself_is_zero_with_full_rank() -> None:
    own = statistics(mixed(2_000, 16, 0))
    assert abs(frechet_distance(own, own)) < 1e-9


def test_it_is_symmetric_and_knows_fewer_samples_than_dimensions() -> None:
    a, b = statistics(mixed(10, 32, 0)), statistics(mixed(500, 32, 1))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert np.isfinite(frechet_distance(a, a))


@pytest.mark.parametrize("dimensions", [8, 64])
def test_it_equals_torch_fidelity_and_an_independent_double_precision_eigenvalue_form(dimensions: int) -> None:
    x, y = mixed(3_000, dimensions, 0), mixed(3_000, dimensions, 1) * 1.1
    ours = frechet_distance(statistics(x), statistics(y))
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(x.double()), fid_features_to_statistics(y.double()), verbose=False
    )["frechet_inception_distance"]
    assert ours == pytest.approx(theirs, rel=1e-5)
    a, b = x.double().numpy(), y.double().numpy()
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(s)
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ t @ root).clip(0)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + s.trace() + t.trace() - 2 * shared
    assert ours == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_streamed_statistics_equal_numpys(batch: int) -> None:
    features = mixed(1_000, 10, 0) + 1_000  # an offset at which single precision would drift
    found = statistics(features.split(batch))
    values = features.double().numpy()
    np.testing.assert_allclose(found.mean.numpy(), values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(values, rowvar=False), rtol=1e-9, atol=1e-12)


def test_streamed_statistics_equal_numpys_to_twelve_digits_without_an_offset() -> None:
    features = normal(1_000, 10)
    np.testing.assert_allclose(
        statistics(features.split(64)).covariance.numpy(), np.cov(features.double().numpy(), rowvar=False), atol=1e-12
    )


def test_one_block_of_the_kernel_distance_equals_torch_fidelitys() -> None:
    x, y = mixed(300, 16, 0).double(), mixed(300, 16, 1).double() + 0.1
    kernel = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}
    theirs = kernel_mmd(x.numpy(), y.numpy(), **kernel, kid_kernel_poly_coef0=1)
    assert squared_mmd(x, y) == pytest.approx(float(theirs), rel=1e-9)


def test_the_kernel_distance_of_equal_distributions_is_zero_on_average() -> None:
    draws = torch.tensor([squared_mmd(normal(60, 8, seed=i), normal(60, 8, seed=1_000 + i)) for i in range(200)])
    assert abs(draws.mean()) < 3 * draws.std() / 200**0.5


def test_its_standard_error_is_that_of_repeated_draws() -> None:
    """Over disjoint blocks: repeated draws of the whole scatter by as much as one draw says."""
    repeated = [
        kernel_distance(normal(1_000, 8, seed=i), normal(1_000, 8, seed=500 + i) + 0.2, block=50) for i in range(60)
    ]
    values, errors = (torch.tensor(part) for part in zip(*repeated, strict=True))
    assert errors.mean() == pytest.approx(float(values.std()), rel=0.3)


def test_too_few_samples_are_biased_and_the_extrapolation_is_not() -> None:
    """Identical Gaussians of 64 dimensions: the notes of the field say 22 at 100 samples and 1.1 at 2,000."""
    truth = Statistics(torch.zeros(64).double(), torch.eye(64).double())
    few = frechet_distance(statistics(normal(100, 64)), truth)
    more = normal(2_000, 64, seed=1)
    plain = frechet_distance(statistics(more), truth)
    assert few > 10 > plain > 0.5
    assert abs(frechet_distance_at_infinity(more, truth)) < plain / 4
