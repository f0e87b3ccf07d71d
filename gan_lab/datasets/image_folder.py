"""A folder of pictures: cropped, resized and decoded once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np

from gan_lab.datasets.cache import cached, content_key
from gan_lab.datasets.decoding import decoded
from gan_lab.datasets.sources import file_digest, given_folder, refuse_shared
from gan_lab.datasets.store import Store, height_width
from gan_lab.datasets.trusted_files import shown_name
from gan_lab.registry import Bounds, Positive, datasets

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


@datasets.register("image_folder")
class ImageFolder:
    """All pictures under `path`: the largest centered crop of the wanted shape, then one antialiased resize.

    Sub-folders are searched. Where there are two or more and every picture is in one of them, they are the classes,
    numbered by name; `class_folders=true` requires that, `false` ignores sub-folders. `test_path` is a similar folder
    of held-out pictures, which some scores use. A picture that cannot be read completely is skipped and reported.
    Raises ValueError for a folder that is missing, has no picture, or does not have the required classes.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        image_size: Positive | tuple[Positive, Positive] = 64,
        image_channels: Annotated[int, Bounds(1, 3)] = 3,
        class_folders: bool | None = None,
        test_path: str | None = None,
    ) -> None:
        if (folder := given_folder(path)) is None:
            raise ValueError("dataset=image_folder needs dataset.path=FOLDER")
        if image_channels == 2:
            raise ValueError("dataset.image_channels=2: choose 1, grey, or 3, colour")
        self.path, self.size, self.channels = folder, height_width(image_size), image_channels
        self.sample_shape = (self.channels, *self.size)
        files = sorted(file for file in self.path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise ValueError(f"dataset.path={path}: no picture in it; these are read: {' '.join(sorted(SUFFIXES))}")
        self.names = [file.relative_to(self.path).as_posix() for file in files]
        self.folders = None if class_folders is False else self._classes(insist=class_folders is True)
        self.class_names = tuple(map(shown_name, self.folders)) if self.folders else None
        self.num_classes = len(self.folders) if self.folders else None
        self.test: ImageFolder | None = None
        if test_path is not None:
            given_folder(test_path, "dataset.test_path")  # refused in its own name
            self.test = ImageFolder(
                path=test_path, image_size=image_size, image_channels=image_channels, class_folders=class_folders
            )
            refuse_shared(folder, test_path)
            if self.test.folders != self.folders:
                raise ValueError(f"dataset.test_path={test_path} has not the sub-folders of dataset.path={path}")
        self.splits = ("train", "test") if self.test else ("train",)

    def _classes(self, insist: bool) -> tuple[str, ...] | None:
        """The sub-folders, sorted, if they divide the pictures into classes, else None."""
        loose = [name for name in self.names if "/" not in name]
        folders = sorted({name.split("/")[0] for name in self.names if "/" in name})
        if not loose and len(folders) > 1:
            return tuple(folders)
        if insist:
            why = (
                f"{loose[0]} lies in no sub-folder" if loose else f"all pictures lie in the one sub-folder {folders[0]}"
            )
            raise ValueError(
                f"dataset.class_folders=true: dataset.path={self.path} must hold two or more sub-folders, one a class, "
                f"and no other picture, but {why}; move it, or leave dataset.class_folders=null"
            )
        return None

    def load(self, split: str = "train") -> Store:
        """All pictures, uint8 [N, H, W, C], and their classes, if any. The cache key has the files' content.

        Split "test" is in `test_path`. Raises ValueError for a split that the data set does not have.
        """
        if split not in self.splits:
            raise ValueError(f"split={split}: dataset.path={self.path} has none; held-out pictures: dataset.test_path")
        if split == "test":
            assert self.test is not None
            return self.test.load()
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(file_digest, [self.path / name for name in self.names]))
        labels = None
        if self.folders:
            number = {name: i for i, name in enumerate(self.folders)}  # of all folders
            labels = np.array([number[name.split("/")[0]] for name in self.names])
        contents = list(zip(self.names, digests, strict=True))
        key = content_key(contents, self.size, self.channels, *([] if labels is None else ["label"]), 1)
        return cached(
            "image_folder",
            key,
            lambda skipped: decoded(self.path, self.names, labels, self.size, self.channels, skipped),
        )
