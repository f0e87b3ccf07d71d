"""Patches of photographs: their pixels, their grid, and no photograph in both splits."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from gan_lab.datasets import photographs
from gan_lab.datasets.columns import described
from gan_lab.datasets.photographs import DEBIAN, Photographs, deviation, patches_of
from gan_lab.datasets.validation import Validation
from gan_lab.registry import datasets

RANDOM = np.random.default_rng(0)
SIX = ("astronaut", "coffee", "chelsea", "rocket", "china", "flower")
SIZES = {"a": (30, 40), "b/c": (24, 24), "d": (50, 17)}
PICTURES = {name: RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8) for name, size in SIZES.items()}

needs_packages = pytest.mark.skipif(
    not (importlib.util.find_spec("skimage") and importlib.util.find_spec("sklearn")), reason="they are not installed"
)
pytestmark = pytest.mark.usefixtures("cache")


def write(folder: Path, pictures: dict[str, np.ndarray] = PICTURES, suffix: str = ".png") -> Path:
    for name, pixels in pictures.items():
        file = folder / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "data")


def load(folder: Path, split: str = "train", **settings: Any) -> tuple[np.ndarray, list[int]]:
    dataset = Photographs(path=str(folder), **{"image_size": 8, "flat": 0, "test_share": 0, **settings})
    found = dataset.load(split)
    assert described(dataset).keys() == found.columns.keys()
    assert dataset.sample_shape == (found.columns["sample"].shape[3], *found.columns["sample"].shape[1:3])
    return found.columns["sample"].numpy(), found.columns["photograph"].tolist()


# -- patches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_side_by_side_are_the_centre_of_each_photograph_in_order(channels: int, folder: Path) -> None:
    found, number = load(folder, image_channels=channels)
    assert number == [0] * (3 * 5) + [1] * (3 * 3) + [2] * (6 * 2)
    at = 0
    for name, (height, width) in SIZES.items():
        picture = Image.fromarray(PICTURES[name]).convert("L" if channels == 1 else "RGB")
        pixels = np.asarray(picture).reshape(height, width, channels)
        rows, columns = height // 8, width // 8
        top, left = (height - 8 * rows) // 2, (width - 8 * columns) // 2
        block = found[at : at + rows * columns].reshape(rows, columns, 8, 8, channels).swapaxes(1, 2)
        whole = block.reshape(8 * rows, 8 * columns, channels)
        assert np.array_equal(whole, pixels[top : top + 8 * rows, left : left + 8 * columns])
        at += rows * columns


@pytest.mark.parametrize("size", [(8, 8), (5, 12)])
@pytest.mark.parametrize("step", [1, 3, 8, 20])
def test_patches_are_those_of_every_place_of_the_grid(size: tuple[int, int], step: int) -> None:
    pixels = PICTURES["a"]
    every = np.lib.stride_tricks.sliding_window_view(pixels, size, axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    first = [(count - 1) % step // 2 for count in every.shape[:2]]
    expected = every[first[0] :: step, first[1] :: step]
    found = list(patches_of(pixels, size, (step, step)))
    assert np.array_equal(np.stack(found), expected)


def test_a_stride_makes_patches_overlap_in_training_alone(folder: Path) -> None:
    assert len(load(folder, stride=4)[0]) == 6 * 9 + 5 * 5 + 11 * 3
    found = [len(load(folder, split, stride=4, test_share=0.3)[0]) for split in ("train", "test")]
    assert found == [6 * 9 + 5 * 5, 6 * 2]


def test_deviation_is_that_of_the_luma() -> None:
    board = (np.indices((8, 8)).sum(0) % 2)[None, ..., None].astype(np.uint8)
    assert deviation(board * 20) == pytest.approx(10)  # half 0, half 20
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        colour = np.zeros((1, 8, 8, 3), np.uint8)
        colour[..., channel] = board[..., 0] * 200
        assert deviation(colour) == pytest.approx(100 * weight, rel=1e-5)


def test_flat_patches_are_left_out_of_both_splits(tmp_path: Path) -> None:
    sky = np.full((24, 16, 3), 90, np.uint8)
    sky[8:16] = PICTURES["a"][:8, :16]
    folder = write(tmp_path / "data", {"a": sky, "b": sky})
    for split in ("train", "test"):
        found, _ = load(folder, split, flat=5, test_share=0.5)
        assert np.array_equal(found, [sky[8:16, :8], sky[8:16, 8:]])
    with pytest.raises(ValueError, match=r"dataset\.flat=200: no patch is less flat than that"):
        load(folder, flat=200)


@pytest.mark.parametrize("most", [1, 7, 36, 100])
def test_no_more_patches_than_said_are_trained_on_spread_evenly(most: int, folder: Path) -> None:
    every, number = load(folder)
    chosen = np.arange(min(most, 36)) * 36 // min(most, 36)
    found, of = load(folder, patches=most)
    assert np.array_equal(found, every[chosen])
    assert of == np.array(number)[chosen].tolist()
    assert len(load(folder, "test", patches=most, test_share=0.3)[0]) == 12, "those to test are all there"


def test_photographs_are_reduced_before_they_are_cut(folder: Path) -> None:
    found, _ = load(folder, shrink=2, image_size=(15, 20))
    expected = Image.fromarray(PICTURES["a"]).resize((20, 15), Image.Resampling.LANCZOS)
    assert np.array_equal(found, [np.asarray(expected)])


def test_photographs_that_are_too_small_or_cannot_be_read_are_skipped_and_named(folder: Path) -> None:
    (folder / "0.jpg").write_bytes(b"no picture")
    dataset = Photographs(path=str(folder), image_size=20, test_share=0, flat=0)
    found = dataset.load()
    assert found.columns["photograph"].tolist() == [1, 1, 2]  # a, a, b/c: as in `photographs`
    assert dataset.photographs == {"train": ("0", "a", "c", "d")}
    assert found.skipped.keys() == {"0.jpg", "d.png"}
    assert found.skipped["d.png"] == "50 x 17 pixels are fewer than a patch has"


# -- splits ------------------------------------------------------------------------------------------------------------


def test_the_last_photographs_by_name_are_held_out(folder: Path) -> None:
    dataset = Photographs(path=str(folder), test_share=0.1)
    assert dataset.photographs == {"train": ("a", "c"), "test": ("d",)}
    assert Photographs(path=str(folder), test_share=0).splits == ("train",)


def test_photographs_to_test_may_lie_in_a_folder_of_their_own(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"z": PICTURES["d"]})
    assert len(load(folder, test_path=str(other))[0]) == 36
    assert len(load(folder, "test", test_path=str(other))[0]) == 12
    for test_path, why in ((folder / "b", "share pictures"), (tmp_path / "nowhere", "there is no such folder")):
        with pytest.raises(ValueError, match=rf"dataset\.test_path=.*{why}"):
            Photographs(path=str(folder), test_path=str(test_path))
    with pytest.raises(ValueError, match=r"dataset\.test_path=.*it goes with dataset\.path"):
        Photographs(test_path=str(other))


@pytest.mark.parametrize("count", [1, 9, 13])
def test_validation_divides_no_photograph(count: int, folder: Path) -> None:
    held = Validation(Photographs(path=str(folder), image_size=8, flat=0, test_share=0, stride=4), count)
    numbers = {split: held.load(split).columns["photograph"] for split in ("train", "test")}
    assert len(numbers["test"]) == count
    assert not set(numbers["train"].tolist()) & set(numbers["test"].tolist())
    assert len(numbers["train"]) in (54 + 25, 54 + 33, 25 + 33), "all others are trained on"
    with pytest.raises(ValueError, match="leaves none to train on"):
        Validation(held.dataset, 54 + 25 + 33 - 1).load()


@needs_packages
def test_the_test_split_is_the_same_whatever_else_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for names in ((), DEBIAN[:2], DEBIAN[1:3]):
        place = write(tmp_path / str(names[:1]), {name.removesuffix(".jpg"): PICTURES["a"] for name in names}, ".jpg")
        monkeypatch.setattr(photographs, "BACKGROUNDS", place)
        for shrink in (None, 2):
            dataset = Photographs(shrink=shrink)
            assert dataset.photographs["test"] == SIX
            digests.add(dataset.load("test").digest)
    assert len(digests) == 1


@needs_packages
def test_the_test_patches_are_scikit_images_pixels() -> None:
    from skimage import data

    found = Photographs(image_size=64, flat=0).load("test").columns
    astronaut = found["sample"][found["photograph"] == 0].numpy()
    whole = astronaut.reshape(8, 8, 64, 64, 3).swapaxes(1, 2).reshape(512, 512, 3)
    assert np.array_equal(whole, data.astronaut())


@needs_packages
def test_debians_photographs_are_trained_on_where_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {name.removesuffix(".jpg"): PICTURES["a"] for name in (DEBIAN[13], DEBIAN[0])}, ".jpg")
    monkeypatch.setattr(photographs, "BACKGROUNDS", tmp_path)
    dataset = Photographs(image_size=3, flat=0)
    assert dataset.photographs["train"] == ("Bridge_by_Sander_Klootwijk", "Aqua")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(dataset.load()) == 2 * (30 // 4 // 3) * (40 // 4 // 3), "reduced by 4"


@needs_packages
def test_without_debians_photographs_scikit_images_others_are_trained_on_which_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs, "BACKGROUNDS", tmp_path)
    dataset = Photographs(image_size=100)
    with pytest.warns(UserWarning, match="apt-get install lomiri-wallpapers-16.04 mate-backgrounds"):
        found = dataset.load()
    assert not found.skipped
    assert not set(dataset.photographs["train"]) & set(SIX)
    assert set(found.columns["photograph"].tolist()) == set(range(len(dataset.photographs["train"])))


def test_without_the_packages_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "hydra-gan-lab\[images\]", or set dataset\.path') as error:
        Photographs()
    assert "\n" not in str(error.value)


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_the_names_and_every_setting_decide_which_store_it_is(folder: Path, cache: Path) -> None:
    for settings in (
        {}, {"image_size": 4}, {"image_size": (4, 8)}, {"image_channels": 1}, {"stride": 4}, {"shrink": 2}, {"flat": 1},
        {"patches": 5}, {"test_share": 0.3},
    ):  # fmt: skip
        load(folder, **settings)
    (folder / "a.png").rename(folder / "e.png")
    load(folder)
    assert len(list(cache.glob("photographs-*/store.json"))) == 10


def test_an_empty_folder_and_an_unknown_split_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"dataset\.path=.*: no picture in it; these are read: \.bmp"):
        Photographs(path=str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="split=valid: there is no such choice"):
        Photographs(path=str(folder)).load("valid")


def test_it_is_chosen_by_name_with_its_settings_checked(folder: Path) -> None:
    settings = {"name": "photographs", "path": str(folder), "image_size": [8, 16], "image_channels": 1}
    assert datasets.build(OmegaConf.create(settings)).sample_shape == (1, 8, 16)
    with pytest.raises(ValueError, match=r"dataset\.image_channels=2.*Choose from: 1, 3"):
        datasets.build(OmegaConf.create(settings | {"image_channels": 2}))
