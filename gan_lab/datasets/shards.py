"""Shards: many pictures in each of many files, tar archives as webdataset writes them or Parquet as on the Hub."""

from __future__ import annotations

import glob
import importlib.util
import io
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.decoding import decode
from gan_lab.datasets.parquet_rows import samples_of_parquet
from gan_lab.datasets.sharded import LARGEST, Fault, Sample
from gan_lab.datasets.store import Store, height_width
from gan_lab.datasets.tar_rows import samples_of_tar
from gan_lab.datasets.trusted_files import shown_name
from gan_lab.registry import Positive, datasets

READERS = {".tar": samples_of_tar, ".parquet": samples_of_parquet}
CHUNK = 256  # pictures decoded between two writes
TOLD_EVERY = 30.0  # seconds between two lines of how far decoding has come


@datasets.register("shards")
class Shards:
    """All pictures of the shards that `path` names: a folder, a file, or a pattern such as `train-*.tar`.

    A `.tar` holds files that are called alike but for what follows the first dot, side by side: `0007.jpg` and
    `0007.cls`. A `.parquet` has a column of pictures with their bytes, and perhaps one of classes (`pip install
    "hydra-gan-lab[parquet]"`). Pictures are cropped and resized as by `image_folder`, and decoded once into files from
    which training maps what it needs: memory does not grow with their number. Nothing is unpacked to the disk.

    With `num_classes`, each picture must have a class, a number from 0 on: in a .tar the text of the file that ends in
    `label` ("cls"), or a field of a JSON ("json.label"); in a .parquet the column `label` ("label"). `picture` is the
    ending, or the column ("image"), of the picture where that is not plain. One without a readable picture or class is
    refused, or with `faulty=skip` left out and reported. `test_path` names shards of held-out pictures.

    Raises ValueError for a path without shards, and in `load` for a shard that is cut, damaged or not plain.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        test_path: str | None = None,
        image_size: Positive | tuple[Positive, Positive] = 64,
        image_channels: Literal[1, 3] = 3,
        num_classes: Positive | None = None,
        label: str | None = None,
        picture: str | None = None,
        faulty: Literal["refuse", "skip"] = "refuse",
    ) -> None:
        if path is None:
            raise ValueError("dataset=shards needs dataset.path=FOLDER, or a pattern such as 'FOLDER/train-*.tar'")
        self.size, self.channels, self.num_classes = height_width(image_size), image_channels, num_classes
        self.sample_shape = (self.channels, *self.size)
        self.picture, self.label, self.faulty = picture, label, faulty
        self.files = {"train": shards_of(path, "dataset.path")}
        if test_path is not None:
            self.files["test"] = shards_of(test_path, "dataset.test_path")
            if both := {file.resolve() for file in self.files["train"]} & {f.resolve() for f in self.files["test"]}:
                raise ValueError(f"dataset.path and dataset.test_path share {min(both).name}: held out is what differs")
        self.splits = tuple(self.files)

    def load(self, split: str = "train") -> Store:
        """Pictures, uint8 [N, H, W, C], and their classes, if any, in the order of the shards' names.

        The cache key has the shards' names, sizes and times of change: to read all of them at each start would be slow.
        """
        if split not in self.files:
            raise ValueError(f"split={split}: these shards have none; held-out ones: dataset.test_path")
        about = [(file.name, (found := file.stat()).st_size, found.st_mtime_ns) for file in self.files[split]]
        settings = self.sample_shape, self.num_classes, self.label, self.picture, self.faulty
        key = content_key(about, *settings, 1)
        return cached("shards", key, lambda skipped: self._rows(self.files[split], skipped), mapped=True)

    def _rows(self, files: list[Path], skipped: dict[str, str]) -> Rows:
        with ThreadPoolExecutor() as pool:
            for chunk in _chunks(self._samples(files, skipped)):
                pictures = list(pool.map(self._decoded, chunk))
                good = [i for i, picture in enumerate(pictures) if not isinstance(picture, str)]
                for sample, picture in zip(chunk, pictures, strict=True):
                    if isinstance(picture, str):
                        self._refuse(Fault(sample.name, picture), skipped)
                if good:
                    rows = {"sample": np.stack([pictures[i] for i in good])}
                    if self.num_classes:
                        rows["label"] = np.array([chunk[i].label for i in good], dtype=np.int64)
                    yield rows

    def _decoded(self, sample: Sample) -> np.ndarray | str:
        return decode(io.BytesIO(sample.picture), self.size, self.channels)

    def _samples(self, files: list[Path], skipped: dict[str, str]) -> Iterator[Sample]:
        progress = Progress(len(files))
        for file in files:
            read = READERS[file.suffix]
            for sample in read(file, self.picture, self.label, labelled=self.num_classes is not None):
                if isinstance(sample, Fault):
                    self._refuse(sample, skipped)
                elif self.num_classes and (sample.label or 0) >= self.num_classes:
                    why = f"its class {sample.label} is none of dataset.num_classes={self.num_classes}"
                    self._refuse(Fault(sample.name, why), skipped)
                else:
                    yield sample
                    progress.pictures += 1
            progress.tell()

    def _refuse(self, fault: Fault, skipped: dict[str, str]) -> None:
        if self.faulty == "refuse":
            said = shown_name(f"{fault.name}: {fault.why}")
            raise ValueError(f"{said}; dataset.faulty=skip leaves such pictures out")
        skipped[fault.name] = fault.why


def shards_of(path: str, setting: str) -> list[Path]:
    """The shards, all of one kind, that a folder, a file or a pattern names, sorted by name.

    Raises ValueError where there are none, where kinds are mixed, and for Parquet without the package that reads it.
    """
    place = Path(path).expanduser()
    found = [place] if place.is_file() else place.iterdir() if place.is_dir() else map(Path, glob.glob(str(place)))
    files = sorted(file for file in found if file.suffix in READERS and file.is_file())
    if not files:
        raise ValueError(f"{setting}={path}: there is no shard, {' or '.join(READERS)} (unpack a .tar.gz)")
    if len(kinds := {file.suffix for file in files}) > 1:
        raise ValueError(f"{setting}={path}: {' and '.join(sorted(kinds))} are mixed; give one kind, as in '*.tar'")
    if ".parquet" in kinds and importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f'{setting}={path}: to read .parquet, pip install "hydra-gan-lab[parquet]"')
    return files


@dataclass
class Progress:
    """Tells on stderr how far decoding has come, now and then."""

    shards: int
    done: int = 0
    pictures: int = 0
    told: float = 0.0

    def __post_init__(self) -> None:
        self.told = time.monotonic()

    def tell(self) -> None:
        """One more shard is done."""
        self.done += 1
        if time.monotonic() - self.told > TOLD_EVERY:
            self.told = time.monotonic()
            print(f"decoded {self.pictures:,} pictures of {self.done} of {self.shards} shards", file=sys.stderr)


def _chunks(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Samples that are decoded together: not too many, and not too large."""
    waiting: list[Sample] = []
    size = 0
    for sample in samples:
        waiting.append(sample)
        size += len(sample.picture)
        if len(waiting) == CHUNK or size > LARGEST:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
