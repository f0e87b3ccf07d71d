"""Patches of photographs, split by photograph: real texture to restore or to enlarge, without a download."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.decoding import LOSSLESS, LOSSY, files_of, reduced
from gan_lab.datasets.sources import file_digest, given_folder, held_out, refuse_shared
from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, Share, Weight, datasets, unknown

SKIMAGE, SKLEARN = ("skimage", "data"), ("sklearn", "datasets/images")  # package, and folder in it
TEST = {
    SKIMAGE: ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg"),
    SKLEARN: ("china.jpg", "flower.jpg"),
}
OTHERS = {  # what else scikit-image ships that was photographed; of its stereo pair the left one
    SKIMAGE: (
        "brick.png", "camera.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png",
        "moon.png", "motorcycle_left.png", "retina.jpg",
    ),
}  # fmt: skip
BACKGROUNDS = Path("/usr/share/backgrounds")  # where Debian's packages put theirs
DEBIAN = (  # the photographs of lomiri-wallpapers-16.04, then of mate-backgrounds; drawings and patterns are left out
    "Bridge_by_Sander_Klootwijk.jpg", "Dragonfly_by_Bolly.jpg", "Picture_0B_by_freespace.jpg",
    "Picture_1A_by_freespace.jpg", "Wine_by_Jakkub_Mede.jpg", "aitzgorri_by_Aitzol_Berasategi.jpg",
    "free_by_Peter_Nerlich.jpg", "friends_by_Aitzol_Berasategi.jpg", "greentock_by_Peter_Nerlich.jpg",
    "life_by_Aitzol_Berasategi.jpg", "picosdeeuropa_by_Aitzol_Berasategi.jpg", "seeding_by_Clements_Engelhardt.jpg",
    "sunset_by_Aitzol_Berasategi.jpg",
    "mate/nature/Aqua.jpg", "mate/nature/Blinds.jpg", "mate/nature/Dune.jpg", "mate/nature/FreshFlower.jpg",
    "mate/nature/Garden.jpg", "mate/nature/GreenMeadow.jpg", "mate/nature/LadyBird.jpg", "mate/nature/RainDrops.jpg",
    "mate/nature/Storm.jpg", "mate/nature/TwoWings.jpg", "mate/nature/Wood.jpg", "mate/nature/YellowFlower.jpg",
)  # fmt: skip
SHRINK = 4  # of Debian's: out of cameras of 2 to 16 megapixels, smooth from pixel to pixel; so reduced, as the test's
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green and blue: ITU-R BT.601


@datasets.register("photographs")
class Photographs:
    """Square or rectangular patches of photographs. No photograph has patches in both splits.

    Without `path`: to test, always the same six of scikit-image and scikit-learn (astronaut, coffee, chelsea, rocket,
    china, flower); to train, those of Debian's lomiri-wallpapers-16.04 and mate-backgrounds, as far as they are
    installed, else scikit-image's others. So the training data depend on the machine: `photographs` names them.

    With it, the pictures of a folder and of its sub-folders, such as DIV2K or BSD400; those to test lie in `test_path`,
    else they are the last `test_share` by name.

    Each photograph is first reduced by `shrink`: of null, by 4 for Debian's, whose cameras gave more pixels than
    detail, and not at all for others; the six never are. Patches stand on a grid, `stride` apart (null: side by side,
    as in split "test" always). Flat ones are left out of both splits: sky teaches nothing, and its 60 dB would hide the
    others in a mean. `flat` is the standard deviation of the luma of 255 below which a patch is flat. `patches` limits
    those of split "train", spread evenly. Raises ValueError where the six are not installed.
    """

    num_classes = None
    splits: tuple[str, ...] = ("train", "test")
    split_by = "photograph"  # the column that says what must not be divided

    def __init__(
        self,
        *,
        path: str | None = None,
        test_path: str | None = None,
        test_share: Share = 0.1,
        image_size: Positive | tuple[Positive, Positive] = 32,
        image_channels: Literal[1, 3] = 3,
        stride: Positive | None = None,
        shrink: Positive | None = None,
        flat: Weight = 8.0,
        patches: Positive | None = None,
    ) -> None:
        self.size, self.channels, self.stride = height_width(image_size), image_channels, stride
        self.flat, self.patches = flat, patches
        self.sample_shape = (self.channels, *self.size)
        self.columns = {
            "sample": Column("picture", self.sample_shape, "uint8", (-1.0, 1.0)),
            "photograph": Column("values", (), "int64"),
        }
        if (folder := given_folder(path)) is not None:
            self.files = _of_folder(folder, test_path, test_share)
            self.shrink = dict.fromkeys(self.files, shrink or 1)
            self.spare = False
        elif test_path is not None:
            raise ValueError(f"dataset.test_path={test_path}: it goes with dataset.path=FOLDER")
        else:
            debian = [BACKGROUNDS / name for name in DEBIAN if (BACKGROUNDS / name).is_file()]
            self.spare = not debian
            self.files = {"train": debian or _packaged(OTHERS), "test": _packaged(TEST)}
            self.shrink = {"train": shrink or (SHRINK if debian else 1), "test": 1}
        self.splits = tuple(self.files)

    @property
    def photographs(self) -> dict[str, tuple[str, ...]]:
        """The names of each split's photographs, in the order of the numbers in column `photograph`."""
        return {split: tuple(file.stem for file in files) for split, files in self.files.items()}

    def load(self, split: str = "train") -> Store:
        """Patches, uint8 [N, H, W, C], and the number of the photograph of each, int64 [N].

        The key is of the photographs' names and content. Raises ValueError for a split that it does not have.
        """
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        if self.spare and split == "train":
            warnings.warn(
                f"dataset=photographs has {len(self.files['train'])} pictures of scikit-image to train on, most grey: "
                "for others, apt-get install lomiri-wallpapers-16.04 mate-backgrounds",
                stacklevel=2,
            )
        files, grid = self.files[split], self._grid(split)
        contents = [(file.name, file_digest(file)) for file in files]
        most = self.patches if split == "train" else None
        key = content_key(contents, self.sample_shape, grid, self.shrink[split], self.flat, most, split, 1)
        return cached("photographs", key, lambda skipped: self._rows(split, most, skipped))

    def _grid(self, split: str) -> tuple[int, int]:
        """How far patches are apart, down and across."""
        return self.size if self.stride is None or split == "test" else (self.stride, self.stride)

    def _rows(self, split: str, most: int | None, skipped: dict[str, str]) -> Rows:
        chosen, seen = None, 0
        if most is not None:  # a first pass counts them
            total = sum(len(patches) for _, patches in self._kept(split, {}))
            chosen = np.arange(min(most, total)) * total // max(min(most, total), 1)
        for number, patches in self._kept(split, skipped):
            rows = patches
            if chosen is not None:
                rows = patches[chosen[(chosen >= seen) & (chosen < seen + len(patches))] - seen]
            seen += len(patches)
            if len(rows):
                yield {"sample": rows, "photograph": np.full(len(rows), number, dtype=np.int64)}
        if not seen and len(skipped) < len(self.files[split]):
            raise ValueError(f"dataset.flat={self.flat:g}: no patch is less flat than that; make it smaller")

    def _kept(self, split: str, skipped: dict[str, str]) -> Iterator[tuple[int, np.ndarray]]:
        """The number of a photograph, and patches [n, H, W, C] of it that are not flat: a row of the grid at a time."""
        for number, file in enumerate(self.files[split]):
            pixels = reduced(file, self.shrink[split], self.channels)
            if isinstance(pixels, str):
                skipped[file.name] = pixels
            elif pixels.shape[0] < self.size[0] or pixels.shape[1] < self.size[1]:
                height, width = pixels.shape[:2]
                skipped[file.name] = f"{height} x {width} pixels are fewer than a patch has"
            else:
                for row in patches_of(pixels, self.size, self._grid(split)):
                    yield number, row[deviation(row) >= self.flat]


