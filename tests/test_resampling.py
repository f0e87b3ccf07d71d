"""Doubling and halving against their definition: zeros between pixels, a filter, every second pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from gan_lab.resampling import doubled, filtered, halved

TAPS = np.array([1, 3, 3, 1]) / 8


def pictures(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def twice(line: np.ndarray) -> np.ndarray:
    spread = np.zeros(2 * len(line))
    spread[::2] = line
    return np.convolve(spread, 2 * TAPS)[1 : 1 + 2 * len(line)]


def half(line: np.ndarray) -> np.ndarray:
    return np.convolve(np.pad(line, 1), TAPS, "valid")[::2]


def test_doubling_and_halving_are_what_they_are_called() -> None:
    x = pictures(2, 3, 10, 8)
    for resample, by_line in ((doubled, twice), (halved, half)):
        expected = np.apply_along_axis(by_line, 3, np.apply_along_axis(by_line, 2, x.numpy()))
        np.testing.assert_allclose(resample(x).numpy(), expected, atol=1e-12)


def test_doubling_is_bilinear_and_four_times_the_adjoint_of_halving() -> None:
    x, y = pictures(2, 3, 6, 5), pictures(2, 3, 12, 10)
    framed = pad(x, (1, 1, 1, 1))
    torch.testing.assert_close(doubled(x), interpolate(framed, scale_factor=2, mode="bilinear")[:, :, 2:-2, 2:-2])
    torch.testing.assert_close((doubled(x) * y).sum(), 4 * (x * halved(y)).sum())


def test_filtering_keeps_a_constant_and_takes_any_memory_format_and_gradients() -> None:
    assert torch.equal(filtered(torch.ones(1, 2, 6, 6), 0), torch.ones(1, 2, 3, 3))
    x = pictures(2, 2, 4, 4)
    for resample in (doubled, halved, lambda y: filtered(y, 2, gain=4.0)):
        torch.testing.assert_close(resample(x.to(memory_format=torch.channels_last)), resample(x))
        given = x.clone().requires_grad_()
        assert torch.autograd.gradgradcheck(lambda y, f=resample: f(y).square(), given, fast_mode=True)
