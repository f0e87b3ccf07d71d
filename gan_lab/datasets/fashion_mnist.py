"""Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747): 60,000 grey pictures of ten kinds of clothes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.packed import read_gzip, refuse_large
from gan_lab.datasets.sources import DAMAGED, downloading, file_digest, given_folder, one_line, resized_28
from gan_lab.datasets.store import Store, height_width
from gan_lab.datasets.trusted_files import check_regular
from gan_lab.registry import Positive, datasets

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts them
INSIDE = Path("FashionMNIST/raw")  # where torchvision puts them
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
REMEDY = "apt-get install dataset-fashion-mnist, or give dataset.path=FOLDER with the four idx files in it"


@datasets.register("fashion_mnist")
class FashionMNIST:
    """From `path`, a folder with the four idx files, packed or not, else from Debian's package, else by download.

    Sizes as in mnist5k: 28 px unchanged, 32 px with a border of two black pixels, others resized from 32 px. Splits
    "train" (60,000) and "test" (10,000). Raises ValueError for files that are missing, or that do not fit their header.
    """

    num_classes = 10
    splits = ("train", "test")
    feature_extractor = "fashion_mnist"
    class_names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
    )  # fmt: skip

    def __init__(self, *, path: str | None = None, image_size: Positive | tuple[Positive, Positive] = 32) -> None:
        self.size = height_width(image_size)
        self.sample_shape = (1, *self.size)
        given = given_folder(path)
        places = [given, given / INSIDE] if given else [DEBIAN]
        self.folder = next((place for place in places if not _missing(place)), None)  # None: to be downloaded
        if given and not self.folder:
            raise ValueError(
                f"dataset.path={path} lacks {', '.join(_missing(given))}, with or without .gz; they may lie in {INSIDE}"
            )

    def load(self, split: str = "train") -> Store:
        """Pictures, uint8 [N, H, W, 1], and classes. The key has the files' content: other data use the format, too."""
        content: object = "published"  # a download is checked before it is read
        if self.folder:
            content = [file_digest(_find(self.folder, name)) for name in FILES[split]]
        return cached("fashion_mnist", content_key(content, self.size, split, 1), lambda skipped: self._rows(split))

    def _rows(self, split: str) -> Rows:
        folder = self.folder or _download()
        files = [_find(folder, name) for name in FILES[split]]
        images, labels = read_idx(files[0]), read_idx(files[1])
        if images.shape[1:] != (28, 28):
            raise ValueError(f"{files[0]} holds no pictures of 28 x 28 pixels, but of {images.shape[1:]}")
        if labels.shape != images.shape[:1] or labels.max(initial=0) >= self.num_classes:
            raise ValueError(f"{files[1]} does not hold one of {self.num_classes} classes for each of {len(images):,}")
        return resized_28(images[..., None], labels, self.size)


def _find(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.gz"  # preferred, because gzip has a checksum
    return packed if packed.is_file() else folder / name


def _missing(folder: Path) -> list[str]:
    return [name for names in FILES.values() for name in names if not _find(folder, name).is_file()]


def _download() -> Path:
    with downloading("Fashion-MNIST", REMEDY) as root:
        from torchvision.datasets import FashionMNIST as Published  # it takes seconds to import
        from torchvision.datasets.utils import download_url

        for name, md5 in Published.resources:
            download_url(Published.mirrors[0] + name, str(root / INSIDE), name, md5)
    return root / INSIDE


def read_idx(file: Path) -> np.ndarray:
    """The uint8 array of an idx file: two zeros, 8 for bytes, the number of dimensions, their sizes as uint32, data.

    Raises ValueError, with the file's name, for a truncated file or another format, and for one that claims to be too
    large, of which no more than the header is unpacked.
    """
    dimensions = {"idx1": 1, "idx3": 3}[file.name.split("-")[2]]
    start = 4 + 4 * dimensions
    try:
        data = _first_bytes(file, start)
        size = int(np.prod(struct.unpack(f">{dimensions}I", data[4:]), dtype=object)) if len(data) == start else 0
        refuse_large(size, file.stat().st_size)
        data = _first_bytes(file, start + size + 1)
    except (*DAMAGED, ValueError) as error:
        raise ValueError(f"{file} cannot be read ({one_line(error)}); get it again") from error
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) < start:
        raise ValueError(f"{file} is no idx file of bytes in {dimensions} dimensions; get it again")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    if len(data) - start != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{file} is cut: its header promises {' x '.join(map(str, shape))} bytes; get it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _first_bytes(file: Path, size: int) -> bytes:
    if file.suffix == ".gz":
        return read_gzip(file, size)
    check_regular(file)
    with file.open("rb") as content:
        return content.read(size)
