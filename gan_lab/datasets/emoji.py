"""Emoji as Google and as Twitter draw them: two styles of one set of pictures, whose pairs are known."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gan_lab.datasets.cache import Rows, cache_folder, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.sources import DAMAGED, file_digest, given_folder, one_line
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, datasets, unknown

VERSION = "16.0.0"
MAKERS = {  # by domain, with the SHA-256 of the npm package
    "a": ("google", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
    "b": ("twitter", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"),
}
FOLDER = "package/img/{}/64/"  # of a maker's pictures of 64 px in its package
# What does not make another base: skin tones, the signs of the two genders, the arrow of who faces right, and joiners.
MODIFIERS = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff", "2640", "2642", "27a1", "fe0f", "200d"}
PERSON = {"1f468": "1f9d1", "1f469": "1f9d1"}  # man and woman, who do what the person does
HELD_OUT = 8  # of so many bases one is held out: 385 pairs of 3,786
CHUNK = 512


@datasets.register("emoji")
class Emoji:
    """3,786 emoji, `a` by Google and `b` by Twitter, on white: two domains, each with its own order in training.

    From the npm packages emoji-datasource-google and emoji-datasource-twitter 16.0.0 (MIT; Google's pictures are under
    Apache 2.0, Twitter's under CC BY 4.0), which lie in `path`, or in the folder `downloads` of the cache. Pictures of
    64 px are laid on white, then resized once with antialiasing. `a_as_b` and `b_as_a` are the true pairs, for scores.
    385 are held out, a tenth, by what they show: all skin tones, genders and directions of a base are in one split.
    Raises ValueError where the packages are missing or not the published ones, with the command that fetches them.
    """

    num_classes = None
    splits = ("train", "test")
    split_by = "base"

    def __init__(self, *, path: str | None = None, image_size: Positive | tuple[Positive, Positive] = 32) -> None:
        self.folder = given_folder(path) or cache_folder() / "downloads"
        self.size = height_width(image_size)
        self.sample_shape = (3, *self.size)
        pictures = Column("picture", self.sample_shape, "uint8", (-1.0, 1.0))
        self.columns = dict.fromkeys(("a", "b", "a_as_b", "b_as_a"), pictures)
        self.columns["base"] = Column("values", (), "int64")

    def load(self, split: str = "train") -> Store:
        """Columns `a`, `a_as_b` and `base` (its number, int64) and, in a domain of their own, `b` and `b_as_a`."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        key = content_key([digest for _, digest in MAKERS.values()], self.size, HELD_OUT, split, 1)
        return cached("emoji", key, lambda skipped: self._rows(split), domains={"b": ["b", "b_as_a"]})

    def _rows(self, split: str) -> Rows:
        pictures = {domain: self._pictures(maker, digest) for domain, (maker, digest) in MAKERS.items()}
        names = sorted(pictures["a"].keys() & pictures["b"].keys())
        number = {base: i for i, base in enumerate(sorted({base_of(name) for name in names}))}
        names = [name for name in names if is_held_out(base_of(name)) == (split == "test")]
        for start in range(0, len(names), CHUNK):
            part = names[start : start + CHUNK]
            a, b = (np.stack([on_white(pictures[domain][name], self.size) for name in part]) for domain in MAKERS)
            base = np.array([number[base_of(name)] for name in part], dtype=np.int64)
            yield {"a": a, "a_as_b": b, "base": base, "b": b, "b_as_a": a}

    def _pictures(self, maker: str, digest: str) -> dict[str, bytes]:
        """PNG files by their name, which is of code points. Raises ValueError where the package is not there whole."""
        package = self.folder / f"emoji-datasource-{maker}-{VERSION}.tgz"
        try:
            if file_digest(package) != digest:
                raise OSError("its SHA-256 is not that of the published package")
            return dict(_members(package, FOLDER.format(maker)))
        except DAMAGED as error:
            named = " ".join(f"emoji-datasource-{name}@{VERSION}" for name, _ in MAKERS.values())
            raise ValueError(
                f"dataset=emoji cannot read {package} ({one_line(error)}); fetch it by: mkdir -p {self.folder} && "
                f"npm pack --pack-destination {self.folder} {named}"
            ) from error


def _members(package: Path, folder: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(package) as archive:
        for member in archive:
            if member.name.startswith(folder) and (content := archive.extractfile(member)):
                yield Path(member.name).stem, content.read()


def base_of(name: str) -> str:
    """What an emoji shows, whoever does it: its code points without modifiers, man and woman as person.

    >>> base_of("1f469-1f3fd-200d-1f680")
    '1f9d1-1f680'
    """
    points = [PERSON.get(point, point) for point in name.split("-") if point not in MODIFIERS]
    return "-".join(points) or name


def is_held_out(base: str) -> bool:
    """Decided by a hash of the base alone, so that no other emoji changes it."""
    return int(hashlib.sha256(base.encode()).hexdigest(), 16) % HELD_OUT == 0


def on_white(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """A PNG file on white, resized once with antialiasing: uint8 [H, W, 3]."""
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        picture = image.convert("RGBA")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    resized = Image.alpha_composite(white, picture).convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)
