"""Two folders of pictures: CycleGAN's layout, a held-out share, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.datasets.two_folders import TwoFolders

pytestmark = pytest.mark.usefixtures("cache")


def write(folder: Path, name: str, count: int, size: tuple[int, int] = (12, 9), value: int = 0) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((*size, 3), value + number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{number:02}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "trainA", 10)
    write(tmp_path, "trainB", 20, size=(30, 40), value=100)
    return tmp_path


def test_domains_of_any_number_and_size_become_domains_of_one_size(folder: Path) -> None:
    dataset = TwoFolders(path=str(folder), image_size=8)
    train, test = dataset.load("train"), dataset.load("test")
    assert (train.lengths, test.lengths) == ({"": 9, "b": 18}, {"": 1, "b": 2})
    assert train.columns["a"][:, 4, 4, 0].tolist() == list(range(9))
    assert test.columns["b"][:, 4, 4, 0].tolist() == [118, 119], "the last by name"
    assert {column.shape[1:] for column in train.columns.values()} == {torch.Size([8, 8, 3])}


def test_folders_of_held_out_pictures_are_the_test(folder: Path) -> None:
    write(folder, "testA", 3, value=50)
    assert TwoFolders(path=str(folder)).load("test").lengths == {"": 1, "b": 2}, "one alone is none"
    write(folder, "testB", 2, value=60)
    dataset = TwoFolders(path=str(folder), image_size=8, image_channels=1)
    assert (dataset.load("train").lengths, dataset.load("test").lengths) == ({"": 10, "b": 20}, {"": 3, "b": 2})
    assert dataset.load("test").columns["a"].shape == (3, 8, 8, 1)


def test_without_a_held_out_share_there_is_no_test(folder: Path) -> None:
    assert TwoFolders(path=str(folder), test_share=0.0).splits == ("train",)


def test_what_does_not_fit_is_refused_with_the_remedy(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"needs dataset.path=FOLDER with the sub-folders trainA and trainB"):
        TwoFolders()
    with pytest.raises(ValueError, match=r"no sub-folder zebra: create it, or name it by dataset.b"):
        TwoFolders(path=str(folder), b="zebra")
    with pytest.raises(ValueError, match=r"empty: no picture in it; these are read: .*.png"):
        TwoFolders(path=str(folder), b="empty")
    with pytest.raises(ValueError, match=r"dataset.a=trainA and dataset.b=trainA share pictures"):
        TwoFolders(path=str(folder), b="trainA")


def test_a_picture_that_cannot_be_read_is_skipped_and_a_domain_without_any_is_refused(folder: Path) -> None:
    (folder / "trainA/00.png").write_bytes(b"no picture")
    train = TwoFolders(path=str(folder)).load("train")
    assert train.lengths == {"": 8, "b": 18}
    assert list(train.skipped) == ["trainA/00.png"]
    for file in (folder / "trainB").iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"no picture of domain b could be read \(trainB/00.png: "):
        TwoFolders(path=str(folder)).load("train")
