"""Pictures in MVTec AD's layout: normal ones to learn, defects with masks to find; anybody's own fit, too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.decoding import decode
from gan_lab.datasets.image_folder import SUFFIXES
from gan_lab.datasets.sources import file_digest, given_folder
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, datasets, unknown

NORMAL = "good"  # the folder of normal pictures
CHUNK = 64


@datasets.register("mvtec")
class MVTec:
    """One product of MVTec AD (Bergmann et al. 2021, doi 10.1007/s11263-020-01400-4), or a folder laid out alike.

    `path` has `train/good/*`, `test/good/*`, `test/<defect>/*` and, of the defects, masks as
    `ground_truth/<defect>/<name>_mask.png`, white where the defect is. Without any mask, pictures alone are judged.
    Pictures are cropped to the wanted shape and resized as for `dataset=image_folder`, masks likewise. Test pictures
    have `anomaly` 0 or 1 and, where there are masks, `mask`. Raises ValueError where a folder or a mask is missing.
    """

    num_classes = None
    splits = ("train", "test")

    def __init__(
        self,
        *,
        path: str | None = None,
        image_size: Positive | tuple[Positive, Positive] = 64,
        image_channels: Literal[1, 3] = 3,
    ) -> None:
        if (folder := given_folder(path)) is None:
            raise ValueError("dataset=mvtec needs dataset.path=FOLDER with train/good, test and ground_truth")
        self.folder, self.size, self.channels = folder, height_width(image_size), image_channels
        self.files = {split: _pictures(folder / split) for split in self.splits}
        self.files["train"] = [file for file in self.files["train"] if file.parent.name == NORMAL]
        for split, what in (("train", "train/good"), ("test", "test")):
            if not self.files[split]:
                raise ValueError(
                    f"dataset.path={path} has no picture in {what}; see MVTec AD's layout, or dataset=one_vs_rest"
                )
        self.masks = self._masks() if (folder / "ground_truth").is_dir() else {}
        self.sample_shape = (self.channels, *self.size)
        self.columns = {
            "sample": Column("picture", self.sample_shape, "uint8", (-1.0, 1.0)),
            "anomaly": Column("label", (), "int64", num_classes=2),
        }
        if self.masks:
            self.columns["mask"] = Column("mask", self.size, "uint8", num_classes=2)

    def _masks(self) -> dict[Path, Path]:
        """The mask of each picture of a defect. Raises ValueError where one is missing."""
        found = {}
        for file in self.files["test"]:
            if file.parent.name != NORMAL:
                folder = self.folder / "ground_truth" / file.parent.name
                names = [folder / f"{file.stem}{end}{suffix}" for end in ("_mask", "") for suffix in sorted(SUFFIXES)]
                mask = next((name for name in names if name.is_file()), None)
                if mask is None:
                    raise ValueError(
                        f"{file} has no mask: give {folder / file.stem}_mask.png, or no folder ground_truth at all"
                    )
                found[file] = mask
        return found

    def load(self, split: str = "train") -> Store:
        """Columns `sample` uint8 [N, H, W, C], `anomaly` int64 [N] and, with masks, `mask` uint8 [N, H, W].

        Pictures that cannot be read, or whose mask cannot, are skipped, named and counted.
        """
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        files = self.files[split]
        contents = [
            (file.relative_to(self.folder).as_posix(), *map(file_digest, (file, *self._mask_of(file))))
            for file in files
        ]
        key = content_key(contents, self.sample_shape, bool(self.masks), 1)
        return cached("mvtec", key, lambda skipped: self._rows(files, skipped))

    def _mask_of(self, file: Path) -> tuple[Path, ...]:
        return (self.masks[file],) if file in self.masks else ()

    def _rows(self, files: list[Path], skipped: dict[str, str]) -> Rows:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(files), CHUNK):
                kept = []
                for file, row in zip(
                    files[start : start + CHUNK], pool.map(self._row, files[start : start + CHUNK]), strict=True
                ):
                    if isinstance(row, str):
                        skipped[file.relative_to(self.folder).as_posix()] = row
                    else:
                        kept.append(row)
                if kept:
                    yield {name: np.stack([row[name] for row in kept]) for name in kept[0]}

    def _row(self, file: Path) -> dict[str, np.ndarray] | str:
        """The columns of one picture, or why it or its mask cannot be read."""
        picture = decode(file, self.size, self.channels)
        if isinstance(picture, str):
            return picture
        row = {"sample": picture, "anomaly": np.int64(file.parent.name != NORMAL)}
        if self.masks:
            mask = np.zeros((*self.size, 1), np.uint8)
            for name in self._mask_of(file):
                found = decode(name, self.size, 1)
                if isinstance(found, str):
                    return f"{name.name}: {found}"
                mask = (found > 127).astype(np.uint8)
            row["mask"] = mask[..., 0]
        return row  # type: ignore[return-value]


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder's sub-folders."""
    return sorted(file for file in folder.glob("*/*") if file.suffix.lower() in SUFFIXES and file.is_file())
