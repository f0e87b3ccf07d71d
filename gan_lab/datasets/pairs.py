"""Pairs of pictures from two folders: a user's own data for translation, restoration and super-resolution."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.decoding import files_of
from gan_lab.datasets.exact import SUFFIXES, Unreadable, read_array
from gan_lab.datasets.sources import file_digest, given_folder, held_out, refuse_shared
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, Share, datasets, unknown

CHUNK = 64  # pairs decoded between two writes
Arrays = dict[str, np.ndarray]  # of a pair, by side


@dataclass(frozen=True)
class Pair:
    """The files of one pair, and what they are called below their folders."""

    name: str
    files: dict[str, Path]  # by side: "source", "target"


@datasets.register("pairs")
class Pairs:
    """Pictures of two sub-folders of `path`, matched by name: `source` is given to a translator, `target` is the truth.

    `target/a/1.png` belongs to `source/a/1.npy`: the suffix may differ. A source is as large as its target or smaller
    by a whole factor, the same for all. Nothing is resized, which would blend or move what belongs together:
    `image_size` crops the centre of both, and without it all pairs must have one size. Test pairs lie in `test_path`,
    laid out alike; else they are the last `test_share` by name, as those next to each other are often alike.

    PNG and TIFF of 8 or 16 bits a channel and other files of 8 bits keep their bits. An .npy is [H, W] or [H, W, C].
    What has neither 8 nor 16 bits needs `value_range`, whose ends are stored as -1 and 1; with it, that goes for 16
    bits, too. Pairs of which a file cannot be read are skipped, named and counted. Raises ValueError for anything that
    does not fit, with the file's name.
    """

    num_classes = None

    def __init__(
        self,
        *,
        path: str | None = None,
        source: str = "source",
        target: str = "target",
        test_path: str | None = None,
        test_share: Share = 0.1,
        image_size: Positive | tuple[Positive, Positive] | None = None,
        source_channels: Positive = 3,
        image_channels: Positive = 3,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        if (folder := given_folder(path)) is None:
            raise ValueError(f"dataset=pairs needs dataset.path=FOLDER with the sub-folders {source} and {target}")
        if value_range is not None and not value_range[0] < value_range[1]:
            raise ValueError(f"dataset.value_range={list(value_range)}: the lowest value comes first, then the highest")
        self.size = None if image_size is None else height_width(image_size)
        self.channels = {"source": source_channels, "target": image_channels}
        self.value_range = value_range
        sides = {"source": source, "target": target}
        pairs = _matched(folder, sides, f"dataset.path={path}")
        train, test = held_out(pairs, test_share)
        if (other := given_folder(test_path, "dataset.test_path")) is not None:
            refuse_shared(folder, other)
            train, test = pairs, _matched(other, sides, f"dataset.test_path={test_path}")
        self.pairs = {"train": train, "test": test} if test else {"train": train}
        self.splits = tuple(self.pairs)
        self.first, self.columns = self._first()
        self.sample_shape = self.columns["target"].shape

    def _first(self) -> tuple[Pair, dict[str, Column]]:
        """The first pair that can be read: all others must have its shapes and dtypes."""
        reasons = []
        for pair in self.pairs["train"]:
            found = self._read(pair)
            if not isinstance(found, str):
                return pair, {side: _column(pixels) for side, pixels in found.items()}
            reasons.append(found)
        raise ValueError(f"no pair could be read ({'; '.join(reasons[:3])})")

    def load(self, split: str = "train") -> Store:
        """Columns `source` [N, h, w, C] and `target` [N, H, W, C], uint8, uint16 or float32 in [-1, 1].

        From a cache keyed by the files' content. Raises ValueError for a split that it does not have.
        """
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        pairs = self.pairs[split]
        with ThreadPoolExecutor() as pool:
            digests = [list(pool.map(file_digest, pair.files.values())) for pair in pairs]
        contents = [(pair.name, *digest) for pair, digest in zip(pairs, digests, strict=True)]
        columns = [(side, column.shape, column.dtype) for side, column in self.columns.items()]
        key = content_key(contents, columns, self.value_range, 1)
        return cached("pairs", key, lambda skipped: self._rows(pairs, skipped))

    def _rows(self, pairs: list[Pair], skipped: dict[str, str]) -> Rows:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(pairs), CHUNK):
                chosen = pairs[start : start + CHUNK]
                kept = []
                for pair, found in zip(chosen, pool.map(self._read, chosen), strict=True):
                    if isinstance(found, str):
                        skipped[pair.name] = found
                    else:
                        self._compare(pair, found)
                        kept.append(found)
                if kept:
                    yield {side: np.stack([found[side] for found in kept]) for side in self.columns}

    def _read(self, pair: Pair) -> Arrays | str:
        """The two pictures [H, W, C] as they are stored, or why one cannot be read."""
        found = {}
        for side, file in pair.files.items():
            try:
                pixels = read_array(file)
            except Unreadable as error:
                return f"{file}: {error}"
            found[side] = self._in_range(file, self._with_channels(side, file, pixels))
        return self._cropped(pair, found)

    def _with_channels(self, side: str, file: Path, pixels: np.ndarray) -> np.ndarray:
        wanted, has = self.channels[side], pixels.shape[2]
        if has in (2, 4) and wanted == has - 1 and pixels.dtype.kind == "u":
            if (pixels[..., -1] == np.iinfo(pixels.dtype).max).all():
                return pixels[..., :-1]  # opaque: nothing is lost
            raise ValueError(f"{file} has transparent pixels: save it without, or set {_CHANNELS[side]}={has}")
        if has != wanted:
            raise ValueError(f"{file} has {has} channels, not {wanted}: set {_CHANNELS[side]}={has}, or convert it")
        return pixels

    def _in_range(self, file: Path, pixels: np.ndarray) -> np.ndarray:
        """uint8 and uint16 as they are; other values, and 16 bits with a range given, as float32 in [-1, 1]."""
        if pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and self.value_range is None):
            return pixels
        if self.value_range is None:
            raise ValueError(
                f"{file} holds {pixels.dtype} from {pixels.min():g} to {pixels.max():g}: set "
                "dataset.value_range=[LOW,HIGH]"
            )
        low, high = self.value_range
        if pixels.min() < low or pixels.max() > high:
            raise ValueError(
                f"{file} holds values from {pixels.min():g} to {pixels.max():g}, outside dataset.value_range="
                f"[{low:g},{high:g}]: widen that, or clip them"
            )
        return ((pixels.astype(np.float64) - low) * (2 / (high - low)) - 1).astype(np.float32)

    def _cropped(self, pair: Pair, found: Arrays) -> Arrays:
        """The centre of both, of the wanted size: the same place in the scene, whole pixels of the source."""
        (h, w), (height, width) = found["source"].shape[:2], found["target"].shape[:2]
        factor = height // h
        if not factor or (h * factor, w * factor) != (height, width):
            raise ValueError(
                f"{pair.files['source']} has {h} x {w} pixels and {pair.files['target']} {height} x {width} (height x "
                "width): a source must be as large as its target, or smaller by a whole factor"
            )
        if self.size is None:
            return found
        if height < self.size[0] or width < self.size[1]:
            raise ValueError(
                f"{pair.files['target']} has {height} x {width} pixels (height x width), fewer than "
                f"dataset.image_size={list(self.size)}: make that smaller, or leave the file out"
            )
        if self.size[0] % factor or self.size[1] % factor:
            raise ValueError(
                f"dataset.image_size={list(self.size)}: it must be a multiple of {factor}, by which sources are smaller"
            )
        rows, columns = self.size[0] // factor, self.size[1] // factor
        top, left = (h - rows) // 2, (w - columns) // 2
        scales = {"source": 1, "target": factor}
        return {
            side: found[side][s * top : s * (top + rows), s * left : s * (left + columns)] for side, s in scales.items()
        }

    def _compare(self, pair: Pair, found: Arrays) -> None:
        """Raises ValueError where a pair differs in shape or dtype from the first one."""
        for side, known in self.columns.items():
            first, file, has = self.first.files[side], pair.files[side], _column(found[side])
            if has.dtype != known.dtype:
                raise ValueError(f"{first} holds {known.dtype} and {file} {has.dtype}: save all of one kind")
            if has.shape != known.shape:
                a, b = (" x ".join(map(str, shape[1:])) for shape in (known.shape, has.shape))
                remedy = (
                    "sources must be smaller by one factor for all"
                    if self.size
                    else "make them equal, or crop their centres by dataset.image_size"
                )
                raise ValueError(f"{first} has {a} pixels (height x width) and {file} {b}: {remedy}")


def _column(pixels: np.ndarray) -> Column:
    height, width, channels = pixels.shape
    return Column("picture", (channels, height, width), str(pixels.dtype), (-1.0, 1.0))


_CHANNELS = {"source": "dataset.source_channels", "target": "dataset.image_channels"}


def _matched(folder: Path, sides: dict[str, str], given: str) -> list[Pair]:
    """The pairs of a folder, by name. Raises ValueError where a sub-folder is missing or empty, or a file is alone."""
    files = {side: _by_name(folder / name, f"{given}: its sub-folder {name}") for side, name in sides.items()}
    alone = {
        side: sorted(files[side].keys() - files[other].keys())
        for side, other in (("source", "target"), ("target", "source"))
    }
    if any(alone.values()):
        said = [f"{len(files[side]):,} in {sides[side]}{_named(names)}" for side, names in alone.items()]
        raise ValueError(f"{given}: {' and '.join(said)}: give the files of a pair one name, but for the suffix")
    return [Pair(name, {side: files[side][name] for side in sides}) for name in sorted(files["source"])]


def _named(alone: list[str]) -> str:
    more = ", ..." if alone[3:] else ""
    return f" ({len(alone):,} without partner: {', '.join(alone[:3])}{more})" if alone else ""


def _by_name(folder: Path, what: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{what} does not exist: create it, or name it by dataset.source and dataset.target")
    found: dict[str, Path] = {}
    for file in files_of(folder, SUFFIXES):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"{what} holds {found[name].name} and {file.name}, of one name: keep one of them")
        found[name] = file
    if not found:
        raise ValueError(f"{what} holds no picture; these are read: {' '.join(sorted(SUFFIXES))}")
    return found
