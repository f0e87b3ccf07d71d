"""CIFAR-10 (Krizhevsky 2009): 50,000 colour pictures of ten classes."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

from gan_lab.datasets.store import Rows, Store, cache_folder, cached, content_key, height_width, resize
from gan_lab.registry import Positive, datasets

CHUNK = 2_000  # pictures resized at once


@datasets.register("cifar10")
class CIFAR10:
    """From `path`, a folder that holds `cifar-10-batches-py` or its archive, else by torchvision's download.

    32 px as they are, other sizes by bilinear resizing. Raises ValueError where the pictures cannot be had.
    """

    num_classes = 10

    def __init__(self, *, path: str | None = None, image_size: Positive | tuple[Positive, Positive] = 32) -> None:
        self.path, self.size = path and Path(path).expanduser(), height_width(image_size)
        self.sample_shape = (3, *self.size)
        if self.path and not self.path.is_dir():
            raise ValueError(f"dataset.path={path}: there is no such folder")

    def load(self, split: str = "train") -> Store:
        return cached("cifar10", content_key(self.size, split, 1), lambda skipped: self._rows(split))

    def _rows(self, split: str) -> Rows:
        from torchvision import datasets as torchvision_datasets  # it takes seconds to import

        root = self.path or cache_folder() / "downloads"
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # a progress bar with its own ideas
                # It unpickles only files whose published checksums match.
                source = torchvision_datasets.CIFAR10(
                    str(root), train=split == "train", download=not self.path or _archive(root)
                )
        except (OSError, RuntimeError) as error:
            where = f"dataset.path={self.path} holds no whole cifar-10-batches-py or cifar-10-python.tar.gz"
            raise ValueError(
                f"{where} ({error})"
                if self.path
                else f"CIFAR-10 cannot be downloaded ({error}); give "
                "dataset.path=FOLDER with cifar-10-python.tar.gz in it"
            ) from error
        labels = np.asarray(source.targets, dtype=np.int64)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            yield {"sample": resize(source.data[part], self.size), "label": labels[part]}


def _archive(root: Path) -> bool:
    """Whether torchvision may unpack an archive that is there: a damaged one it would replace by a download."""
    from torchvision.datasets import CIFAR10 as Source
    from torchvision.datasets.utils import check_integrity

    return bool(check_integrity(str(root / Source.filename), Source.tgz_md5))
