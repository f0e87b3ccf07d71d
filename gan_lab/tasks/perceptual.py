"""A distance of pictures by the features of a frozen network, for training: small where two look alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import normalize

from gan_lab.core.types import per_sample
from gan_lab.metrics.restoration import alexnet_file, lpips_network
from gan_lab.registry import feature_extractors

Perceptual = Literal["lpips", "mnist5k", "fashion_mnist"]


class PerceptualDistance:
    """[B] of pictures [B, C, H, W] in [-1, 1] and as many others (Zhang et al. 2018, arXiv 1801.03924, eq. 1).

    Of `lpips`, AlexNet's features with learned weights. Of a shipped classifier's, all weights are 1. The classifier
    that a run is scored by should not be the one that it learns from: its distances would be too good.

    The network is not part of the state: it never changes, and checkpoints need no copy. Raises ValueError where its
    weights are not on this machine, or where it does not see such pictures.
    """

    def __init__(self, name: Perceptual, shape: tuple[int, ...]) -> None:
        self.name = name
        with torch.random.fork_rng(devices=[]):  # initial weights, which are then replaced, draw random numbers
            self._net, self._distance = self._lpips(shape) if name == "lpips" else self._of_classifier(name, shape)
        self._net.requires_grad_(False).eval()

    def __call__(self, pictures: Tensor, target: Tensor) -> Tensor:
        self._net.to(pictures.device)
        return self._distance(pictures.float(), target.float())

    @staticmethod
    def _lpips(shape: tuple[int, ...]) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
        file = alexnet_file()
        if not file.is_file():
            raise ValueError(
                f"task.perceptual=lpips needs AlexNet's weights at {file}, which torchvision.models.alexnet("
                "weights='DEFAULT') downloads; or choose task.perceptual=mnist5k, fashion_mnist or null"
            )
        if shape[0] not in (1, 3):
            raise ValueError(f"task.perceptual=lpips sees 1 or 3 channels, not {shape[0]}; choose task.perceptual=null")
        net = lpips_network(file)
        return net, lambda *pair: net(*(x.expand(-1, 3, -1, -1) for x in pair)).flatten()

    @staticmethod
    def _of_classifier(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
        try:
            net = feature_extractors.build(OmegaConf.create({"name": name}), sample_shape=shape)
        except ValueError as error:
            why = str(error).removeprefix(f"feature_extractor={name} ")
            raise ValueError(f"task.perceptual={name} {why}; choose task.perceptual=lpips or null") from error
        return net, lambda *pair: distance_of_maps(*(net.maps((x + 1) / 2) for x in pair))


def distance_of_maps(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """[B]: the squared distance of feature vectors of length one, its mean over positions, summed over maps.

    Maps are [B, C, h, w]; the weights w of eq. 1 are all 1.
    """
    gaps = [normalize(a) - normalize(b) for a, b in zip(ours, theirs, strict=True)]
    return torch.stack([per_sample(gap.square().sum(1)) for gap in gaps]).sum(0)
