"""Mixtures of Gaussians in the plane: toy data on which mode collapse is easy to see."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from gan_lab.datasets.stacked_modes import modes_kl
from gan_lab.datasets.store import Store
from gan_lab.registry import Positive, Rate, datasets

RADIUS = 3.0  # standard deviations within which a sample belongs to a mode


@datasets.register("mixture")
class Mixture:
    """8 Gaussians on a ring of `radius` (2), or 25 on a 5 x 5 grid with `spacing` (1); isotropic and equally likely.

    The layouts are VEEGAN's (Srivastava et al. 2017, arXiv 1705.07761, section 5.1), at a common scale; the presets
    `pacgan_ring` and `pacgan_grid` have PacGAN's (Lin et al. 2018, arXiv 1712.04086, section 4.1), whose modes are
    farther apart for their width. Metrics in closed form: `modes`, `high_quality` and `kl`. The modes are the classes.
    Raises ValueError for a radius of a grid and a spacing of a ring.
    """

    sample_shape = (2,)
    splits = ("train", "test")
    lower_is_better = ("kl",)

    def __init__(
        self,
        *,
        layout: Literal["ring", "grid"] = "ring",
        radius: Rate | None = None,
        spacing: Rate | None = None,
        std: Rate = 0.05,
        samples: Positive = 100_000,
    ) -> None:
        if layout == "ring":
            if spacing is not None:
                raise ValueError(f"dataset.spacing={spacing:g}: a ring has a radius; set dataset.radius")
            angles = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
            self.centers = (2 if radius is None else radius) * torch.stack([angles.cos(), angles.sin()], dim=1)
        else:
            if radius is not None:
                raise ValueError(f"dataset.radius={radius:g}: a grid has a spacing; set dataset.spacing")
            line = torch.arange(-2, 3, dtype=torch.float64)
            self.centers = (1 if spacing is None else spacing) * torch.cartesian_prod(line, line)
        self.layout, self.std, self.samples = layout, std, samples
        self.num_classes = len(self.centers)

    @property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]:
        return {
            "modes": lambda samples: modes(samples, self.centers, self.std),
            "high_quality": lambda samples: high_quality(samples, self.centers, self.std),
            "kl": lambda samples: kl(samples, self.centers),
        }

    def load(self, split: str = "train") -> Store:
        """Points [N, 2] and their modes: the same in every run, and different ones for split "test"."""
        random = torch.Generator().manual_seed({"train": 0, "test": 1}[split])
        label = torch.randint(len(self.centers), (self.samples,), generator=random)
        noise = torch.randn(self.samples, 2, generator=random, dtype=torch.float64)
        return Store({"sample": (self.centers[label] + self.std * noise).float(), "label": label})


# -- measures ----------------------------------------------------------------------------------------------------------
# In closed form (Srivastava et al. 2017, arXiv 1705.07761, section 5.1).


def _nearest(samples: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    distance, mode = torch.cdist(samples.double(), centers.double()).min(dim=1)
    return distance, mode


def modes(samples: Tensor, centers: Tensor, std: float) -> float:
    """The number of modes that have at least one of the samples [N, 2] within three standard deviations."""
    distance, mode = _nearest(samples, centers)
    return float(torch.unique(mode[distance < RADIUS * std]).numel())


def high_quality(samples: Tensor, centers: Tensor, std: float) -> float:
    """The share of samples [N, 2] within three standard deviations of a mode: 1 - exp(-9/2) = 0.989 for the truth."""
    distance, _ = _nearest(samples, centers)
    return float((distance < RADIUS * std).double().mean())


def kl(samples: Tensor, centers: Tensor) -> float:
    """KL(samples || data) of the shares of the modes in nats, each sample [N, 2] counted for the mode nearest to it.

    PacGAN's "reverse KL" (Lin et al. 2018, arXiv 1712.04086, section 4.1). About (M - 1) / 2N for a perfect generator
    of M modes, log M for one that makes a single mode. Samples that are not finite are left out; nan without samples.
    """
    _, mode = _nearest(samples[torch.isfinite(samples).all(1)], centers)
    return modes_kl(mode, torch.full((len(centers),), 1 / len(centers), dtype=torch.float64), channels=1)
