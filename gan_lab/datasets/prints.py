"""Photographs and Japanese woodblock prints: two styles to translate between, without a download."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.photographs import Photographs, deviation, patches_of
from gan_lab.datasets.sources import file_digest
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, Weight, datasets

PAINTINGS = "/usr/share/gcompris-qt/rcc/paintings.rcc"  # where Debian's package puts its puzzles
PRINTS = (  # puzzles of woodblock prints by Hokusai and Hiroshige, 1830 to 1857
    "EjiriSuruga", "GreatWave", "HiroshigeHorsePrawns", "HiroshigeInokashiraSnow", "HokusaiBridge",
    "HokusaiOiranKamuro", "HokusaiPoppies", "HokusaiWomanHoldingFan", "KazusaSeaRoute",
)  # fmt: skip
TEST = ("HokusaiPoppies",)
STEP = 2  # patches of prints to train on overlap by half
COMPRESSED, FOLDER = 1, 2  # flags of an entry of a Qt resource file


@datasets.register("photographs_and_prints")
class PhotographsAndPrints:
    """Patches of photographs, `a`, and of prints by Hokusai and Hiroshige, `b`, as CycleGAN's photo and ukiyo-e.

    Photographs are those of `dataset=photographs`, in its splits; `shrink` is its own. Prints are the pieces of the
    puzzles of Debian's package gcompris-qt-data (the prints themselves are in the public domain): whole patches of
    them, without transparent pixels, half a patch apart to train, side by side to test. The test's print has no patch
    to train on. `flat` is the standard deviation of the luma, of 255, below which a patch is left out. Raises
    ValueError where the package is not installed.
    """

    num_classes = None
    splits = ("train", "test")

    def __init__(
        self,
        *,
        paintings: str = PAINTINGS,
        image_size: Positive | tuple[Positive, Positive] = 32,
        shrink: Positive | None = None,
        flat: Weight = 8.0,
    ) -> None:
        self.size, self.flat = height_width(image_size), flat
        self.photographs = Photographs(image_size=image_size, shrink=shrink, flat=flat)
        self.sample_shape = (3, *self.size)
        self.columns = dict.fromkeys(("a", "b"), Column("picture", self.sample_shape, "uint8", (-1.0, 1.0)))
        self.paintings = Path(paintings).expanduser()
        if not self.paintings.is_file():
            raise ValueError(
                f"dataset.paintings={paintings}: there is no such file; apt-get install gcompris-qt-data, or choose "
                "dataset=two_folders with prints of your own"
            )

    def load(self, split: str = "train") -> Store:
        """Columns `a` and `b`, uint8 [N, H, W, 3], each a domain of its own."""
        photographs = self.photographs.load(split)
        key = content_key(photographs.digest, file_digest(self.paintings), self.size, self.flat, split, 1)
        return cached("prints", key, lambda skipped: self._rows(split, photographs), domains={"b": ["b"]})

    def _rows(self, split: str, photographs: Store) -> Rows:
        yield {"a": photographs.columns["sample"].numpy()}
        for name, content in qt_resources(self.paintings.read_bytes()):
            kind = name.split("_")[0]
            if kind in PRINTS and name.endswith(".webp") and (kind in TEST) == (split == "test"):
                for patches in self._patches(content, split):
                    yield {"b": patches}

    def _patches(self, content: bytes, split: str) -> Iterator[np.ndarray]:
        """Patches [n, H, W, 3] of a piece that are neither flat nor cut by its outline, a row of the grid at a time."""
        from PIL import Image

        with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
            pixels = np.asarray(image.convert("RGBA"), dtype=np.uint8)
        if pixels.shape[0] < self.size[0] or pixels.shape[1] < self.size[1]:
            return
        step = 1 if split == "test" else STEP
        grid = (max(self.size[0] // step, 1), max(self.size[1] // step, 1))
        for row in patches_of(pixels, self.size, grid):
            opaque = (row[..., 3] == 255).all(axis=(1, 2))
            patches = row[opaque][..., :3]
            if len(patches):
                yield np.ascontiguousarray(patches[deviation(patches) >= self.flat])


def qt_resources(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a binary Qt resource file, whatever folder they are in.

    The format is that of Qt's tool rcc, version 1 to 3: a header with offsets, then contents, names, and a tree.
    Raises ValueError for other files, and for files packed by zstd.
    """
    if content[:4] != b"qres":
        raise ValueError("it is no binary Qt resource file")
    version, tree, data, names = struct.unpack_from(">4I", content, 4)
    size = 22 if version > 1 else 14  # of an entry; since version 2 a time stamp ends it

    def entry(index: int) -> Iterator[tuple[str, bytes]]:
        name, flags, first, second = struct.unpack_from(">IHII", content, tree + size * index)
        if flags & FOLDER:
            for child in range(second, second + first):
                yield from entry(child)
            return
        (letters,) = struct.unpack_from(">H", content, names + name)
        text = content[names + name + 6 : names + name + 6 + 2 * letters].decode("utf-16-be")  # after a hash
        (length,) = struct.unpack_from(">I", content, data + second)
        packed = content[data + second + 4 : data + second + 4 + length]
        if flags & ~COMPRESSED:
            raise ValueError(f"{text} is packed in a way that is not known")
        yield text, zlib.decompress(packed[4:]) if flags & COMPRESSED else packed  # after its length

    yield from entry(0)
