"""One class of a labelled data set as what is normal, and all others as what is not."""

from __future__ import annotations

from gan_lab.datasets.columns import Column
from gan_lab.datasets.nested import labelled_pictures
from gan_lab.datasets.store import Store
from gan_lab.registry import NonNegative, Positive, datasets


@datasets.register("one_vs_rest")
class OneVsRest:
    """Pictures of the class `normal` to train; all test pictures, with `anomaly` 0 for that class and 1 for others.

    `source` is any data set of labelled pictures with test pictures, and `path` its folder, if it reads one. A sweep
    over all classes: `-m dataset.normal=0,1,2,3,4,5,6,7,8,9`. Raises ValueError for a class that does not exist, for
    one without training pictures, and for a source without labels or test pictures.
    """

    num_classes = None
    splits = ("train", "test")

    def __init__(
        self,
        *,
        source: str = "fashion_mnist",
        path: str | None = None,
        normal: NonNegative = 0,
        image_size: Positive | tuple[Positive, Positive] = 32,
    ) -> None:
        self.source, self.name, self.normal = labelled_pictures(source, path, image_size), source, normal
        if normal >= self.source.num_classes:
            raise ValueError(f"dataset.normal={normal}: the classes of {source} are 0 to {self.source.num_classes - 1}")
        if "test" not in getattr(self.source, "splits", ()):
            raise ValueError(f"dataset.source={source} has no test pictures, among which anomalies would be looked for")
        self.sample_shape = self.source.sample_shape
        self.feature_extractor = getattr(self.source, "feature_extractor", None)
        self.columns = {
            "sample": Column("picture", self.sample_shape, "uint8", (-1.0, 1.0)),
            "anomaly": Column("label", (), "int64", num_classes=2),
        }

    def load(self, split: str = "train") -> Store:
        store = self.source.load(split)
        pictures, anomaly = store.columns["sample"], (store.columns["label"] != self.normal).long()
        if split == "train":
            normal = anomaly == 0
            if not normal.any():
                raise ValueError(f"dataset.normal={self.normal}: {self.name} has no training picture of that class")
            pictures, anomaly = pictures[normal], anomaly[normal]
        return Store({"sample": pictures, "anomaly": anomaly}, store.skipped)
