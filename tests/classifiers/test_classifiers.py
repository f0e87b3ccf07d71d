"""Every registered classifier: two halves that make the whole, for pictures of any usual size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from gan_lab import registry
from gan_lab.classifiers import Classifier

registry.load()


def build(name: str, **values: Any) -> nn.Module:
    node = OmegaConf.structured(registry.schema(registry.classifiers.classes[name], f"classifiers__{name}", name=name))
    net: nn.Module = registry.classifiers.build(node, **values)
    return net


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 28, 28), (3, 16, 20)])
@pytest.mark.parametrize("name", registry.classifiers.classes)
def test_its_halves_make_the_whole(name: str, shape: tuple[int, int, int]) -> None:
    channels, *size = shape
    net = build(name, image_size=tuple(size), image_channels=channels, num_classes=5)
    assert isinstance(net, Classifier)
    x = torch.randn(2, *shape)
    features = net.eval().features(x)
    assert features.shape == (2, net.feature_dim)
    torch.testing.assert_close(net.head(features), net(x))
    assert net(x).shape == (2, 5)


@pytest.mark.parametrize("name", registry.classifiers.classes)
def test_a_picture_that_is_too_small_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="too few"):
        build(name, image_size=2, image_channels=1, num_classes=2)
