"""Two folders of pictures, a user's own: two domains to translate between, without pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.decoding import LOSSLESS, LOSSY, decoded, files_of
from gan_lab.datasets.sources import file_digest, given_folder, held_out, refuse_shared
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, Share, datasets, unknown


@datasets.register("two_folders")
class TwoFolders:
    """Pictures of the sub-folders `a` and `b` of `path`, as many in each as there are.

    The defaults are the layout of CycleGAN's own data sets, such as horse2zebra. Held-out pictures lie in `test_a` and
    `test_b`, if both exist; else they are the last `test_share` of either folder, by name. Every picture becomes the
    largest centered crop of the wanted shape, resized once with antialiasing, grey or colour, so that both domains are
    of one size. A picture that cannot be read completely is skipped and reported. Raises ValueError for a folder that
    is missing, or has no picture, and for domains that share pictures.
    """

    num_classes = None

    def __init__(
        self,
        *,
        path: str | None = None,
        a: str = "trainA",
        b: str = "trainB",
        test_a: str = "testA",
        test_b: str = "testB",
        test_share: Share = 0.1,
        image_size: Positive | tuple[Positive, Positive] = 64,
        image_channels: Literal[1, 3] = 3,
    ) -> None:
        if (folder := given_folder(path)) is None:
            raise ValueError(f"dataset=two_folders needs dataset.path=FOLDER with the sub-folders {a} and {b}")
        self.path, self.size, self.channels = folder, height_width(image_size), image_channels
        self.sample_shape = (self.channels, *self.size)
        self.columns = dict.fromkeys(("a", "b"), Column("picture", self.sample_shape, "uint8", (-1.0, 1.0)))
        refuse_shared(folder / a, folder / b, given=f"dataset.a={a} and dataset.b={b}")
        files = {"a": _pictures(folder, "a", a), "b": _pictures(folder, "b", b)}
        held = {"a": folder / test_a, "b": folder / test_b}
        if all(place.is_dir() for place in held.values()):
            tests = {"a": _pictures(folder, "test_a", test_a), "b": _pictures(folder, "test_b", test_b)}
            self.files: dict[str, Mapping[str, Sequence[Path]]] = {"train": files, "test": tests}
        else:
            parts = {domain: held_out(found, test_share) for domain, found in files.items()}
            self.files = {
                split: {domain: part[i] for domain, part in parts.items()} for i, split in enumerate(("train", "test"))
            }
        self.splits = tuple(split for split, found in self.files.items() if all(found.values()))

    def load(self, split: str = "train") -> Store:
        """Columns `a` and `b`, uint8 [N, H, W, C], each a domain of its own. The cache key has the files' content."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        files = self.files[split]
        with ThreadPoolExecutor() as pool:
            contents = {
                domain: list(zip(self._names(found), pool.map(file_digest, found), strict=True))
                for domain, found in files.items()
            }
        key = content_key(contents, self.size, self.channels, 1)
        return cached("two_folders", key, lambda skipped: self._rows(files, skipped), domains={"b": ["b"]})

    def _names(self, files: Sequence[Path]) -> list[str]:
        return [file.relative_to(self.path).as_posix() for file in files]

    def _rows(self, files: Mapping[str, Sequence[Path]], skipped: dict[str, str]) -> Rows:
        for domain, found in files.items():
            names = self._names(found)
            for chunk in decoded(self.path, names, None, self.size, self.channels, skipped):
                yield {domain: chunk["sample"]}
            if all(name in skipped for name in names):
                raise ValueError(f"no picture of domain {domain} could be read ({names[0]}: {skipped[names[0]]})")


def _pictures(folder: Path, setting: str, name: str) -> list[Path]:
    suffixes = LOSSLESS | LOSSY
    if not (folder / name).is_dir():
        raise ValueError(f"dataset.path={folder} has no sub-folder {name}: create it, or name it by dataset.{setting}")
    if not (files := files_of(folder / name, suffixes)):
        raise ValueError(f"{folder / name}: no picture in it; these are read: {' '.join(sorted(suffixes))}")
    return files
