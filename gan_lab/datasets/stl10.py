"""STL-10 (Coates, Ng and Lee 2011, AISTATS): 100,000 colour pictures without labels, and 5,000 of ten classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.sources import blocks, folder_or_archive, given_folder, resized
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, datasets

AT_ONCE = 500  # pictures of 96 px read between two writes
BYTES = 3 * 96 * 96


@datasets.register("stl10")
class STL10:
    """From `path`, a folder that holds `stl10_binary` or its archive, else by torchvision's download (2.6 GB).

    96 px unchanged; other sizes by antialiased bilinear resizing. Most papers train on 48 px. `part` is the content of
    split "train"; there are labels only with `part="train"`. Split "test" has 8,000 pictures, and labels if "train" has
    them. Raises ValueError where the pictures cannot be read or downloaded.
    """

    splits = ("train", "test")

    def __init__(
        self,
        *,
        path: str | None = None,
        image_size: Positive | tuple[Positive, Positive] = 48,
        part: Literal["unlabeled", "train", "train+unlabeled"] = "unlabeled",
    ) -> None:
        self.path, self.size, self.part = given_folder(path), height_width(image_size), part
        self.sample_shape = (3, *self.size)
        self.class_names = (
            ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
            if part == "train"
            else None
        )
        self.num_classes = len(self.class_names) if self.class_names else None

    def load(self, split: str = "train") -> Store:
        """Pictures, uint8 [N, H, W, 3], and classes, if any. Checksums fix the files' content, so the key omits it."""
        names = self.part.split("+") if split == "train" else ["test"]
        labelled = self.class_names is not None
        key = content_key(self.size, names, labelled, 1)
        return cached("stl10", key, lambda skipped: self._rows(names, labelled))

    def _rows(self, names: list[str], labelled: bool) -> Rows:
        from torchvision.datasets import STL10 as Published  # it takes seconds to import

        place = folder_or_archive(self.path, "STL-10", Published)
        checksums = dict([*Published.train_list, *Published.test_list])
        for name in names:
            labels = None
            if labelled:
                content = b"".join(blocks(place, f"{name}_y.bin", checksums[f"{name}_y.bin"], most=1 << 20))
                labels = np.frombuffer(content, np.uint8) - 1  # the file counts from 1
            start = 0
            for images in _pictures(place, f"{name}_X.bin", checksums[f"{name}_X.bin"]):
                part = None if labels is None else labels[start : start + len(images)]
                yield from resized(images, part, self.size)
                start += len(images)


def _pictures(place: Path, name: str, md5: str) -> Iterator[np.ndarray]:
    """A file's pictures, uint8 [n, 96, 96, 3], some at a time. In the file, colour planes are stored by columns."""
    for block in blocks(place, name, md5, AT_ONCE * BYTES):
        if len(block) % BYTES:
            raise ValueError(f"{place} holds no whole {name} (it ends within a picture); download it again")
        yield np.frombuffer(bytearray(block), np.uint8).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
