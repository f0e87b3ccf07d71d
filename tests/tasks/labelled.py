"""Labelled toy pictures for tasks in which a classifier plays: one domain, or two."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.datasets.columns import Column, described_by
from gan_lab.datasets.domains import columns_of, two_domains
from gan_lab.datasets.masks import Classes, Labelled, masked_columns, partly_labelled
from gan_lab.datasets.store import Store, height_width, resize, unscale
from gan_lab.registry import NonNegative, Positive, datasets
from tests.tasks.toys import PATCHES, UNET, smooth

CLASSES, SHAPE = 3, (1, 8, 8)


def labelled(num: int, seed: int, shift: float = 0.0) -> dict[str, Tensor]:
    """Pictures of three classes: one third of the picture is bright. `shift` darkens or brightens all of it."""
    label = torch.arange(num) % CLASSES
    pictures = smooth(SHAPE, num, seed) * 0.3 - 0.5
    for row, number in enumerate(label.tolist()):
        pictures[row, :, :, 3 * number : 3 * number + 3] += 0.9
    return {"sample": unscale((pictures + shift).clamp(-1, 1)), "label": label}


@datasets.register("toy_labelled")
class ToyLabelled:
    """Pictures of 8 px and three classes."""

    num_classes, sample_shape, splits = CLASSES, SHAPE, ("train", "test")
    columns = described_by(SHAPE, CLASSES)

    def load(self, split: str = "train") -> Store:
        return Store(labelled(24, 0) if split == "train" else labelled(18, 1))


@datasets.register("toy_labelled_16")
class ToyLabelled16:
    """The same in 16 px."""

    num_classes, splits = CLASSES, ("train", "test")

    def __init__(self, *, image_size: Positive | tuple[Positive, Positive] = 16) -> None:
        self.size = height_width(image_size)
        self.sample_shape = (1, *self.size)
        self.columns = described_by(self.sample_shape, CLASSES)

    def load(self, split: str = "train") -> Store:
        columns = labelled(60, 0) if split == "train" else labelled(30, 1)
        columns["sample"] = torch.from_numpy(resize(columns["sample"].numpy(), self.size))
        return Store(columns)


@datasets.register("toy_labelled_domains")
class ToyDomains:
    """The same as the source, and brighter ones as the target, with `planted` wrong labels of the target."""

    num_classes, sample_shape, splits = CLASSES, SHAPE, ("train", "test")

    def __init__(self, *, planted: NonNegative = 0, target_classes: Positive = CLASSES) -> None:
        self.planted = planted
        self.columns = columns_of(SHAPE, CLASSES)
        self.columns["other_label"] = Column("label", (), "int64", num_classes=target_classes)

    def load(self, split: str = "train") -> Store:
        source = labelled(24, 0) if split == "train" else labelled(18, 1)
        target = labelled(21, 2, 0.3) if split == "train" else labelled(15, 3, 0.3)
        target["label"] = (target["label"] + self.planted) % CLASSES
        return two_domains(Store(source), Store(target))


@datasets.register("toy_masks")
class ToyMasks:
    """Smooth pictures of 16 px; a mask is where they are bright: two classes, or three by two levels."""

    num_classes, splits = None, ("train", "test")

    def __init__(
        self, *, image_size: Positive | tuple[Positive, Positive] = 16, classes: Classes = 2, labelled: Labelled = 1.0
    ) -> None:
        self.size, self.classes, self.labelled = height_width(image_size), classes, labelled
        self.sample_shape = (1, *self.size)
        self.columns = masked_columns(
            Column("picture", self.sample_shape, "uint8", (-1.0, 1.0), spacing=(2.0, 0.5)), classes, labelled
        )

    def load(self, split: str = "train") -> Store:
        pictures = smooth(self.sample_shape, *((24, 0) if split == "train" else (18, 1)))
        mask = sum((pictures[:, 0] > level).to(torch.uint8) for level in (0.0, 0.4)[: self.classes - 1])
        assert isinstance(mask, Tensor)
        store = Store({"sample": unscale(pictures), "mask": mask})
        return partly_labelled(store, self.labelled, self.classes) if split == "train" else store


LENET = ["classifier=lenet", "classifier.width=2", "classifier.feature_dim=4"]
ADAPTATION = ["task=adaptation", *LENET, "discriminator=mlp", "discriminator.width=4", "dataset=toy_labelled_domains"]
ADDA = [*ADAPTATION, "task=adda", "task.source_images=16"]
ATTACK = [
    "task=attack", "task.classifier_images=16", "task.pgd_steps=2", *LENET, *UNET, *PATCHES, "dataset=toy_labelled",
]  # fmt: skip
DETECTOR = [
    "encoder=dcgan", "encoder.width=4", "generator=dcgan", "generator.width=4", "generator.latent_dim=6",
    "discriminator=dcgan", "discriminator.width=4", "discriminator.normalization=none", "dataset=one_vs_rest",
    "dataset.source=toy_labelled_16",
]  # fmt: skip
ANOMALY = ["task=fanogan", "task.gan_images=16", *DETECTOR]
GANOMALY = ["task=ganomaly", *DETECTOR]
SEGMENTATION = ["task=segmentation", *UNET, *PATCHES, "dataset=toy_masks"]
