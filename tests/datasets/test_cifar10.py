"""CIFAR-10 from a folder in the published format, without the published files."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets as torchvision_datasets

from gan_lab.datasets.cifar10 import CIFAR10

COUNT = 4  # pictures a file
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6 * COUNT, 32, 32, 3), dtype=np.uint8)
LABELS = RANDOM.integers(0, 10, 6 * COUNT)


pytestmark = pytest.mark.usefixtures("cache", "network")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`cifar-10-batches-py` with four pictures a file, under checksums that torchvision expects."""
    batches = tmp_path / "data" / "cifar-10-batches-py"
    batches.mkdir(parents=True)

    def write(name: str, content: dict[str, object]) -> list[str]:
        (batches / name).write_bytes(pickle.dumps(content, protocol=2))
        return [name, hashlib.md5((batches / name).read_bytes()).hexdigest()]

    lists = []
    for i, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        part = slice(i * COUNT, (i + 1) * COUNT)
        rows = PIXELS[part].transpose(0, 3, 1, 2).reshape(COUNT, 3072)  # red, green, blue planes
        lists.append(write(name, {"data": rows, "labels": LABELS[part].tolist(), "batch_label": name, "filenames": []}))
    _, checksum = write("batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "train_list", lists[:5])
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "test_list", lists[5:])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": checksum}
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "meta", meta)
    return tmp_path / "data"


@pytest.fixture
def archive(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds only the archive."""
    path = tmp_path / "archive" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as file:
        file.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    shutil.rmtree(folder)
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


@pytest.mark.parametrize(("split", "part"), [("train", slice(0, 5 * COUNT)), ("test", slice(5 * COUNT, 6 * COUNT))])
def test_pixels_and_labels_are_the_files(split: str, part: slice, folder: Path, network: Any) -> None:
    found = CIFAR10(path=str(folder)).load(split).columns
    assert np.array_equal(found["sample"].numpy(), PIXELS[part])
    assert np.array_equal(found["label"].numpy(), LABELS[part])
    assert not network.asked


@pytest.mark.parametrize("size", [64, 16, (48, 24)])
def test_another_size_is_pillows_bilinear_resizing(size: int | tuple[int, int], folder: Path) -> None:
    dataset = CIFAR10(path=str(folder), image_size=size)
    pixels = dataset.load("test").columns["sample"].numpy()
    height, width = (size, size) if isinstance(size, int) else size
    assert dataset.sample_shape == (3, height, width)
    for image, original in zip(pixels, PIXELS[5 * COUNT :], strict=True):
        expected = np.asarray(Image.fromarray(original).resize((width, height), Image.Resampling.BILINEAR), dtype=int)
        assert np.abs(image.astype(int) - expected).max() <= 1


def test_an_archive_is_read_and_nothing_is_put_beside_it(archive: Path, network: Any) -> None:
    for split, part in (("train", slice(0, 5 * COUNT)), ("test", slice(5 * COUNT, None))):
        found = CIFAR10(path=str(archive.parent)).load(split).columns
        assert np.array_equal(found["sample"].numpy(), PIXELS[part])
        assert np.array_equal(found["label"].numpy(), LABELS[part])
    assert list(archive.parent.iterdir()) == [archive]
    assert not network.asked


def test_a_download_is_fetched_once_for_both_splits(archive: Path, network: Any) -> None:
    network.pages[torchvision_datasets.CIFAR10.url] = archive.read_bytes()
    for split, part in (("train", slice(0, 5 * COUNT)), ("test", slice(5 * COUNT, None))):
        assert np.array_equal(CIFAR10().load(split).columns["sample"].numpy(), PIXELS[part])
    assert len(network.asked) == 2  # whether the address has moved, and the archive


def test_a_download_that_was_cut_is_fetched_anew(archive: Path, network: Any, cache: Path) -> None:
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / archive.name).write_bytes(archive.read_bytes()[:500])
    network.pages[torchvision_datasets.CIFAR10.url] = archive.read_bytes()
    assert len(CIFAR10().load("test")) == COUNT


def test_the_classes_have_the_names_of_the_published_list() -> None:
    # batches.meta of the archive, as its page shows them
    published = "airplane automobile bird cat deer dog frog horse ship truck"
    assert CIFAR10.class_names == tuple(published.split())
    assert CIFAR10.num_classes == len(CIFAR10.class_names)


def test_a_damaged_archive_is_refused_and_left_alone(archive: Path, network: Any) -> None:
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    before = archive.read_bytes()
    with pytest.raises(ValueError, match="holds no whole"):
        CIFAR10(path=str(archive.parent)).load()
    assert archive.read_bytes() == before
    assert not network.asked, "a download would have replaced the user's file"


def test_a_file_with_another_checksum_is_never_unpickled(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path(folder / "exploded").touch, ())

    (folder / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="cifar-10-batches-py"):
        CIFAR10(path=str(folder)).load()
    assert not (folder / "exploded").exists()


def test_a_folder_without_the_files_is_refused_with_what_it_should_hold(tmp_path: Path, network: Any) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"dataset\.path=.*cifar-10-batches-py or cifar-10-python\.tar\.gz"):
        CIFAR10(path=str(tmp_path / "empty")).load()
    assert not network.asked


def test_without_a_network_the_remedy_is_named(network: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot be downloaded .*dataset\.path=FOLDER"):
        CIFAR10().load()
    assert network.asked, "the download was not even tried"


def test_decoding_the_second_time_needs_no_files(folder: Path) -> None:
    first = CIFAR10(path=str(folder)).load("test").columns["sample"]
    shutil.rmtree(folder / "cifar-10-batches-py")
    assert np.array_equal(CIFAR10(path=str(folder)).load("test").columns["sample"].numpy(), first.numpy())
