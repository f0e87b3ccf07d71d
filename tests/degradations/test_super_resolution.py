"""Super-resolution against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_lab.datasets.store import scale, unscale
from gan_lab.degradations.super_resolution import SuperResolution
from tests.degradations.draws import RowDraw, pictures


def by_pillow(channel: Tensor, size: tuple[int, int]) -> Tensor:
    """[H, W] to (height, width)."""
    image = Image.fromarray(channel.numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reducing_and_enlarging_are_pillows(factor: int) -> None:
    target = pictures(1, 1, 32, 48)
    degradation = SuperResolution(factor=factor, levels=None)
    source = degradation(target, RowDraw([0]))
    small = by_pillow(target[0, 0], (32 // factor, 48 // factor))
    torch.testing.assert_close(source[0, 0], small, atol=1e-6, rtol=0)
    large = by_pillow(small, (32, 48)).clamp(-1, 1)
    torch.testing.assert_close(degradation.solve(source)[0, 0], large, atol=1e-6, rtol=0)


def test_sources_have_the_values_of_eight_bit_files() -> None:
    source = SuperResolution()(pictures(3, 3, 16, 24), RowDraw(range(3)))
    assert torch.equal(source, scale(unscale(source)))


def test_sources_of_sixteen_bits_have_theirs() -> None:
    target = pictures(1, 1, 16, 16)
    source = SuperResolution(levels=65536)(target, RowDraw([0]))
    assert torch.equal(source, scale(unscale(source, torch.uint16)))
    assert not torch.equal(source, scale(unscale(source)))


def test_a_bright_edge_stays_in_range() -> None:
    target = -torch.ones(1, 1, 16, 16)
    target[..., 8:] = 1
    degradation = SuperResolution()
    source = degradation(target, RowDraw([0]))
    assert source.abs().max() <= 1
    assert degradation.solve(source).abs().max() <= 1
    assert SuperResolution(levels=None)(target, RowDraw([0])).abs().max() > 1  # the cubic overshoots


def test_other_factors_and_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"degradation\.factor=3: choose from 2, 4, 8"):
        SuperResolution(factor=3)
    with pytest.raises(ValueError, match="30 x 32 do not divide by factor=4; heights that fit are 28 and 32"):
        SuperResolution(factor=4).input_shape((3, 30, 32))
    with pytest.raises(ValueError, match="heights that fit are 8 and 8"):
        SuperResolution(factor=8).input_shape((1, 4, 8))
