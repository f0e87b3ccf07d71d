"""Two labelled domains with the same classes: a source that is learned from, and a target to adapt to.

Columns `sample` and `label` are the source's, `other` and `other_label` the target's, which has an order of its own.
No row of one domain is a row of the other.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from gan_lab.core.forward_pass import key
from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.fashion_mnist import FashionMNIST
from gan_lab.datasets.image_folder import ImageFolder
from gan_lab.datasets.mnist5k import MNIST5k
from gan_lab.datasets.store import Store, height_width, resize
from gan_lab.registry import Positive, datasets

DOMAIN = "target"
COARSE = 8  # pixels a side of scikit-learn's digits
BOX = 20  # pixels a side of the box into which MNIST's digits were fitted
TEST_DIGITS = 397  # of 1,797: the last ones, because neighbouring rows are often by one hand
Digits = Literal["mnist5k", "optdigits"]


def two_domains(source: Store, target: Store) -> Store:
    """One store of two labelled ones."""
    own = {"sample": source.columns["sample"], "label": source.columns["label"]}
    other = {"other": target.columns["sample"], "other_label": target.columns["label"]}
    return Store({**own, **other}, {**source.skipped, **target.skipped}, {DOMAIN: list(other)})


def columns_of(shape: tuple[int, int, int], num_classes: int) -> dict[str, Column]:
    """Both domains' columns: pictures (C, H, W) of 8 bits, and classes."""
    picture = Column("picture", shape, "uint8", (-1.0, 1.0))
    label = Column("label", (), "int64", num_classes=num_classes)
    return {"sample": picture, "label": label, "other": picture, "other_label": label}


# -- digits ------------------------------------------------------------------------------------------------------------


