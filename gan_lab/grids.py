"""Layouts of `gan-lab sample --grid`: what a trained run has learnt, laid out to be judged by eye."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gan_lab.datasets.store import unscale
from gan_lab.metrics.neighbours import Distances
from gan_lab.tracking import pictures

if TYPE_CHECKING:
    from gan_lab.metrics.evidence import Evidence
    from gan_lab.sampling import TrainedRun

STEPS = 8  # pictures from one end of an interpolation to the other
NEIGHBOURS = 7
SUSPECTS = 8  # samples shown beside the training pictures that they may have copied
MOST_CLASSES = 100  # rows that a picture may have
Sheet = tuple[np.ndarray, str | None]  # a picture uint8 [H, W, C], and a line for a person


def interpolation(run: TrainedRun, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """`num` rows, each from one latent to another along a great circle (White 2016, arXiv 1609.04468, section 2.1).

    A row keeps its class. Smooth changes, without a jump, speak against a generator that has learnt pictures by heart.
    """
    z, classes = run.task.latents(2 * num, seed)
    if labels is not None:
        classes = labels.repeat(-(-num // len(labels)))
    start, end = z[0::2, None], z[1::2, None]  # [num, 1, latent_dim]
    angle = torch.acos(torch.cosine_similarity(start, end, dim=2).clamp(-1, 1))[..., None]
    share = torch.linspace(0, 1, STEPS)[None, :, None]
    path = (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()
    rows = None if classes is None else classes[:num].repeat_interleave(STEPS)
    images = run.generate(path.flatten(0, 1), rows)
    return pictures.grid(unscale(images).numpy(), columns=STEPS), None


def classes(run: TrainedRun, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """A row for each class, `num` pictures wide; a column has one latent, so it shows what the class alone changes."""
    if labels is None:
        count = run.about["num_classes"] or 0
        if count > MOST_CLASSES:
            raise ValueError(f"--grid classes: {count:,} rows are too many; choose some with --label 0,1,2")
        labels = run.labels(",".join(map(str, range(count))) or "0")
    z, _ = run.task.latents(num, seed)
    images = run.generate(z.repeat(len(labels), 1), labels.repeat_interleave(num))
    names = run.about.get("class_names")
    said = "rows: " + ", ".join(names[i] if names else str(i) for i in labels.tolist())
    return pictures.grid(unscale(images).numpy(), columns=num), said


def neighbours(run: TrainedRun, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """`num` samples on the left, and right of each the training pictures that are nearest to it, nearest first.

    Distances are root mean squares of pixel differences: they find copies, not likenesses.
    """
    from gan_lab.train import data_set

    data = data_set(run.config).load("train").columns["sample"]
    samples = unscale(run.sample(num, seed, labels))
    flat = samples.flatten(1).float()
    chunks = [torch.cdist(flat, part.flatten(1).float()) for part in data.split(10_000)]
    distances, nearest = torch.cat(chunks, dim=1).topk(min(NEIGHBOURS, len(data)), largest=False)
    found = data[nearest.flatten()]
    left = pictures.grid(samples.numpy(), columns=1)
    right = pictures.grid(found.numpy(), columns=nearest.shape[1])
    rms = (distances[:, 0] / flat.shape[1] ** 0.5).median().item()
    said = f"nearest of {len(data):,} training pictures: root mean square difference {rms:.1f} of 255 (median)"
    return np.concatenate([left, right], axis=1), said


def suspects(seen: Evidence) -> np.ndarray:
    """The samples that lie nearest to training pictures, on the left, and right of each those pictures, nearest first.

    By features, unlike `neighbours`, and of all samples that were scored the most suspicious: a picture [H, W, C].
    """
    train = seen.reference.train
    chosen = seen.nearest.values.argsort()[:SUSPECTS]
    distances = Distances(train.features, seen.reference.device)(seen.features[chosen])
    found = distances.topk(min(NEIGHBOURS, len(train)), largest=False).indices.cpu()
    left = pictures.grid(seen.raw[chosen].numpy(), columns=1)
    right = pictures.grid(train.pictures[found.flatten()].numpy(), columns=found.shape[1])
    return np.concatenate([left, right], axis=1)


LAYOUTS: dict[str, Callable[[TrainedRun, int, int, Tensor | None], Sheet]] = {
    "interpolation": interpolation,
    "classes": classes,
    "neighbours": neighbours,
}
