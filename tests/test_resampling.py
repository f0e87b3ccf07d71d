"""Doubling and halving against their definition: zeros between pixels, a correlation, every second pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from gan_lab.augment.warp import SYMLET
from gan_lab.resampling import SMOOTH, doubled, filtered, halved


def pictures(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def convolved(line: np.ndarray, taps: tuple[float, ...], up: bool) -> np.ndarray:
    """One line doubled or halved, by the definition."""
    reach = len(taps) // 2 - 1
    if up:
        spread = np.zeros(2 * len(line))
        spread[::2] = line
        return np.convolve(spread, 2 * np.array(taps))[reach : reach + 2 * len(line)]
    framed = np.pad(line, reach + 1)
    return np.correlate(framed, np.array(taps), "valid")[1::2][: len(line) // 2]


@pytest.mark.parametrize("taps", [SMOOTH, SYMLET])
def test_doubling_and_halving_are_what_they_are_called(taps: tuple[float, ...]) -> None:
    x = pictures(2, 3, 10, 8)
    for resample, up in ((doubled, True), (halved, False)):
        expected = np.apply_along_axis(convolved, 2, x.numpy(), taps, up)
        expected = np.apply_along_axis(convolved, 3, expected, taps, up)
        np.testing.assert_allclose(resample(x, taps).numpy(), expected, atol=1e-12)


def test_doubling_with_the_smoothing_filter_is_bilinear() -> None:
    x = pictures(2, 3, 6, 5)
    framed = pad(x, (1, 1, 1, 1))
    torch.testing.assert_close(doubled(x), interpolate(framed, scale_factor=2, mode="bilinear")[:, :, 2:-2, 2:-2])


def test_doubling_is_four_times_the_adjoint_of_halving() -> None:
    x, y = pictures(2, 3, 6, 8), pictures(2, 3, 12, 16)
    for taps in (SMOOTH, SYMLET):
        torch.testing.assert_close((doubled(x, taps) * y).sum(), 4 * (x * halved(y, taps)).sum())


def test_the_wavelets_even_shifts_are_orthogonal_and_its_high_pass_filter_ignores_polynomials() -> None:
    """The properties that define a symlet of order 6: the taps themselves were not computed here."""
    taps = np.array(SYMLET) * 2**0.5
    for shift in range(6):
        assert np.dot(taps[2 * shift :], taps[: len(taps) - 2 * shift]) == pytest.approx(float(shift == 0), abs=1e-10)
    signs = (-1.0) ** np.arange(12)
    for power in range(6):
        assert np.dot(signs * taps, np.arange(12.0) ** power) == pytest.approx(0, abs=1e-5 * 11.0**power / 10)
    x = pictures(1, 2, 12, 12)
    inside = slice(6, -6)
    again = halved(doubled(pad(x, (6, 6, 6, 6)), SYMLET), SYMLET)[:, :, inside, inside]
    torch.testing.assert_close(again, x, atol=1e-10, rtol=0)


def test_filtering_keeps_a_constant_and_takes_any_memory_format_and_gradients() -> None:
    assert torch.equal(filtered(torch.ones(1, 2, 6, 6), 0), torch.ones(1, 2, 3, 3))
    x = pictures(2, 3, 6, 6)
    for resample in (doubled, halved, lambda y: filtered(y, 2, gain=4.0)):
        torch.testing.assert_close(resample(x.to(memory_format=torch.channels_last)), resample(x))
        assert torch.autograd.gradgradcheck(lambda y, f=resample: f(y).square(), x.clone().requires_grad_())
