"""Trained networks that never learn, as eyes of a discriminator: those that ship, and timm's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.registry import feature_extractors

Net = TypeVar("Net", bound=nn.Module)
TIMM = "timm/"
SIDE = 224  # pixels that timm's networks see at least, as in the Projected GAN's code


def fixed(net: Net, *, saved: bool) -> Net:
    """The network with its parameters turned into buffers: no optimizer moves them. In states only where `saved`."""
    for module in net.modules():
        tensors = [*module.named_parameters(recurse=False)]
        for name, _ in tensors:
            delattr(module, name)
        for name, tensor in [*tensors, *module.named_buffers(recurse=False)]:
            module.register_buffer(name, tensor.detach(), persistent=saved)
    net.eval()
    return net


class Stages(nn.Module):
    """A shipped extractor's stages, which each halve the map: images [B, C, H, W] in [-1, 1] to a map of each.

    Each channel is seen as a grey picture, without cropping: [B, C c, H / 2, W / 2], [B, C c', H / 4, W / 4]. Raises
    ValueError, with those that fit, for an extractor that has no stages.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        cls = feature_extractors.classes.get(name)
        if not hasattr(cls, "stages"):
            able = ", ".join(other for other, cls in feature_extractors.classes.items() if hasattr(cls, "stages"))
            raise ValueError(
                f"discriminator.extractor={name}: it has no stages to project; choose from {able}, or timm/MODEL"
            )
        extractor = feature_extractors.build(OmegaConf.create({"name": name}), sample_shape=(1, 28, 28))
        self.weights_hash = _digest(extractor)
        self.stages = nn.ModuleList(extractor.eval().stages())

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [((image + 1) / 2).flatten(0, 1)[:, None]]  # [B C, 1, H, W]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return [x.unflatten(0, image.shape[:2]).flatten(1, 2) for x in maps[1:]]


class Timm(nn.Module):
    """A network of timm, such as tf_efficientnet_lite0: images [B, 1 or 3, H, W] in [-1, 1] to its last four maps.

    Smaller pictures are enlarged to 224 px first, as the Projected GAN's code does (Sauer et al. 2021, arXiv
    2111.01007), and grey ones repeated; mean and deviation are those that the network was trained with. `weights` is a
    file of safetensors; without one, timm downloads them. Raises ValueError where timm is not installed, has no such
    network, or its weights are not to be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: str, weights: str | None) -> None:
        super().__init__()
        given = f"discriminator.extractor={TIMM}{model}"
        try:
            import timm
        except ImportError as error:
            raise ValueError(f"{given} wants timm: pip install 'hydra-gan-lab[timm]'") from error
        if model not in timm.list_models():
            raise ValueError(f"{given}: timm has no such network; python -c 'import timm; print(timm.list_models())'")
        source: dict[str, Any] = {}
        if weights is not None:
            if not weights.endswith(".safetensors") or not Path(weights).is_file():
                raise ValueError(f"discriminator.weights={weights}: expected a file of safetensors")
            source["pretrained_cfg_overlay"] = {"file": weights}
        try:
            net: Any = timm.create_model(model, pretrained=True, features_only=True, **source)
        except Exception as error:  # of timm, the Hub, or a file that does not fit
            why = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{given}: its weights cannot be loaded ({why}); give discriminator.weights=FILE"
            ) from error
        self.net, self.weights_hash = net, _digest(net)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(net.pretrained_cfg[name])[:, None, None])

    def forward(self, image: Tensor) -> list[Tensor]:
        if image.shape[1] not in (1, 3):
            raise ValueError(f"timm's networks see grey or colour pictures, not {image.shape[1]} channels")
        if (side := min(image.shape[2:])) < SIDE:
            size = [round(n * SIDE / side) for n in image.shape[2:]]
            image = interpolate(image, size=size, mode="bilinear", align_corners=False)
        maps: list[Tensor] = self.net(((image + 1) / 2 - self.mean) / self.std)
        return maps[-4:]


def eyes(extractor: str, weights: str | None) -> Stages | Timm:
    """The frozen network of this name.

    Raises ValueError for one that cannot be had, and for `weights` of one that ships with its own.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights, which are then replaced, draw random numbers
        if extractor.startswith(TIMM):
            return Timm(extractor.removeprefix(TIMM), weights)
        if weights is not None:
            raise ValueError(f"discriminator.weights={weights}: {extractor} ships with its own; leave it out")
        return Stages(extractor)


def _digest(net: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in net.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
