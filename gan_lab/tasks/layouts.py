"""Layouts of `gan-lab sample --grid` for generators of pictures, to judge by eye what a run has learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lab.core.runtime import inference
from gan_lab.datasets.store import unscale
from gan_lab.display import pictures
from gan_lab.display.pictures import Sheet

STEPS = 8  # pictures from one end of an interpolation to the other
NEIGHBOURS = 7
MOST_CLASSES = 100  # rows that a picture may have


def interpolation(run: Any, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """`num` rows, each from one latent to another along a great circle (White 2016, arXiv 1609.04468, section 2.1).

    A row has one class. Smooth changes without jumps are evidence that the generator does not only copy pictures.
    """
    z, classes = run.task.latents(2 * num, seed)
    if labels is not None:
        classes = labels.repeat(-(-num // len(labels)))
    start, end = z[0::2, None], z[1::2, None]  # [num, 1, latent_dim]
    angle = torch.acos(torch.cosine_similarity(start, end, dim=2).clamp(-1, 1))[..., None]
    share = torch.linspace(0, 1, STEPS)[None, :, None]
    path = (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()
    rows = None if classes is None else classes[:num].repeat_interleave(STEPS)
    images = _generate(run, path.flatten(0, 1), rows)
    return Sheet(pictures.grid(unscale(images).numpy(), columns=STEPS))


def classes(run: Any, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """A row for each class, `num` pictures wide. A column has one latent, so it shows the effect of the class alone."""
    if labels is None:
        count = run.about["num_classes"] or 0
        if count > MOST_CLASSES:
            raise ValueError(f"--grid classes: {count:,} rows are too many; choose some with --label 0,1,2")
        labels = run.labels(",".join(map(str, range(count))) or "0")
    z, _ = run.task.latents(num, seed)
    images = _generate(run, z.repeat(len(labels), 1), labels.repeat_interleave(num))
    names = run.about.get("class_names")
    caption = "rows: " + ", ".join(names[i] if names else str(i) for i in labels.tolist())
    return Sheet(pictures.grid(unscale(images).numpy(), columns=num), caption)


def neighbours(run: Any, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """`num` samples on the left, and to the right of each the nearest training pictures, nearest first.

    Distances are root mean squares of pixel differences: they find copies, but not pictures that are merely similar.
    """
    data = run.dataset.load("train").columns["sample"]
    samples = unscale(run.examples(num, seed, labels)["sample"])
    flat = samples.flatten(1).float()
    chunks = [torch.cdist(flat, part.flatten(1).float()) for part in data.split(10_000)]
    distances, nearest = torch.cat(chunks, dim=1).topk(min(NEIGHBOURS, len(data)), largest=False)
    training = data[nearest.flatten()]
    left = pictures.grid(samples.numpy(), columns=1)
    right = pictures.grid(training.numpy(), columns=nearest.shape[1])
    rms = (distances[:, 0] / flat.shape[1] ** 0.5).median().item()
    caption = f"nearest of {len(data):,} training pictures: root mean square difference {rms:.1f} of 255 (median)"
    return Sheet(np.concatenate([left, right], axis=1), caption)


def _generate(run: Any, z: Tensor, label: Tensor | None) -> Tensor:
    """Samples [N, ...] for latents [N, latent_dim] and classes [N]."""
    with inference(run.nets, run.batch_norm) as nets:
        samples: Tensor = run.task.generate(nets, z, label)
    return run.finite(samples)
