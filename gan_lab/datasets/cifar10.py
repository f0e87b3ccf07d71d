"""CIFAR-10 (Krizhevsky 2009): 50,000 colour pictures of ten classes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.sources import blocks, folder_or_archive, given_folder, resized
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, datasets

LARGEST = 64 << 20  # bytes of a file, which is read at once; the published ones have half of that


@datasets.register("cifar10")
class CIFAR10:
    """From `path`, a folder that holds `cifar-10-batches-py` or its archive, else by torchvision's download.

    32 px unchanged, other sizes by bilinear resizing. Splits "train" (50,000) and "test" (10,000). Raises ValueError
    where the pictures cannot be read or downloaded.
    """

    num_classes = 10
    splits = ("train", "test")
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(self, *, path: str | None = None, image_size: Positive | tuple[Positive, Positive] = 32) -> None:
        self.path, self.size = given_folder(path), height_width(image_size)
        self.sample_shape = (3, *self.size)

    def load(self, split: str = "train") -> Store:
        """Pictures, uint8 [N, H, W, 3], and classes. Checksums fix the files' content, so the key omits it."""
        return cached("cifar10", content_key(self.size, split, 1), lambda skipped: self._rows(split))

    def _rows(self, split: str) -> Rows:
        from torchvision.datasets import CIFAR10 as Published  # it takes seconds to import

        place = folder_or_archive(self.path, "CIFAR-10", Published)
        for name, md5 in Published.train_list if split == "train" else Published.test_list:
            yield from resized(*_batch(place, name, md5), self.size)


def _batch(place: Path, name: str, md5: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [n, 32, 32, 3] and classes [n] of one file. It is unpickled only after its checksum was verified."""
    batch = pickle.loads(b"".join(blocks(place, name, md5, most=LARGEST)), encoding="latin1")
    pixels = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)  # red, green and blue planes
    return pixels.transpose(0, 2, 3, 1), np.asarray(batch["labels"], dtype=np.int64)
