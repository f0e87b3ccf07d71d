"""Pictures at points between and around the samples of a seed: what sliders and interpolation of the page show."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.contract import CHUNK
from gan_lab.tasks.layouts import LATENTS, all_directions, first_layer, generate, great_circles

SLIDERS = 8
FARTHEST = 5.0  # a slider's ends, in standard deviations; further away are no pictures
FRAMES = 17  # of an interpolation, both ends included
Axes = Literal["directions", "coordinates"]


@dataclass(frozen=True)
class Point:
    """Sample `index` of a seed's first CHUNK, of a class, and how far it is moved along the first axes.

    Axes are the principal directions of the generator, in standard deviations, or single numbers of the latent.
    """

    seed: int
    index: int
    label: int | None = None
    axes: Axes = "directions"
    moves: tuple[float, ...] = ()


class Latents:
    """The latents of a run that makes pictures of them."""

    def __init__(self, trained: TrainedRun) -> None:
        self.trained = trained

    def picture(self, point: Point) -> Tensor:
        """The picture at a point, [1, C, H, W]. Without moves, it is that sample of the run, up to rounding."""
        return self._made(self._latent(point)[None], point)

    def path(self, point: Point, end: int) -> Tensor:
        """Pictures [FRAMES, C, H, W] of one class from a point to the first sample of the seed `end`."""
        start, goal = self._latent(point)[None], self.trained.task.latents(1, end)[0]
        return self._made(great_circles(start, goal, FRAMES)[0], point)

    @functools.cached_property
    def steps(self) -> dict[Axes, Tensor]:
        """The axes that sliders move along, [up to SLIDERS, latent_dim]."""
        z, labels = self.trained.task.latents(LATENTS, 0)
        features = first_layer(self.trained, z, None if labels is None else labels[:1])
        return {
            "directions": all_directions(features, z)[:SLIDERS],
            "coordinates": torch.eye(z.shape[1])[:SLIDERS],
        }

    def _latent(self, point: Point) -> Tensor:
        z: Tensor = self.trained.task.latents(point.index + 1, point.seed)[0][point.index]
        if not any(point.moves):
            return z
        steps = self.steps[point.axes]
        if len(point.moves) > len(steps):
            raise ValueError(f"there are {len(steps)} sliders, not {len(point.moves)}")
        return z + torch.tensor(point.moves) @ steps[: len(point.moves)]

    def _made(self, z: Tensor, point: Point) -> Tensor:
        """Pictures of latents [N, latent_dim], all of the point's class, by default that of the sample."""
        around, labels = self.trained.task.latents(CHUNK, point.seed)
        if labels is not None and point.label is not None:
            labels[point.index] = point.label
        if self.trained.batch_norm != "batch":
            return generate(self.trained, z, None if labels is None else labels[point.index].repeat(len(z)))
        made = []
        for latent in z:  # each in the place of the sample, since a picture depends on the others of its batch
            around[point.index] = latent
            made.append(generate(self.trained, around, labels)[point.index])
        return torch.stack(made)
