"""Denoising against the closed form of its noise."""

from __future__ import annotations

import math

import pytest
import torch

from gan_lab.degradations.denoising import Denoising
from gan_lab.metrics.restoration import psnr
from tests.degradations.draws import RowDraw, pictures


@pytest.mark.parametrize(("sigma", "decibels"), [(25.0, 20.17), (15.0, 24.61), (50.0, 14.15)])
def test_the_input_has_the_closed_forms_psnr(sigma: float, decibels: float) -> None:
    assert 20 * math.log10(255 / sigma) == pytest.approx(decibels, abs=0.005)
    target, degradation = pictures(8, 3, 64, 64), Denoising(sigma=sigma)
    found = psnr(degradation.solve(degradation(target, RowDraw(range(8)))), target)
    # The standard error of a mean squared error of n normal numbers is its sqrt(2 / n).
    error = 10 / math.log(10) * math.sqrt(2 / target.numel())
    assert float(found.mean()) == pytest.approx(20 * math.log10(255 / sigma), abs=4 * error)


def test_noise_is_not_clipped() -> None:
    source = Denoising()(torch.ones(2, 1, 32, 32), RowDraw([0, 1]))
    assert float((source > 1).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_rows_have_noise_of_their_own() -> None:
    source = Denoising()(torch.zeros(2, 1, 64, 64), RowDraw([0, 1]))
    assert abs(float(torch.corrcoef(source.flatten(1))[0, 1])) < 0.06


def test_no_noise_changes_nothing() -> None:
    target = pictures(1, 3, 8, 8)
    assert torch.equal(Denoising(sigma=0.0)(target, RowDraw([0])), target)
