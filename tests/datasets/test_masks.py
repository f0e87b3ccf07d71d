"""Pictures with masks: the shipped nuclei, users' folders, MVTec's layout, and masks that are left out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.cli import main
from gan_lab.datasets.masked_folder import MaskedFolder
from gan_lab.datasets.masks import partly_labelled
from gan_lab.datasets.mvtec import MVTec
from gan_lab.datasets.nuclei import Nuclei
from gan_lab.datasets.store import Store
from tests.tasks.labelled import DETECTOR
from tests.tasks.toys import QUICK

RNG = np.random.default_rng(0)
with_stardist = pytest.mark.skipif(importlib.util.find_spec("stardist") is None, reason="stardist is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


# -- masks that are left out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "kept"), [(1.0, 20), (0.5, 10), (0.1, 2), (0.001, 1)])
def test_the_first_rows_keep_their_masks(share: float, kept: int) -> None:
    pictures, masks = torch.arange(20).reshape(20, 1, 1, 1).to(torch.uint8), torch.tensor([0, 1]).repeat(20, 3, 1)
    store = partly_labelled(Store({"sample": pictures, "mask": masks.to(torch.uint8)}), share)
    assert len(store) == len(store.columns["mask"]) == kept
    others = store.columns.get("unlabelled", pictures[:0])
    assert torch.equal(torch.cat([store.columns["sample"], others]), pictures)
    assert store.lengths == ({"": 20} if kept == 20 else {"": kept, "unlabelled": 20 - kept})


@pytest.mark.parametrize(
    ("share", "rows"), [(1.0, range(20)), (0.25, [2, 6, 10, 14, 18]), (0.1, [5, 15]), (0.01, [10])]
)
def test_of_a_volume_slices_at_equal_distances_keep_their_masks(share: float, rows: list[int]) -> None:
    pictures = torch.arange(20).reshape(20, 1, 1, 1).to(torch.uint8)
    masks = torch.tensor([[[0, 1]]], dtype=torch.uint8).expand(20, -1, -1).contiguous()
    store = partly_labelled(Store({"sample": pictures, "mask": masks}), share, spread=True)
    assert store.columns["sample"].flatten().tolist() == list(rows)
    others = store.columns.get("unlabelled", pictures[:0]).flatten().tolist()
    assert sorted([*rows, *others]) == list(range(20))


def test_a_class_without_a_pixel_is_refused() -> None:
    masks = torch.zeros(4, 3, 3, dtype=torch.uint8)
    masks[2] = 1
    store = Store({"sample": torch.zeros(4, 3, 3, 1, dtype=torch.uint8), "mask": masks})
    assert partly_labelled(store, 1.0) is store
    with pytest.raises(ValueError, match=r"no training mask has a pixel of class 1, .* a larger dataset.labelled"):
        partly_labelled(store, 0.5)


# -- nuclei ------------------------------------------------------------------------------------------------------------


@with_stardist
def test_nuclei_are_of_two_halves_of_one_picture() -> None:
    data = Nuclei()
    train, test = (data.load(split).columns for split in data.splits)
    assert train["sample"].shape == (377, 64, 64, 1)
    assert test["sample"].shape == (32, 64, 64, 1)
    assert set(test["mask"].unique().tolist()) == {0, 1}
    inside, outside = (test["sample"][..., 0][test["mask"] == k].double().mean() for k in (1, 0))
    assert inside > 1.5 * outside
    assert 0.2 < float(test["mask"].double().mean()) < 0.23  # 0.214 of the lower half
    tenth = Nuclei(labelled=0.1)
    assert tenth.columns.keys() == {"sample", "mask", "unlabelled"}
    assert {name: len(column) for name, column in tenth.load().columns.items()} == {
        "sample": 38, "mask": 38, "unlabelled": 339,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"256 x 512 px; give fewer"):
        Nuclei(image_size=300)


# -- folders -----------------------------------------------------------------------------------------------------------


def write_masked(folder: Path, num: int = 5, value: int = 255) -> None:
    for k in range(num):
        save(folder / "images" / f"{k}.png", RNG.integers(0, 256, (12, 16), dtype=np.uint8))
        save(folder / "masks" / f"{k}.png", (RNG.random((12, 16)) > 0.5).astype(np.uint8) * value)


def test_of_two_classes_whatever_is_not_black_is_the_second(tmp_path: Path) -> None:
    for value in (1, 255):
        write_masked(tmp_path / str(value), value=value)
        data = MaskedFolder(path=str(tmp_path / str(value)))
        assert set(data.load().columns["mask"].unique().tolist()) == {0, 1}
    assert data.columns["mask"].shape == (12, 16)
    assert {split: len(data.load(split)) for split in data.splits} == {"train": 4, "test": 1}
    expected = np.asarray(Image.open(tmp_path / "255" / "masks" / "0.png")) > 0
    assert np.array_equal(data.load().columns["mask"][0].numpy(), expected)


def test_of_more_classes_values_are_their_numbers(tmp_path: Path) -> None:
    write_masked(tmp_path, value=2)
    save(tmp_path / "masks" / "1.png", RNG.integers(0, 3, (12, 16), dtype=np.uint8))
    data = MaskedFolder(path=str(tmp_path), mask_classes=3)
    assert set(data.load().columns["mask"].unique().tolist()) == {0, 1, 2}
    write_masked(tmp_path, value=7)
    with pytest.raises(ValueError, match=r"masks with the value 7, and classes are 0 to 2: set dataset.mask_classes=8"):
        MaskedFolder(path=str(tmp_path), mask_classes=3).load()


def test_what_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs dataset.path=FOLDER with the sub-folders images and masks"):
        MaskedFolder()
    write_masked(tmp_path)
    save(tmp_path / "masks" / "3.png", np.zeros((12, 15), np.uint8))
    with pytest.raises(ValueError, match=r"masks/3.png 12 x 15"):
        MaskedFolder(path=str(tmp_path)).load()
    (tmp_path / "masks" / "3.png").unlink()
    with pytest.raises(ValueError, match="without partner: 3"):
        MaskedFolder(path=str(tmp_path))


# -- MVTec's layout ----------------------------------------------------------------------------------------------------


def write_mvtec(folder: Path, masks: bool = True) -> None:
    for k in range(24):
        save(folder / "train" / "good" / f"{k}.png", RNG.integers(90, 110, (16, 16, 3), dtype=np.uint8))
    for k in range(6):
        save(folder / "test" / "good" / f"{k}.png", RNG.integers(90, 110, (16, 16, 3), dtype=np.uint8))
        spoilt, mask = RNG.integers(90, 110, (16, 16, 3), dtype=np.uint8), np.zeros((16, 16), np.uint8)
        spoilt[4:9, 5:12], mask[4:9, 5:12] = 255, 255
        save(folder / "test" / "scratch" / f"{k}.png", spoilt)
        if masks:
            save(folder / "ground_truth" / "scratch" / f"{k}_mask.png", mask)


def test_defects_have_masks_and_normal_pictures_none(tmp_path: Path) -> None:
    write_mvtec(tmp_path)
    data = MVTec(path=str(tmp_path), image_size=16)
    train, test = (data.load(split).columns for split in data.splits)
    assert (len(train["sample"]), int(train["anomaly"].sum()), int(train["mask"].sum())) == (24, 0, 0)
    assert test["anomaly"].tolist() == [0] * 6 + [1] * 6
    assert test["mask"].sum((1, 2)).tolist() == [0] * 6 + [35] * 6
    assert (test["sample"][test["mask"].bool()] == 255).all()
    grey = MVTec(path=str(tmp_path), image_size=(8, 16), image_channels=1).load("test").columns
    assert grey["sample"].shape == (12, 8, 16, 1)
    assert grey["mask"].shape == (12, 8, 16)


def test_without_masks_pictures_alone_are_judged(tmp_path: Path) -> None:
    write_mvtec(tmp_path, masks=False)
    data = MVTec(path=str(tmp_path), image_size=16)
    assert data.columns.keys() == data.load("test").columns.keys() == {"sample", "anomaly"}


def test_missing_folders_and_masks_are_refused_and_unreadable_pictures_left_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no picture in train/good"):
        MVTec(path=str(tmp_path))
    write_mvtec(tmp_path)
    (tmp_path / "test" / "scratch" / "2.png").write_bytes(b"no picture")
    store = MVTec(path=str(tmp_path)).load("test")
    assert len(store) == 11
    assert list(store.skipped) == ["test/scratch/2.png"]
    (tmp_path / "ground_truth" / "scratch" / "3_mask.png").unlink()
    with pytest.raises(ValueError, match=r"scratch/3.png has no mask: give .*3_mask.png"):
        MVTec(path=str(tmp_path))


@pytest.mark.slow
def test_a_detector_finds_the_pixels_of_defects(tmp_path: Path) -> None:
    write_mvtec(tmp_path / "data")
    words = [
        *QUICK, "task=ganomaly", *DETECTOR[:-2], "dataset=mvtec", f"dataset.path={tmp_path}/data",
        "dataset.image_size=16", "trainer.images=800", "evaluation.metrics=[auroc,pixel_auroc]",
        f"run_dir={tmp_path}/run",
    ]  # fmt: skip
    assert main(["train", *words]) == 0
    scores = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert scores["auroc"]["value"] > 0.9
    assert scores["pixel_auroc"]["value"] > 0.9
