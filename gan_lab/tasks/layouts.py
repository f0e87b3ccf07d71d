"""Layouts of `gan-lab sample --grid` for generators of pictures, to judge by eye what a run has learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import key
from gan_lab.core.runtime import inference
from gan_lab.datasets.store import unscale
from gan_lab.display import pictures
from gan_lab.display.pictures import Sheet
from gan_lab.registry import generators

STEPS = 8  # pictures from one end of an interpolation to the other
NEIGHBOURS = 7
THRESHOLDS = (1.5, 1.0, 0.5, 0.25)  # of the truncated rows
SHARES = (1.0, 0.7, 0.5, 0.3, 0.0)  # of a style's distance from the mean style, a row each
LATENTS = 512  # from which directions are estimated
WIDE = 2.0  # standard deviations from the middle of a direction to its ends
ROWS = 2  # of each band of mixed styles
MOST_CLASSES = 100  # rows that a picture may have


def interpolation(run: Any, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """`num` rows, each from one latent to another along a great circle (White 2016, arXiv 1609.04468, section 2.1).

    A row has one class. Smooth changes without jumps are evidence that the generator does not only copy pictures.
    """
    z, classes = _drawn(run, 2 * num, seed, labels)
    path = great_circles(z[0::2], z[1::2], STEPS)
    rows = None if classes is None else classes[:num].repeat_interleave(STEPS)
    images = generate(run, path.flatten(0, 1), rows)
    return Sheet(pictures.grid(unscale(images).numpy(), columns=STEPS))


def great_circles(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Latents [N, steps, latent_dim] from `start` to `end` [N, latent_dim], both included.

    Where a circle is not defined, between latents of one direction or of opposite ones, the way is straight.
    """
    start, end = start[:, None], end[:, None]
    angle = torch.acos(torch.cosine_similarity(start, end, dim=2).clamp(-1, 1))[..., None]
    share = torch.linspace(0, 1, steps)[None, :, None]
    path = (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()
    return torch.where(angle.sin() > 1e-3, path, torch.lerp(start, end, share))


def classes(run: Any, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """A row for each class, `num` pictures wide. A column has one latent, so it shows the effect of the class alone."""
    if labels is None:
        count = run.about["num_classes"] or 0
        if count > MOST_CLASSES:
            raise ValueError(f"--grid classes: {count:,} rows are too many; choose some with --label 0,1,2")
        labels = run.labels(",".join(map(str, range(count))) or "0")
    z, _ = run.task.latents(num, seed)
    images = generate(run, z.repeat(len(labels), 1), labels.repeat_interleave(num))
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


def truncation(run: Any, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """`num` samples in a row, and below it the same truncated: more typical pictures, less variety.

    Of a generator with styles, rows go towards the mean style (Karras et al. 2019, arXiv 1812.04948, appendix B). Of
    any other, numbers of a latent beyond a threshold are drawn again until they lie within it (Brock et al. 2019, arXiv
    1809.11096, section 3.1).
    """
    z, classes = _drawn(run, num, seed, labels)
    styles = styles_of(run, z, classes)
    if styles is None:
        rows = [z, *(truncated(z, threshold, seed) for threshold in THRESHOLDS)]
        caption = f"rows: all latents, then those within {_listed(THRESHOLDS)}"
    else:
        mean = run.nets["generator"].mean_style.float().cpu()
        rows = [torch.lerp(mean, styles, share) for share in SHARES]
        caption = f"rows: --truncation {_listed(SHARES)}"
    images = generate(run, torch.cat(rows), None if classes is None else classes.repeat(len(rows)))
    return Sheet(pictures.grid(unscale(images).numpy(), columns=num), caption)


def style_mixing(run: Any, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """Some of the layers' styles of the top row's samples in the left column's (Karras et al. 2019, figure 3).

    Three bands of two rows: the styles of the coarse third of the layers come from above, then those of the middle
    third, then those of the fine third. arXiv 1812.04948. Raises ValueError for a generator without styles.
    """
    z, classes = _drawn(run, num + ROWS, seed, labels)
    styles = styles_of(run, z, classes)
    if styles is None:
        names = [name for name, made in generators.classes.items() if hasattr(made, "styles")]
        raise ValueError(
            f"--grid style-mixing: the generator of {run.path} has no styles; these have: {', '.join(sorted(names))}"
        )
    above, left = styles[:num], styles[num:]
    layers = styles.shape[1]
    rows = [above]
    for band in np.array_split(np.arange(layers), 3):
        mixed = left[:, None].repeat(1, num, 1, 1)  # [ROWS, num, layers, D]
        mixed[:, :, band] = above[None, :, band]
        rows.append(torch.cat([left[:, None], mixed], dim=1).flatten(0, 1))
    images = generate(run, torch.cat(rows), None)
    sheet = unscale(torch.cat([torch.ones_like(images[:1]), images])).numpy()  # a blank corner
    caption = "bands: the coarse, the middle and the fine layers' styles of the top row, the others of the left column"
    return Sheet(pictures.grid(sheet, columns=num + 1), caption)


def truncated(z: Tensor, threshold: float, seed: int) -> Tensor:
    """Latents whose numbers beyond +-threshold are drawn again until they lie within it."""
    z, random = z.clone(), torch.Generator().manual_seed(key("truncation", seed))
    while len(beyond := (z.abs() > threshold).nonzero(as_tuple=True)[0]):
        z[z.abs() > threshold] = torch.randn(len(beyond), generator=random)
    return z


def directions(run: Any, num: int, seed: int, labels: Tensor | None) -> Sheet:
    """`num` rows, each along a principal direction from one sample (Harkonen et al. 2020, arXiv 2004.02546, section 3).

    The principal components are those of many styles, or, for a generator without them, of what its first layer makes
    of many latents; a direction of latents is then the regression of the latents on a component's coordinate. All
    pictures have one class. Raises ValueError for more directions than there are.
    """
    z, classes = run.task.latents(LATENTS, seed)
    label = labels[:1] if labels is not None else None if classes is None else classes[:1]
    styles = styles_of(run, z, None if label is None else label.repeat(len(z)))
    if styles is None:
        start, steps = z[0], principal_directions(first_layer(run, z, label), z, num)
    else:
        start, steps = styles[0], principal_directions(styles[:, 0], styles[:, 0], num)[:, None]
    share = torch.linspace(-WIDE, WIDE, STEPS).view(1, STEPS, *[1] * start.dim())
    path = start + share * steps[:, None]  # [num, STEPS, latent_dim], or [num, STEPS, layers, latent_dim]
    images = generate(run, path.flatten(0, 1), None if label is None else label.repeat(num * STEPS))
    caption = f"rows: principal directions, from {-WIDE:g} to {WIDE:g} standard deviations"
    return Sheet(pictures.grid(unscale(images).numpy(), columns=STEPS), caption)


def principal_directions(features: Tensor, z: Tensor, num: int) -> Tensor:
    """Steps [num, D] of latents or styles [N, D] that move features [N, ...] by one standard deviation of a component.

    Most important first. Raises ValueError for more directions than the features have.
    """
    steps = all_directions(features, z)
    if num > (most := len(steps)):
        raise ValueError(
            f"--grid directions: the generator's first layer or styles have {most}; give --num {most} or less"
        )
    return steps[:num]


def all_directions(features: Tensor, z: Tensor) -> Tensor:
    """As many `principal_directions` as there are: for each component, the regression of `z` on its coordinate."""
    flat = features.flatten(1).double()
    flat = flat - flat.mean(0)
    values, vectors = torch.linalg.eigh(flat @ flat.T)  # of the smaller Gram matrix: coordinates without components
    most = int((values > 1e-6 * values[-1]).sum())
    coordinates = vectors[:, len(z) - most :].flip(1) * len(z) ** 0.5  # [N, most], of standard deviation 1
    steps = coordinates.T @ (z.double() - z.double().mean(0)) / len(z)
    return steps.float()


def _drawn(run: Any, num: int, seed: int, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Latents [num, latent_dim] and their classes [num]: drawn, or these in turn."""
    z, classes = run.task.latents(num, seed)
    return z, classes if labels is None else labels.repeat(-(-num // len(labels)))[:num]


def has_styles(run: Any) -> bool:
    """Whether the run's generator makes styles of latents and pictures of styles."""
    return hasattr(run.nets["generator"], "styles")


def styles_of(run: Any, z: Tensor, label: Tensor | None) -> Tensor | None:
    """The styles [N, layers, D] of latents [N, latent_dim] and classes [N]; None for a generator without any."""
    if not has_styles(run):
        return None
    with inference(run.nets, run.batch_norm, run.task.warm) as nets, torch.no_grad():
        net: Any = nets["generator"]
        device = next(net.parameters()).device
        styles: Tensor = net.styles(z.to(device), None if label is None else label.to(device))
    return styles.float().cpu()


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def first_layer(run: Any, z: Tensor, label: Tensor | None) -> Tensor:
    """What the generator's first layer with weights makes of latents [N, latent_dim]: [N, ...].

    Layers whose output is the same for all of them, such as one that sees the class alone, do not count.
    """
    made: list[Tensor] = []
    first: list[nn.Module] = []

    def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if not first and bool((output != output[:1]).any()):
            first.append(layer)
        if first and layer is first[0]:
            made.append(output.float().cpu())

    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    layers = [layer for layer in run.nets["generator"].modules() if isinstance(layer, kinds)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        generate(run, z, None if label is None else label.repeat(len(z)))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(made)


def generate(run: Any, z: Tensor, label: Tensor | None) -> Tensor:
    """Samples [N, ...] for latents [N, latent_dim], or styles [N, layers, D], and classes [N]."""
    with inference(run.nets, run.batch_norm, run.task.warm) as nets:
        samples: Tensor = run.task.generate(nets, z, label)
    return run.finite(samples)
