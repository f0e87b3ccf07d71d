"""Nuclei under a fluorescence microscope, with a mask: real medical pictures that ship inside a package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.exact import Unreadable, read_array
from gan_lab.datasets.masks import Labelled, masked_columns, partly_labelled, with_masks
from gan_lab.datasets.photographs import patches_of
from gan_lab.datasets.sources import file_digest
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, datasets, unknown

FILES = ("img2d.tif", "mask2d.tif")


@datasets.register("nuclei")
class Nuclei:
    """Patches of a picture of 512 x 512 px with 125 nuclei, and masks of 0 (between them) and 1 (nucleus).

    stardist 0.9.2 ships it (Schmidt et al. 2018, arXiv 1806.03535). Of the upper half to train, `stride` apart; of the
    lower half to test, side by side. `labelled` is the share of training patches whose masks are used, from the top:
    the others are the column `unlabelled`. Raises ValueError where stardist is not installed, and for patches of more
    than 256 px.
    """

    num_classes = None
    splits = ("train", "test")

    def __init__(
        self,
        *,
        image_size: Positive | tuple[Positive, Positive] = 64,
        stride: Positive = 16,
        labelled: Labelled = 1.0,
    ) -> None:
        self.size, self.stride, self.labelled = height_width(image_size), stride, labelled
        if self.size[0] > 256 or self.size[1] > 512:
            raise ValueError(f"dataset.image_size={image_size}: half of the picture has 256 x 512 px; give fewer")
        self.sample_shape = (1, *self.size)
        self.columns = masked_columns(Column("picture", self.sample_shape, "uint8", (-1.0, 1.0)), 2, labelled)
        package = importlib.util.find_spec("stardist")  # not imported: it would import TensorFlow
        places = (package and package.submodule_search_locations) or ["."]
        self.files = [Path(places[0]) / "data/images" / name for name in FILES]
        if not all(file.is_file() for file in self.files):
            raise ValueError("dataset=nuclei needs the pictures that stardist ships: pip install --no-deps stardist")

    def load(self, split: str = "train") -> Store:
        """Columns `sample` uint8 [N, H, W, 1] and `mask` uint8 [N, H, W]; see `partly_labelled`."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        key = content_key([file_digest(file) for file in self.files], self.size, self.stride, split, 1)
        store = cached("nuclei", key, lambda skipped: self._rows(split))
        return partly_labelled(store, self.labelled) if split == "train" else store

    def _rows(self, split: str) -> Rows:
        try:
            picture, mask = (read_array(file) for file in self.files)
        except Unreadable as error:
            raise ValueError(f"dataset=nuclei: {self.files[0].parent}: {error}; install stardist again") from error
        both = np.concatenate([picture.astype(np.uint8), (mask > 0).astype(np.uint8)], axis=2)
        half = both[:256] if split == "train" else both[256:]
        grid = (self.stride, self.stride) if split == "train" else self.size
        patches = np.concatenate([*patches_of(half, self.size, grid)])
        return with_masks(patches[..., :1], patches[..., 1])
