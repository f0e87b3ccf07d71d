"""Pictures at points between and around the samples of a seed: what sliders and interpolation of the page show."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.contract import CHUNK
from gan_lab.tasks.layouts import LATENTS, all_directions, first_layer, generate, great_circles, has_styles, styles_of

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


class Points:
    """The pictures of a run whose task generates: at latents, or, where its generator has styles, at styles."""

    def __init__(self, trained: TrainedRun) -> None:
        self.trained = trained

    def picture(self, point: Point) -> Tensor:
        """The picture at a point, [1, C, H, W]. Without moves, it is that sample of the run, up to rounding."""
        return self._made(self._place(point)[None], point)

    def path(self, point: Point, end: int) -> Tensor:
        """Pictures [FRAMES, C, H, W] of one class from a point to the first sample of the seed `end`.

        Latents go along a great circle, styles straight (Karras et al. 2019, arXiv 1812.04948, section 4.1).
        """
        start, goal = self._place(point), self._place(Point(end, 0, self._label(point)))
        if has_styles(self.trained):
            share = torch.linspace(0, 1, FRAMES).view(-1, *[1] * start.dim())
            return self._made(torch.lerp(start, goal, share), point)
        return self._made(great_circles(start[None], goal[None], FRAMES)[0], point)

    @functools.cached_property
    def steps(self) -> dict[Axes, Tensor]:
        """The axes that sliders move along, [up to SLIDERS, D]: directions of latents or of styles, and of latents."""
        z, labels = self.trained.task.latents(LATENTS, 0)
        label = None if labels is None else labels[:1]
        styles = styles_of(self.trained, z, None if label is None else label.repeat(len(z)))
        known = first_layer(self.trained, z, label) if styles is None else styles[:, 0]
        directions = all_directions(known, z if styles is None else styles[:, 0])
        return {"directions": directions[:SLIDERS], "coordinates": torch.eye(z.shape[1])[:SLIDERS]}

    def _label(self, point: Point) -> int | None:
        """The point's class, by default that of the sample."""
        drawn = self.trained.task.latents(point.index + 1, point.seed)[1]
        return point.label if point.label is not None or drawn is None else int(drawn[point.index])

    def _place(self, point: Point) -> Tensor:
        """A latent [latent_dim], or styles [layers, D]."""
        z: Tensor = self.trained.task.latents(point.index + 1, point.seed)[0][point.index]
        moves = torch.tensor(point.moves)
        steps = self.steps[point.axes] if any(point.moves) else torch.zeros(len(moves), 1)
        if len(moves) > len(steps):
            raise ValueError(f"there are {len(steps)} sliders, not {len(moves)}")
        step = moves @ steps[: len(moves)]
        if not has_styles(self.trained):
            return z + step
        label = self._label(point)
        of_latents = point.axes == "coordinates"
        moved = (z + step if of_latents else z)[None]
        styles = styles_of(self.trained, moved, None if label is None else torch.tensor([label]))
        assert styles is not None
        return styles[0] if of_latents else styles[0] + step

    def _made(self, places: Tensor, point: Point) -> Tensor:
        """Pictures at places [N, ...], all of the point's class."""
        label = self._label(point)
        if self.trained.batch_norm != "batch":
            return generate(self.trained, places, None if label is None else torch.full((len(places),), label))
        around, labels = self.trained.task.latents(CHUNK, point.seed)
        if has_styles(self.trained):
            around = styles_of(self.trained, around, labels)
        if labels is not None:
            labels[point.index] = label
        made = []
        for place in places:  # each in the place of the sample, since a picture depends on the others of its batch
            around[point.index] = place
            made.append(generate(self.trained, around, labels)[point.index])
        return torch.stack(made)
