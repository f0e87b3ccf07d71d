"""Data sets of odd pictures for the tests of tasks, and the words of small runs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_lab.datasets.columns import Column
from gan_lab.datasets.store import Store, height_width, unscale
from gan_lab.registry import NonNegative, Positive, datasets

QUICK = [
    "experiment=none", "trainer.device=cpu", "trainer.batch_size=8", "trainer.ema=0.9", "tracking.samples=4",
    "tracking.wandb.mode=disabled",
]  # fmt: skip
SCORED = ["evaluation.selection_samples=16", "evaluation.samples=16"]
UNET = ["generator=unet", "generator.width=4", "generator.halvings=2"]
SRRESNET = ["generator=srresnet", "generator.width=4", "generator.blocks=1"]
PATCHES = ["discriminator=patchgan", "discriminator.width=4", "discriminator.layers=1"]
# No network of these looks at other rows of a batch.
ROWWISE = ["generator.normalization=none", "discriminator.normalization=none"]
AUTOENCODER = [
    "task=autoencoding", "encoder=vqvae", "encoder.width=4", "encoder.blocks=1", "generator=vqvae", "generator.width=4",
    "generator.blocks=1", *PATCHES, "bottleneck=kl", "bottleneck.channels=2",
]  # fmt: skip
UNPAIRED = ["task=unpaired", *UNET, *PATCHES, "dataset=toy_domains"]
CONTRASTIVE = ["task=contrastive", "task.dimensions=8", "task.patches=16", *UNET, *PATCHES, "dataset=toy_domains"]
TEXT = [
    "task=text", "generator=lstm", "generator.width=8", "discriminator=token_convolutions", "discriminator.width=4",
    "discriminator.representations=3", "dataset=oracle", "dataset.vocabulary_size=12", "dataset.length=6",
    "dataset.sentences=40", "loss=relativistic",
]  # fmt: skip
TRANSLATION = ["task=translation", *UNET, *PATCHES, "dataset=toy_deep", "degradation=super_resolution"]


def smooth(shape: tuple[int, int, int], num: int, seed: int) -> Tensor:
    """Smooth pictures [num, C, H, W] in [-1, 1], the same ones each time."""
    channels, *size = shape
    coarse = torch.rand(num, channels, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return interpolate(coarse, size, mode="bilinear")


@datasets.register("toy_deep")
class ToyDeep:
    """Smooth pictures of 8 or 16 bits or float, of any size and number of channels, with held-out ones.

    With `factor` they come as pairs: the source is the negative of the target, reduced by that.
    """

    num_classes = None
    splits = ("train", "test")

    def __init__(
        self,
        *,
        image_size: Positive | tuple[Positive, Positive] = 16,
        image_channels: Positive = 1,
        source_channels: Positive | None = None,
        dtype: Literal["uint8", "uint16", "float32"] = "uint8",
        factor: Positive | None = None,
        num: Positive = 24,
        variant: NonNegative = 0,
    ) -> None:
        height, width = height_width(image_size)
        self.sample_shape, self.dtype, self.factor, self.num = (image_channels, height, width), dtype, factor, num
        self.variant = variant
        self.columns = {"sample": self._column(self.sample_shape)}
        if factor is not None:
            source = (source_channels or image_channels, height // factor, width // factor)
            self.columns = {"source": self._column(source), "target": self._column(self.sample_shape)}

    def _column(self, shape: tuple[int, int, int]) -> Column:
        return Column("picture", shape, self.dtype, (-1.0, 1.0))

    def load(self, split: str = "train") -> Store:
        num, seed = (self.num, 0) if split == "train" else (self.num // 2, 1)
        seed += 2 * self.variant
        pictures: dict[str, Any] = {}
        if self.factor is None:
            pictures["sample"] = smooth(self.sample_shape, num, seed)
        else:
            pictures["target"] = smooth(self.sample_shape, num, seed)
            channels, height, width = self.columns["source"].shape
            small = interpolate(-pictures["target"][:, :1], (height, width), mode="area")
            pictures["source"] = small.expand(-1, channels, -1, -1)
        dtype = getattr(torch, self.dtype)
        return Store({name: unscale(pictures[name], dtype) for name in self.columns})


@datasets.register("toy_domains")
class ToyDomains:
    """Smooth pictures `a` and smooth ones `b`, brighter and of another number; with held-out ones.

    With `truth`, each picture knows its negative, which is how it looks in the other domain.
    """

    num_classes = None
    splits = ("train", "test")

    def __init__(
        self,
        *,
        image_size: Positive = 16,
        image_size_of_b: Positive | None = None,
        image_channels: Positive = 1,
        channels_of_b: Positive | None = None,
        num: Positive = 24,
        num_of_b: NonNegative = 20,
        truth: bool = True,
    ) -> None:
        size = image_size_of_b or image_size
        self.sample_shape = (channels_of_b or image_channels, size, size)
        self.num = {"a": num, "b": num_of_b}
        shapes = {"a": (image_channels, image_size, image_size), "b": self.sample_shape}
        self.truths = {"a": "a_as_b", "b": "b_as_a"} if truth else {}
        self.columns = {name: Column("picture", shape, "uint8", (-1.0, 1.0)) for name, shape in shapes.items()}
        self.columns |= {truth: self.columns[name] for name, truth in self.truths.items()}

    def load(self, split: str = "train") -> Store:
        columns = {}
        for seed, name in enumerate(("a", "b")):
            num = self.num[name] if split == "train" else self.num[name] // 2
            pictures = smooth(self.columns[name].shape, num, 2 * seed + (split == "test"))
            columns[name] = unscale(pictures * 0.5 + (0.5 if name == "b" else 0))
            if name in self.truths:
                columns[self.truths[name]] = 255 - columns[name]
        return Store(columns, domains={"b": [name for name in columns if name.startswith("b")]})
