"""A user's own pictures with masks: two folders, matched by name."""

from __future__ import annotations

import numpy as np
import torch

from gan_lab.datasets.masks import Classes, Labelled, masked_columns, partly_labelled
from gan_lab.datasets.pairs import Pairs
from gan_lab.datasets.store import Store
from gan_lab.registry import Positive, Share, datasets


@datasets.register("masked_folder")
class MaskedFolder:
    """Pictures of `path/images` with masks of the same size in `path/masks`: `images/a.png` and `masks/a.png`.

    With two classes, whatever is not 0 in a mask is the second one; with more, values are the numbers of classes. The
    rest is as for `dataset=pairs`: nothing is resized, `image_size` crops the centres, test pictures lie in `test_path`
    or are the last `test_share` by name, and `value_range` is for float pictures. `labelled` is the share of training
    pictures whose masks are used, in the order of their names. Raises ValueError for anything that does not fit.
    """

    num_classes = None

    def __init__(
        self,
        *,
        path: str | None = None,
        images: str = "images",
        masks: str = "masks",
        mask_classes: Classes = 2,
        test_path: str | None = None,
        test_share: Share = 0.2,
        image_size: Positive | tuple[Positive, Positive] | None = None,
        image_channels: Positive = 1,
        value_range: tuple[float, float] | None = None,
        labelled: Labelled = 1.0,
    ) -> None:
        if path is None:
            raise ValueError(
                f"dataset=masked_folder needs dataset.path=FOLDER with the sub-folders {images} and {masks}"
            )
        self.pairs = Pairs(
            path=path, source=images, target=masks, test_path=test_path, test_share=test_share, image_size=image_size,
            source_channels=image_channels, image_channels=1, value_range=value_range,
        )  # fmt: skip
        picture, mask = self.pairs.columns["source"], self.pairs.columns["target"]
        if mask.shape[1:] != picture.shape[1:]:
            sizes = " and masks of ".join(" x ".join(map(str, shape[1:])) for shape in (picture.shape, mask.shape))
            raise ValueError(f"dataset.path={path} has pictures of {sizes} (height x width): make them equal")
        if not mask.dtype.startswith("uint"):
            raise ValueError(f"dataset.path={path}: its {masks} hold {mask.dtype}; save masks as PNG of 8 or 16 bits")
        self.classes, self.labelled, self.folder = mask_classes, labelled, path
        self.splits, self.sample_shape = self.pairs.splits, picture.shape
        self.columns = masked_columns(picture, mask_classes, labelled)

    def load(self, split: str = "train") -> Store:
        """Columns `sample` [N, H, W, C] and `mask` uint8 [N, H, W]; see `partly_labelled`.

        Raises ValueError for a mask with a class that is none, and for a class without a pixel to learn from.
        """
        pairs = self.pairs.load(split)
        values = pairs.columns["target"][..., 0].numpy()
        mask = (values > 0) if self.classes == 2 else values
        if int(mask.max()) >= self.classes:
            raise ValueError(
                f"dataset.path={self.folder} has masks with the value {mask.max()}, and classes are 0 to "
                f"{self.classes - 1}: set dataset.mask_classes={int(mask.max()) + 1}"
            )
        columns = {"sample": pairs.columns["source"], "mask": torch.from_numpy(mask.astype(np.uint8))}
        store = Store(columns, pairs.skipped)
        return partly_labelled(store, self.labelled, self.classes) if split == "train" else store
