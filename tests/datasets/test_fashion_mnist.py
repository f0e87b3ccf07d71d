"""Fashion-MNIST: idx files as they are published, wherever they lie; the real ones where Debian's package has them."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets as torchvision_datasets

from gan_lab.datasets import fashion_mnist
from gan_lab.datasets.fashion_mnist import DEBIAN, FILES, FashionMNIST
from tests.datasets.idx import IMAGES, LABELS, idx, write

pytestmark = pytest.mark.usefixtures("cache", "network")


@pytest.fixture(autouse=True)
def without_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "data")


def check(dataset: FashionMNIST, split: str = "train", invert: bool = False) -> None:
    found = dataset.load(split).columns
    pixels = 255 - IMAGES[split] if invert else IMAGES[split]
    assert np.array_equal(found["sample"].numpy(), pixels[..., None])
    assert np.array_equal(found["label"].numpy(), LABELS[split])


# -- pixels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("inside", ["", "FashionMNIST/raw"])
def test_pixels_and_labels_are_the_files(split: str, packed: bool, inside: str, tmp_path: Path, network: Any) -> None:
    write(tmp_path / "data" / inside, packed)
    check(FashionMNIST(path=str(tmp_path / "data"), image_size=28), split)
    assert not network.asked


def test_at_32_pixels_there_is_a_black_border_of_two(folder: Path) -> None:
    dataset = FashionMNIST(path=str(folder))
    assert dataset.sample_shape == (1, 32, 32)
    expected = np.pad(IMAGES["train"], ((0, 0), (2, 2), (2, 2)))[..., None]
    assert np.array_equal(dataset.load().columns["sample"].numpy(), expected)


@pytest.mark.parametrize("size", [16, 64, (24, 40)])
def test_another_size_is_pillows_bilinear_resizing_of_32_pixels(size: int | tuple[int, int], folder: Path) -> None:
    dataset = FashionMNIST(path=str(folder), image_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    assert dataset.sample_shape == (1, height, width)
    for image, original in zip(dataset.load().columns["sample"].numpy(), IMAGES["train"], strict=True):
        padded = Image.fromarray(np.pad(original, 2))
        expected = np.asarray(padded.resize((width, height), Image.Resampling.BILINEAR), dtype=int)
        assert np.abs(image[..., 0].astype(int) - expected).max() <= 1


def test_the_classes_have_the_names_of_the_paper() -> None:
    # table 2 of arXiv 1708.07747
    published = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
    assert FashionMNIST.class_names == tuple(published.split(", "))
    assert FashionMNIST.num_classes == 10


# -- where from --------------------------------------------------------------------------------------------------------


def test_a_given_folder_goes_before_debians_package(tmp_path: Path, folder: Path) -> None:
    write(tmp_path / "debian", invert=True)
    check(FashionMNIST(path=str(folder), image_size=28))
    check(FashionMNIST(image_size=28), invert=True)


def test_debians_package_goes_before_a_download(tmp_path: Path, network: Any) -> None:
    write(tmp_path / "debian")
    check(FashionMNIST(image_size=28))
    assert not network.asked


def serve(folder: Path, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a folder at the published address, under their own checksums."""
    resources = []
    for file in sorted(folder.iterdir()):
        network.pages[torchvision_datasets.FashionMNIST.mirrors[0] + file.name] = file.read_bytes()
        resources.append((file.name, hashlib.md5(file.read_bytes()).hexdigest()))
    monkeypatch.setattr(torchvision_datasets.FashionMNIST, "resources", resources)


def test_else_the_files_are_downloaded_once(folder: Path, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(folder, network, monkeypatch)
    check(FashionMNIST(image_size=28))
    asked = len(network.asked)
    check(FashionMNIST(image_size=28), "test")
    assert FashionMNIST(image_size=16).load().columns["sample"].shape == (12, 16, 16, 1)
    assert len(network.asked) == asked == 8  # for each file, whether its address has moved, and the file


def test_a_download_that_was_cut_is_fetched_anew(
    folder: Path, network: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(folder, network, monkeypatch)
    place = write(cache / "downloads" / "FashionMNIST" / "raw")
    for file in place.iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    check(FashionMNIST(image_size=28))


def test_without_all_of_them_both_remedies_are_named(network: Any) -> None:
    with pytest.raises(
        ValueError, match=r"cannot be downloaded .*apt-get install dataset-fashion-mnist.*dataset\.path"
    ):
        FashionMNIST().load()
    assert network.asked, "the download was not even tried"


def test_decoding_happens_once_for_the_same_files(folder: Path, cache: Path) -> None:
    for _ in range(2):
        check(FashionMNIST(path=str(folder), image_size=28))
    assert len(list(cache.glob("fashion_mnist-*/store.json"))) == 1


def test_other_data_in_the_same_format_are_not_taken_for_cached_ones(folder: Path, tmp_path: Path) -> None:
    check(FashionMNIST(path=str(folder), image_size=28))
    check(FashionMNIST(path=str(write(tmp_path / "other", invert=True)), image_size=28), invert=True)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_folder_that_lacks_files_is_refused_with_their_names(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"dataset\.path=.* lacks t10k-labels-idx1-ubyte, with or without \.gz"):
        FashionMNIST(path=str(folder))


DAMAGES = {
    "another kind of number": lambda data: data[:2] + b"\x0d" + data[3:],
    "another number of dimensions": lambda data: data[:3] + b"\x02" + data[4:],
    "no idx file": lambda data: b"<html>not found</html>",
    "nothing": lambda data: b"",
    "half a header": lambda data: data[:10],
    "fewer pictures than its header says": lambda data: data[:-784],
    "more pictures than its header says": lambda data: data + bytes(784),
    "another size": lambda data: idx(np.zeros((12, 27, 28), dtype=np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("packed", [True, False])
def test_pictures_that_are_not_what_their_header_says_are_refused(damage: str, packed: bool, tmp_path: Path) -> None:
    file = write(tmp_path / "data", packed) / ("train-images-idx3-ubyte" + (".gz" if packed else ""))
    data = DAMAGES[damage](gzip.decompress(file.read_bytes()) if packed else file.read_bytes())
    file.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte") as error:
        FashionMNIST(path=str(tmp_path / "data")).load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("labels", [np.zeros(11), np.full(12, 10)], ids=["one too few", "an eleventh class"])
def test_labels_that_do_not_fit_the_pictures_are_refused(labels: np.ndarray, folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels.astype(np.uint8))))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte"):
        FashionMNIST(path=str(folder)).load()


@pytest.mark.parametrize("damage", ["cut", "flipped", "not packed"])
def test_a_damaged_packed_file_is_refused(damage: str, folder: Path) -> None:
    file = folder / "train-images-idx3-ubyte.gz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(bytes({"cut": data[:300], "flipped": data, "not packed": b"text"}[damage]))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        FashionMNIST(path=str(folder)).load()


# -- the real ones -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000)])
def test_the_published_pictures_are_read_as_torchvision_reads_them(split: str, count: int, tmp_path: Path) -> None:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    found = FashionMNIST(path=str(DEBIAN), image_size=28).load(split).columns
    unpacked = [tmp_path / name for name in FILES[split]]
    for file in unpacked:
        file.write_bytes(gzip.decompress((DEBIAN / f"{file.name}.gz").read_bytes()))
    assert np.array_equal(found["sample"][..., 0].numpy(), read_image_file(str(unpacked[0])).numpy())
    assert np.array_equal(found["label"].numpy(), read_label_file(str(unpacked[1])).numpy())
    assert np.bincount(found["label"].numpy()).tolist() == [count // 10] * 10  # the paper: balanced
