"""Pictures with masks of classes: their columns, and a share of them of which the masks are not used."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch

from gan_lab.datasets.cache import Rows
from gan_lab.datasets.columns import Column
from gan_lab.datasets.store import Store
from gan_lab.registry import Bounds

DOMAIN = "unlabelled"  # of pictures alone, and the name of their column
CLASSES = 255  # at most: a mask is stored in 8 bits
Labelled = Annotated[float, Bounds(0.0, 1.0)]  # the share of training pictures whose masks are used
Classes = Annotated[int, Bounds(2, CLASSES)]


def masked_columns(picture: Column, num_classes: int, labelled: float) -> dict[str, Column]:
    """`sample` and `mask` and, where masks are left out, `unlabelled`. Raises ValueError for a share of 0."""
    if labelled == 0:
        raise ValueError("dataset.labelled=0: nothing would say what a class looks like; give more, such as 0.1")
    columns = {"sample": picture, "mask": Column("mask", picture.shape[1:], "uint8", num_classes=num_classes)}
    return columns if labelled == 1 else columns | {DOMAIN: picture}


def partly_labelled(store: Store, labelled: float, classes: int = 2, *, spread: bool = False) -> Store:
    """A store of `sample` and `mask` in which some rows keep their masks: others' pictures are the column `unlabelled`.

    The first rows keep theirs, at least one: neighbours look alike, so a random choice would give away too much. With
    `spread`, those at equal distances do, as an annotator of a volume outlines each n-th slice. Raises ValueError where
    no mask has a pixel of some class.
    """
    pictures, masks = store.columns["sample"], store.columns["mask"]
    count = min(max(round(labelled * len(pictures)), 1), len(pictures))
    chosen = torch.zeros(len(pictures), dtype=torch.bool)
    chosen[torch.arange(count) * len(pictures) // count + (len(pictures) // count // 2) if spread else slice(count)] = (
        True
    )
    kept = masks[chosen]
    found = torch.bincount(kept.flatten(), minlength=classes)
    if lost := [str(number) for number in range(classes) if not found[number]]:
        raise ValueError(
            f"no training mask has a pixel of class {', '.join(lost)}, so nothing could be learned of it: give other "
            "masks, or a larger dataset.labelled"
        )
    if count == len(pictures):
        return store
    columns = {"sample": pictures[chosen], "mask": kept, DOMAIN: pictures[~chosen]}
    return Store(columns, store.skipped, {DOMAIN: [DOMAIN]})


def with_masks(pictures: np.ndarray, masks: np.ndarray, at_once: int = 256) -> Rows:
    """Rows of pictures [N, H, W, C] and of masks [N, H, W]."""
    for start in range(0, len(pictures), at_once):
        part = slice(start, start + at_once)
        yield {"sample": pictures[part], "mask": masks[part].astype(np.uint8)}
