"""CelebA (Liu et al. 2015, arXiv 1411.7766): 202,599 aligned faces of celebrities with 40 attributes each."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.decoding import decoded
from gan_lab.datasets.sources import downloading, file_digest, given_folder
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, datasets, unknown

PICTURES, PARTITION, ATTRIBUTES = "img_align_celeba", "list_eval_partition.txt", "list_attr_celeba.txt"
LARGEST = 4 << 30  # bytes of the unpacked pictures; those published have 1.4e9
SPLITS = {"train": "0", "valid": "1", "test": "2"}  # 162,770, 19,867 and 19,962 pictures
NAMES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
REMEDY = f"pip install gdown, or give dataset.path=FOLDER with {PICTURES}/ (unpacked), {PARTITION} and {ATTRIBUTES}"


@datasets.register("celeba")
class CelebA:
    """From `path`, a folder with `img_align_celeba/` and the lists beside it, else by torchvision's download.

    Each picture of 178 x 218 px is cropped to the largest centered area of the wanted shape (178 x 178 for a square),
    then resized once with antialiasing. With `attribute`, there are two classes: without and with it. A picture that
    cannot be read is skipped and reported. Splits "train", "valid" and "test", as published. Raises ValueError for an
    unknown attribute, and where the pictures cannot be read or downloaded.
    """

    splits = tuple(SPLITS)

    def __init__(
        self,
        *,
        path: str | None = None,
        image_size: Positive | tuple[Positive, Positive] = 64,
        attribute: str | None = None,
    ) -> None:
        if attribute is not None and attribute not in NAMES:
            raise unknown("dataset.attribute", attribute, NAMES)
        self.size, self.attribute = height_width(image_size), attribute
        self.sample_shape = (3, *self.size)
        self.class_names = (f"not {attribute}", attribute) if attribute else None
        self.num_classes = 2 if attribute else None
        given = given_folder(path)
        places = [given, given / "celeba"] if given else []  # the latter is torchvision's layout
        self.folder = next((place for place in places if not self._missing(place)), None)  # None: to be downloaded
        if given and not self.folder:
            raise ValueError(f"dataset.path={path} lacks {', '.join(self._missing(given))}; they may lie in celeba/")

    def _missing(self, folder: Path) -> list[str]:
        lists = [PARTITION, ATTRIBUTES] if self.attribute else [PARTITION]
        pictures = [] if (folder / PICTURES).is_dir() else [f"{PICTURES}/ (unpacked)"]
        return pictures + [name for name in lists if not (folder / name).is_file()]

    def load(self, split: str = "train") -> Store:
        """Pictures, uint8 [N, H, W, 3], and classes with an attribute.

        The key has the lists' content and the pictures' sizes in bytes: reading 1.4 GB at each start would be slow.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        content: object = "published"  # a download is checked before it is read
        if self.folder:
            lists = [self.folder / name for name in (PARTITION, ATTRIBUTES) if name == PARTITION or self.attribute]
            pictures = (entry for entry in os.scandir(self.folder / PICTURES) if entry.is_file())
            content = (
                [file_digest(file) for file in lists],
                sorted((picture.name, picture.stat().st_size) for picture in pictures),
            )
        key = content_key(content, self.size, self.attribute, split, 1)
        return cached("celeba", key, lambda skipped: self._rows(split, skipped))

    def _rows(self, split: str, skipped: dict[str, str]) -> Rows:
        folder = self.folder or _download()
        names = [name for name, part in _table(folder / PARTITION, columns=2) if part == SPLITS[split]]
        labels = self._labels(folder / ATTRIBUTES, names) if self.attribute else None
        yield from decoded(folder / PICTURES, names, labels, self.size, 3, skipped)

    def _labels(self, file: Path, names: list[str]) -> np.ndarray:
        """Whether each picture has the attribute, [N]; the file says 1 or -1."""
        with file.open(errors="replace") as lines:
            header = [next(lines, ""), next(lines, "")][1].split()  # the first line counts the pictures
        if self.attribute not in header:
            raise ValueError(f"{file} has no attribute {self.attribute} in its second line; download it again")
        column = header.index(self.attribute) + 1
        has = {row[0]: row[column] == "1" for row in _table(file, columns=len(header) + 1, skip=2)}
        if lost := [name for name in names if name not in has]:
            raise ValueError(f"{file} says nothing of {lost[0]}; download it again")
        return np.array([has[name] for name in names], dtype=np.int64)


def _table(file: Path, columns: int, skip: int = 0) -> Iterator[list[str]]:
    """The words of each line. Raises ValueError for a line whose number of words is not `columns`."""
    with file.open(errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            words = line.split()
            if number <= skip or not words:
                continue
            if len(words) != columns:
                raise ValueError(
                    f"{file}: line {number} has {len(words)} words instead of {columns}; download it again"
                )
            yield words


def _download() -> Path:
    """The folder with the lists and the unpacked pictures. What is missing is downloaded."""
    with downloading("CelebA", REMEDY) as root:
        from torchvision.datasets import CelebA as Published  # it takes seconds to import
        from torchvision.datasets.utils import download_file_from_google_drive

        folder = root / Published.base_folder
        archive = f"{PICTURES}.zip"
        have = (folder / PICTURES).is_dir()  # complete if it exists, because it is renamed to this name at the end
        for identity, md5, name in Published.file_list:
            if name in (PARTITION, ATTRIBUTES) or (name == archive and not have):
                download_file_from_google_drive(identity, str(folder), name, md5)
        if not have:
            unpacked = folder / ".unpacked"  # files of a killed process are overwritten
            with zipfile.ZipFile(folder / archive) as pictures:
                size = sum(entry.file_size for entry in pictures.infolist())
                if size > LARGEST:
                    raise ValueError(f"{archive} would unpack to {size:,} bytes; at most {LARGEST:,} are unpacked")
                pictures.extractall(unpacked)
            (unpacked / PICTURES).rename(folder / PICTURES)
            shutil.rmtree(unpacked, ignore_errors=True)
    return folder
