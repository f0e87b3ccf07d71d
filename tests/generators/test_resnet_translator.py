"""CycleGAN's generator: published counts, reflected borders, any size, and a start at the source."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gan_lab.generators.resnet_translator import ResNetTranslator


def build(size: int = 16, channels: int = 3, **options: Any) -> ResNetTranslator:
    torch.manual_seed(0)
    return ResNetTranslator((channels, size, size), size, channels, **{"width": 4, "blocks": 1, **options})


@pytest.mark.parametrize(("blocks", "count"), [(9, 11_378_179), (6, 7_837_699)])
def test_it_has_as_many_parameters_as_the_authors(blocks: int, count: int) -> None:
    """What their code prints for 3 channels: 11.378 M with 9 blocks, 7.838 M with 6."""
    with torch.device("meta"):
        net = build(256, width=64, blocks=blocks)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_no_convolution_sees_zeros_behind_the_border_but_strided_ones() -> None:
    net = build(blocks=2)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert module.padding == ((1, 1) if module.stride == (2, 2) else (0, 0))
    flat = build(normalization="none", initialization="default")(torch.full((1, 3, 16, 16), 0.3))
    inner = flat[..., 7:8, 7:8]
    assert not torch.allclose(flat, inner.expand_as(flat)), "strided and transposed ones do"


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (5, 31), (8, 5)])
def test_pictures_of_any_size_keep_it(size: tuple[int, int]) -> None:
    made = build()(torch.randn(2, 3, *size))
    assert made.shape == (2, 3, *size)
    assert made.abs().max() <= 1


def test_with_residual_it_starts_as_little_but_its_source() -> None:
    source = torch.rand(2, 3, 16, 16) * 2 - 1
    assert (build(residual=True)(source) - source).abs().mean() < 0.02
    assert (build()(source) - source).abs().mean() > 0.1


def test_targets_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="keeps the size of its source, 8 x 8; to enlarge, choose generator=srresnet"):
        ResNetTranslator((3, 8, 8), 16, 3)