@datasets.register("digit_domains")
class DigitDomains:
    """Digits of Americans at 28 px (`mnist5k`) and of Turks at 8 px (`optdigits`, scikit-learn's `load_digits`).

    Both are brought to 8 x 8 pixels, then enlarged bilinearly to `image_size`, so that sharpness does not tell the
    domains apart. Of MNIST, the central 20 x 20 pixels are taken, into which its digits were fitted; scikit-learn's
    fill their frame. `optdigits` are 1,400 rows to train and the last 397 to test. A domain may be both source and
    target, which gives what a network reaches with the target's labels. Raises ValueError where a package is missing.
    """

    num_classes = 10
    splits = ("train", "test")

    def __init__(
        self,
        *,
        source: Digits = "mnist5k",
        target: Digits = "optdigits",
        image_size: Positive | tuple[Positive, Positive] = 16,
    ) -> None:
        self.size, self.names = height_width(image_size), (source, target)
        self.sample_shape = (1, *self.size)
        self.columns = columns_of(self.sample_shape, self.num_classes)
        self.mnist = MNIST5k(image_size=28) if "mnist5k" in self.names else None
        if "optdigits" in self.names:
            try:
                import sklearn.datasets  # noqa: F401
            except ImportError as error:
                raise ValueError(
                    'dataset=digit_domains needs scikit-learn for optdigits: pip install "hydra-gan-lab[data]"'
                ) from error

    def load(self, split: str = "train") -> Store:
        return two_domains(*(self._store(name, split) for name in self.names))

    def _store(self, name: Digits, split: str) -> Store:
        return cached("digit_domain", content_key(name, self.size, split, 1), lambda _: self._rows(name, split))

    def _rows(self, name: Digits, split: str) -> Rows:
        pictures, labels = self._coarse(name, split)
        yield {"sample": resize(pictures, self.size), "label": labels}

    def _coarse(self, name: Digits, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Pictures uint8 [N, 8, 8, 1] and classes int64 [N]."""
        if name == "mnist5k":
            assert self.mnist is not None
            store, edge = self.mnist.load(split), (28 - BOX) // 2
            box = store.columns["sample"][:, edge : edge + BOX, edge : edge + BOX]
            return resize(np.ascontiguousarray(box.numpy()), (COARSE, COARSE)), store.columns["label"].numpy()
        from sklearn.datasets import load_digits

        digits = load_digits()
        rows = slice(-TEST_DIGITS, None) if split == "test" else slice(-TEST_DIGITS)
        pictures = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
        return pictures[..., None], digits.target[rows].astype(np.int64)


# -- a data set and its degraded self ----------------------------------------------------------------------------------


@datasets.register("degraded_domains")
class DegradedDomains:
    """Fashion-MNIST as it is, and as a bad scanner gives it: one half of the rows each, so that no picture is in both.

    `change` is what happens to the target: `blur` (a mean over 5 x 5 pixels), `noise` (Gaussian, of standard deviation
    64 of 255, the same for a row each time) or `inversion`. `path` and `image_size` as of fashion_mnist.
    """

    num_classes = FashionMNIST.num_classes
    class_names = FashionMNIST.class_names
    splits = ("train", "test")

    def __init__(
        self,
        *,
        path: str | None = None,
        change: Literal["blur", "noise", "inversion"] = "inversion",
        image_size: Positive | tuple[Positive, Positive] = 28,
    ) -> None:
        self.clothes, self.change = FashionMNIST(path=path, image_size=image_size), change
        self.sample_shape = self.clothes.sample_shape
        self.columns = columns_of(self.sample_shape, self.num_classes)

    def load(self, split: str = "train") -> Store:
        whole = self.clothes.load(split)
        half = len(whole) // 2
        source, target = (
            {name: column[rows] for name, column in whole.columns.items()} for rows in (slice(half), slice(half, None))
        )
        changed = cached(
            "degraded_domain",
            content_key(whole.digest, self.change, split, 1),
            lambda _: iter([{"sample": degraded(target["sample"].numpy(), self.change, split)}]),
        )
        return two_domains(Store(source), Store({**target, "sample": changed.columns["sample"]}))


def degraded(pictures: np.ndarray, change: str, split: str) -> np.ndarray:
    """Pictures uint8 [N, H, W, C], blurred, with noise, or inverted."""
    if change == "inversion":
        return 255 - pictures
    values = torch.from_numpy(pictures).float().permute(0, 3, 1, 2)
    if change == "blur":
        values = avg_pool2d(values, 5, stride=1, padding=2, count_include_pad=True)
    else:
        random = torch.Generator().manual_seed(key("degraded", split))
        values = values + 64 * torch.randn(values.shape, generator=random)
    return values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


# -- folders -----------------------------------------------------------------------------------------------------------


@datasets.register("domain_folders")
class DomainFolders:
    """Two folders of anybody's own, each with one sub-folder a class: `path` is the source, `other_path` the target.

    Pictures are read as by image_folder. `test_path` and `other_test_path` are the held-out ones, both or neither. The
    target's labels are read by scores alone. Raises ValueError where the sub-folders differ.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        other_path: str | None = None,
        test_path: str | None = None,
        other_test_path: str | None = None,
        image_size: Positive | tuple[Positive, Positive] = 32,
        image_channels: Positive = 3,
    ) -> None:
        if path is None or other_path is None:
            raise ValueError("dataset=domain_folders needs dataset.path=FOLDER and dataset.other_path=FOLDER")
        if (test_path is None) != (other_test_path is None):
            raise ValueError("dataset=domain_folders needs both dataset.test_path and dataset.other_test_path")
        size: Any = {"image_size": image_size, "image_channels": image_channels, "class_folders": True}
        self.source = ImageFolder(path=path, test_path=test_path, **size)
        self.target = ImageFolder(path=other_path, test_path=other_test_path, **size)
        ours, theirs = self.source.class_names, self.target.class_names
        assert ours is not None
        assert theirs is not None
        if strange := sorted({*ours} ^ {*theirs}):
            raise ValueError(
                f"dataset.path={path} and dataset.other_path={other_path} have other classes ({', '.join(strange[:5])} "
                "in one alone): give both the same sub-folders"
            )
        self.class_names, self.num_classes = ours, len(ours)
        self.sample_shape, self.splits = self.source.sample_shape, self.source.splits
        self.columns = columns_of(self.sample_shape, self.num_classes)

    def load(self, split: str = "train") -> Store:
        return two_domains(self.source.load(split), self.target.load(split))
