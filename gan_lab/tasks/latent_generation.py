"""Latent generation: a second stage that makes latents of a trained autoencoder, which decodes them to pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.core.types import Data
from gan_lab.registry import Positive, Weight, tasks
from gan_lab.tasks.autoencoding import Autoencoding
from gan_lab.tasks.contract import CHUNK, Exported, Parts, Signals, device_of, picture_values
from gan_lab.tasks.generation import Generation, GenerationPass
from gan_lab.tasks.sample_signals import SampleSignals

SPREAD = 3.0  # standard deviations of a channel that [-1, 1] covers: generators of pictures end in tanh
FROZEN = ("encoder", "bottleneck", "decoder")


class LatentPass(GenerationPass):
    """Latents of pictures are real, the generator's are fake."""

    task: LatentGeneration

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.task.encode(self.data("sample")))


class OfShape:
    """Parts for samples of another shape than the data's: see `contract.Parts`."""

    def __init__(self, parts: Parts, shape: tuple[int, int, int]) -> None:
        self.parts, self.values, self.columns = parts, {"sample_shape": shape, **picture_values(shape)}, parts.columns

    def __contains__(self, group: str) -> bool:
        return group in self.parts

    def __getattr__(self, group: str) -> Callable[..., Any]:
        return functools.partial(getattr(self.parts, group), **self.values)


@tasks.register("latent_generation")
class LatentGeneration(Generation):
    """Generation of latents, as LDM's second stage (Rombach et al. 2022, arXiv 2112.10752, section 3) but with a GAN.

    `autoencoder` is the directory of a run of `task=autoencoding`. Its averaged networks are frozen and in every
    checkpoint, so what becomes of that run later changes nothing. Generator and discriminator see its latents as
    pictures of few pixels, before they are quantized, each channel shifted and scaled so that three standard deviations
    fill [-1, 1]. A fake is quantized and decoded for samples and scores. Raises ValueError where that run is none, of
    another task, or of pictures of another shape.
    """

    forward_pass = LatentPass
    columns = frozenset({"sample", "label", "reconstruction"})

    def __init__(
        self,
        parts: Parts,
        sample_shape: tuple[int, ...],
        num_classes: int | None,
        *,
        autoencoder: str | None = None,
        n_critic: Positive = 1,
        discriminator_weight: Weight = 1.0,
        classification_weight: Weight = 1.0,
        packing: Positive = 1,
    ) -> None:
        self.first = first = _autoencoder(parts, autoencoder, tuple(sample_shape))
        super().__init__(
            OfShape(parts, first.latent_shape),
            first.latent_shape,
            num_classes,
            n_critic=n_critic,
            discriminator_weight=discriminator_weight,
            classification_weight=classification_weight,
            packing=packing,
        )
        for name in FROZEN:
            self.nets[name] = first.nets[name]

    # -- between pictures and what the generator makes --------------------------------------------------------------

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents [B, c, h, w], mostly in [-1, 1], of pictures [B, C, H, W] on the networks' device."""
        shift, scale = self._range
        return (self.first.code(self.nets, pictures).continuous - shift) / scale

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents as `encode` makes them, quantized where the autoencoder's are."""
        shift, scale = self._range
        return self.first.decode(self.nets, latents * scale + shift)

    @property
    def _range(self) -> tuple[Tensor, Tensor]:
        bottleneck = self.first.bottleneck
        return bottleneck.mean.view(-1, 1, 1), SPREAD * bottleneck.deviation.view(-1, 1, 1)

    def reconstruct(self, pictures: Tensor) -> Tensor:
        """Pictures made again by the autoencoder alone: no sample can be expected to be nearer to the data."""
        return self.first.decode(self.nets, self.first.code(self.nets, pictures.to(device_of(self.nets))).continuous)

    @torch.no_grad()
    def generate(self, nets: nn.ModuleDict, z: Tensor, label: Tensor | None) -> Tensor:
        """Pictures [N, C, H, W] on the CPU for given noise and classes."""
        latents = super().generate(nets, z, label)
        device = device_of(self.nets)
        return torch.cat([self.decode(part.to(device)).cpu() for part in latents.split(CHUNK)])

    def exported(self, nets: nn.ModuleDict, data: Data | None, direction: str | None = None) -> Exported:
        """From noise and classes to pictures, by generator and decoder."""
        inputs = super().exported(nets, data).inputs
        return Exported(lambda *given: self.decode(nets["generator"](*given)), inputs)

    def signals(self, train: Data, held_out: Data | None, device: torch.device) -> Signals:
        """Those of samples. D judges latents and not pictures, so its overfitting is not looked for."""
        return SampleSignals(self, train, None, device)


def _autoencoder(parts: Parts, path: str | None, sample_shape: tuple[int, ...]) -> Autoencoding:
    """The trained autoencoder of a run. Raises ValueError where it is of no use here."""
    if path is None:
        raise ValueError("task=latent_generation needs task.autoencoder=RUN, a directory of a run of task=autoencoding")
    try:
        trained = parts.trained(path)
    except ValueError as error:
        raise ValueError(f"task.autoencoder: {error}") from error
    if not isinstance(trained, Autoencoding):
        raise ValueError(f"task.autoencoder={path} is a run of another task; give one of task=autoencoding")
    if trained.sample_shape != sample_shape:
        theirs, ours = (" x ".join(map(str, shape)) for shape in (trained.sample_shape, sample_shape))
        raise ValueError(
            f"task.autoencoder={path} is of pictures of {theirs}, and the data's are {ours}; choose its data set and "
            "size, or train another autoencoder"
        )
    return trained