def patches_of(pixels: np.ndarray, size: tuple[int, int], grid: tuple[int, int]) -> Iterator[np.ndarray]:
    """Patches of a picture [H, W, C] on a centred grid, a row of them at a time: [n, h, w, C]."""
    starts = []
    for side, patch, step in zip(pixels.shape[:2], size, grid, strict=True):
        count = (side - patch) // step + 1
        first = (side - patch - (count - 1) * step) // 2
        starts.append(range(first, first + count * step, step))
    for top in starts[0]:
        yield np.stack([pixels[top : top + size[0], left : left + size[1]] for left in starts[1]])


def deviation(patches: np.ndarray) -> np.ndarray:
    """The standard deviation of the luma of each patch, uint8 [N, H, W, 1 or 3]: [N], of 255."""
    luma = patches @ LUMA if patches.shape[3] == 3 else patches[..., 0].astype(np.float32)
    found: np.ndarray = luma.std(axis=(1, 2))
    return found


def _of_folder(folder: Path, test_path: str | None, test_share: float) -> dict[str, list[Path]]:
    """The files of each split. Raises ValueError where there are none."""
    suffixes = LOSSLESS | LOSSY
    if not (files := files_of(folder, suffixes)):
        raise ValueError(f"dataset.path={folder}: no picture in it; these are read: {' '.join(sorted(suffixes))}")
    train, test = held_out(files, test_share)
    if test_path is not None:
        refuse_shared(folder, test_path)
        train, test = files, files_of(Path(test_path).expanduser(), suffixes)
        if not test:
            raise ValueError(f"dataset.test_path={test_path}: there is no such folder, or no picture in it")
    return {"train": train, "test": test} if test else {"train": train}


def _packaged(names: Mapping[tuple[str, str], tuple[str, ...]]) -> list[Path]:
    """Files that lie in packages, which are found and not imported. Raises ValueError where one is missing."""
    files = []
    for (package, folder), pictures in names.items():
        found = importlib.util.find_spec(package)
        places = (found and found.submodule_search_locations) or ["."]
        files += [Path(places[0]) / folder / picture for picture in pictures]
    if lost := [file.name for file in files if not file.is_file()]:
        raise ValueError(
            f"dataset=photographs needs {', '.join(lost[:3])} of scikit-image and scikit-learn: "
            'pip install "hydra-gan-lab[images]", or set dataset.path=FOLDER'
        )
    return files
