"""STL-10 from files in the published format, against torchvision's own reading of them."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets as torchvision_datasets

from gan_lab.datasets import stl10
from gan_lab.datasets.stl10 import STL10

COUNTS = {"train": 5, "test": 4, "unlabeled": 7}

pytestmark = pytest.mark.usefixtures("cache", "network")


@pytest.fixture(autouse=True)
def chunks_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stl10, "AT_ONCE", 3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`stl10_binary` with a few pictures a file, under checksums that torchvision expects."""
    random = np.random.default_rng(0)
    binary = tmp_path / "data" / "stl10_binary"
    binary.mkdir(parents=True)
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": []}
    for part, count in COUNTS.items():
        coarse = Image.effect_noise((96, 96 * 3 * count), 60)  # smooth enough to tell rows from columns
        contents = {"X": np.asarray(coarse, dtype=np.uint8).reshape(count, 3, 96, 96)}
        if part != "unlabeled":
            contents["y"] = random.permutation(10)[:count].astype(np.uint8) + 1
        for kind, values in contents.items():
            file = binary / f"{part}_{kind}.bin"
            file.write_bytes(values.tobytes())
            lists["test_list" if part == "test" else "train_list"].append([file.name, _md5(file)])
    for name, entries in lists.items():
        monkeypatch.setattr(torchvision_datasets.STL10, name, entries)
    return tmp_path / "data"


@pytest.fixture
def archive(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "archive" / "stl10_binary.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as file:
        file.add(folder / "stl10_binary", "stl10_binary")
    monkeypatch.setattr(torchvision_datasets.STL10, "tgz_md5", _md5(path))
    return path


def _md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def theirs(folder: Path, split: str) -> Any:
    return torchvision_datasets.STL10(str(folder), split=split)


@pytest.mark.parametrize("part", ["unlabeled", "train", "train+unlabeled"])
def test_pixels_are_as_torchvision_reads_them(part: str, folder: Path, network: Any) -> None:
    found = STL10(path=str(folder), image_size=96, part=part).load()  # type: ignore[arg-type]
    assert np.array_equal(found.columns["sample"].numpy(), theirs(folder, part).data.transpose(0, 2, 3, 1))
    assert ("label" in found) == (part == "train")
    assert not network.asked


@pytest.mark.parametrize("split", ["train", "test"])
def test_classes_count_from_zero(split: str, folder: Path) -> None:
    dataset = STL10(path=str(folder), image_size=96, part="train")
    found = dataset.load(split).columns
    in_file = np.frombuffer((folder / "stl10_binary" / f"{split}_y.bin").read_bytes(), np.uint8)
    assert found["label"].tolist() == (in_file - 1).tolist() == theirs(folder, split).labels.tolist()
    # class_names.txt of the archive
    published = "airplane bird car cat deer dog horse monkey ship truck"
    assert dataset.class_names == tuple(published.split())
    assert dataset.num_classes == 10


@pytest.mark.parametrize("part", ["unlabeled", "train+unlabeled"])
def test_without_labels_the_test_split_has_none_either(part: str, folder: Path) -> None:
    dataset = STL10(path=str(folder), image_size=96, part=part)  # type: ignore[arg-type]
    assert (dataset.num_classes, dataset.class_names) == (None, None)
    found = dataset.load("test")
    assert "label" not in found
    assert np.array_equal(found.columns["sample"].numpy(), theirs(folder, "test").data.transpose(0, 2, 3, 1))
    assert "label" in STL10(path=str(folder), image_size=96, part="train").load("test"), "one's cache is the other's"


@pytest.mark.parametrize("size", [48, 32, (64, 24)])
def test_another_size_is_pillows_antialiased_resizing(size: int | tuple[int, int], folder: Path) -> None:
    dataset = STL10(path=str(folder), image_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    assert dataset.sample_shape == (3, height, width)
    originals = theirs(folder, "unlabeled").data.transpose(0, 2, 3, 1)
    for image, original in zip(dataset.load().columns["sample"].numpy(), originals, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(original))
        expected = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=int)
        assert np.abs(image.astype(int) - expected).max() <= 1


def test_at_most_so_many_pictures_are_held_at_once(folder: Path) -> None:
    rows = STL10(path=str(folder), part="train+unlabeled")._rows(["train", "unlabeled"], False)
    assert [len(chunk["sample"]) for chunk in rows] == [3, 2, 3, 3, 1]


@pytest.mark.parametrize("part", ["unlabeled", "train"])
def test_an_archive_is_read_and_nothing_is_put_beside_it(part: str, archive: Path, folder: Path, network: Any) -> None:
    found = STL10(path=str(archive.parent), image_size=96, part=part).load()  # type: ignore[arg-type]
    assert np.array_equal(found.columns["sample"].numpy(), theirs(folder, part).data.transpose(0, 2, 3, 1))
    assert list(archive.parent.iterdir()) == [archive]
    assert not network.asked


def test_the_folder_of_the_files_itself_may_be_given(folder: Path) -> None:
    assert len(STL10(path=str(folder / "stl10_binary")).load()) == COUNTS["unlabeled"]


def test_a_download_is_fetched_once(archive: Path, network: Any, cache: Path) -> None:
    network.pages[torchvision_datasets.STL10.url] = archive.read_bytes()
    assert len(STL10().load()) == COUNTS["unlabeled"]
    assert len(STL10(part="train").load()) == COUNTS["train"]
    assert len(network.asked) == 2  # whether the address has moved, and the archive


def test_without_a_network_the_remedy_is_named(network: Any) -> None:
    with pytest.raises(
        ValueError, match=r"STL-10 cannot be downloaded .*dataset\.path=FOLDER with stl10_binary\.tar\.gz"
    ):
        STL10().load()
    assert network.asked, "the download was not even tried"


def test_a_folder_without_the_files_is_refused_with_what_it_should_hold(tmp_path: Path, network: Any) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"dataset\.path=.*stl10_binary or stl10_binary\.tar\.gz"):
        STL10(path=str(tmp_path / "empty")).load()
    assert not network.asked


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _cut_by_a_picture(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: -3 * 96 * 96])


def _change(file: Path) -> None:
    file.write_bytes(b"\x00" * 10 + file.read_bytes()[10:])


@pytest.mark.parametrize("damage", [_cut, _cut_by_a_picture, _change, Path.unlink])
def test_a_file_that_is_not_the_published_one_is_refused_and_no_store_is_left(
    damage: Any, folder: Path, cache: Path
) -> None:
    damage(folder / "stl10_binary" / "unlabeled_X.bin")
    with pytest.raises(ValueError, match=r"no whole unlabeled_X\.bin"):
        STL10(path=str(folder)).load()
    assert not list(cache.glob("stl10-*/"))


def test_a_damaged_archive_is_refused_and_left_alone(archive: Path, network: Any) -> None:
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 10])
    before = archive.read_bytes()
    with pytest.raises(ValueError, match="holds no whole"):
        STL10(path=str(archive.parent), part="train+unlabeled").load()
    assert archive.read_bytes() == before
    assert not network.asked
