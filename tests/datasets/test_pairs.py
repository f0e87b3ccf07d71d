"""Pairs of a user's own pictures: matched by name, aligned to the pixel, with the bits of their files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from gan_lab.datasets import pairs
from gan_lab.datasets.columns import Column, described
from gan_lab.datasets.pairs import Pairs
from gan_lab.datasets.validation import Validation
from gan_lab.registry import datasets
from tests.datasets.files import png_16

RANDOM = np.random.default_rng(0)
NAMES = ("b", "a/2", "a/1", "c")
TARGETS = {name: RANDOM.integers(0, 256, (12, 16, 3), dtype=np.uint8) for name in NAMES}
SOURCES = {name: RANDOM.integers(0, 256, (6, 8, 1), dtype=np.uint8) for name in NAMES}

pytestmark = pytest.mark.usefixtures("cache")


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, pixels)
    elif pixels.dtype == np.uint16:
        png_16(file, pixels)
    else:
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file)


def write(folder: Path, sources: dict[str, np.ndarray] = SOURCES, targets: dict[str, np.ndarray] = TARGETS) -> Path:
    for name, pixels in sources.items():
        save(folder / "source" / f"{name}.png", pixels)
    for name, pixels in targets.items():
        save(folder / "target" / f"{name}.{'bmp' if pixels.dtype == np.uint8 else 'png'}", pixels)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "data")


def build(folder: Path, **settings: Any) -> Pairs:
    return Pairs(path=str(folder), **{"source_channels": 1, **settings})


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_pairs_are_matched_by_name_whatever_the_suffix_and_keep_their_pixels(folder: Path) -> None:
    dataset = build(folder, test_share=0)
    found = dataset.load().columns
    assert list(found) == ["source", "target"]
    for i, name in enumerate(sorted(NAMES)):
        assert np.array_equal(found["source"][i].numpy(), SOURCES[name])
        assert np.array_equal(found["target"][i].numpy(), TARGETS[name])
    assert (dataset.num_classes, dataset.sample_shape) == (None, (3, 12, 16))
    assert described(dataset) == {
        "source": Column("picture", (1, 6, 8), "uint8", (-1.0, 1.0)),
        "target": Column("picture", (3, 12, 16), "uint8", (-1.0, 1.0)),
    }


@pytest.mark.parametrize("size", [4, (6, 10), (12, 16)])
def test_both_are_cropped_at_the_same_place(size: int | tuple[int, int], tmp_path: Path) -> None:
    # a target is its source, each pixel twice in each direction: it stays so
    targets = {name: pixels.repeat(2, axis=0).repeat(2, axis=1) for name, pixels in SOURCES.items()}
    dataset = build(write(tmp_path / "data", targets=targets), image_size=size, image_channels=1)
    store = dataset.load()
    rows = torch.arange(len(store))
    source, target = (store.fetch(side, rows) for side in ("source", "target"))
    height, width = (size, size) if isinstance(size, int) else size
    assert target.shape[1:] == (1, height, width) == dataset.sample_shape
    assert torch.equal(target, source.repeat_interleave(2, 2).repeat_interleave(2, 3))
    if size == 4:  # the centre: of 6 rows the third and fourth, of 8 columns the fourth and fifth
        assert np.array_equal(store.columns["source"][0].numpy(), SOURCES["a/1"][2:4, 3:5])


def test_pictures_of_many_sizes_are_cropped_to_one(tmp_path: Path) -> None:
    sides = {"a": (12, 16), "b": (9, 30), "c": (8, 8)}
    pictures = {name: RANDOM.integers(0, 256, (*side, 3), dtype=np.uint8) for name, side in sides.items()}
    store = Pairs(path=str(write(tmp_path / "data", pictures, pictures)), image_size=8, test_share=0).load()
    assert torch.equal(store.columns["source"], store.columns["target"])
    assert np.array_equal(store.columns["target"][1].numpy(), pictures["b"][0:8, 11:19])


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path) -> None:
    deep = {name: RANDOM.integers(0, 65536, (12, 16, 3), dtype=np.uint16) for name in NAMES}
    dataset = build(write(tmp_path / "data", targets=deep), test_share=0)
    found = dataset.load()
    assert found.columns["target"].dtype == torch.uint16
    assert dataset.columns["target"].dtype == "uint16"
    assert np.array_equal(found.columns["target"].numpy(), [deep[name] for name in sorted(NAMES)])
    assert found.columns["source"].dtype == torch.uint8, "each side has its own"


def test_arrays_of_any_channels_are_stored_in_the_range_that_is_said(tmp_path: Path) -> None:
    for i, value in enumerate((-1024.0, 3071.0, 0.0)):
        for side, shape in (("source", (4, 4, 9)), ("target", (8, 8))):
            save(tmp_path / "data" / side / f"{i}.npy", np.full(shape, value))
    dataset = Pairs(
        path=str(tmp_path / "data"), source_channels=9, image_channels=1, value_range=(-1024, 3071), test_share=0
    )
    store = dataset.load()
    assert [column.dtype for column in dataset.columns.values()] == ["float32", "float32"]
    for side, shape in (("source", (9, 4, 4)), ("target", (1, 8, 8))):
        found = store.fetch(side, torch.arange(3))
        assert (found.dtype, tuple(found.shape[1:])) == (torch.float32, shape)
        assert found.mean((1, 2, 3)).tolist() == pytest.approx([-1, 1, 2 * 1024 / 4095 - 1], abs=1e-6)


def test_sixteen_bits_that_use_twelve_are_scaled_by_their_range(tmp_path: Path) -> None:
    deep = {"a": np.array([[[0], [4095]]], dtype=np.uint16)}
    dataset = build(write(tmp_path / "data", deep, deep), image_channels=1, value_range=(0, 4095))
    assert dataset.load().columns["target"].flatten().tolist() == [-1, 1]


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path) -> None:
    opaque = np.concatenate([TARGETS["b"], np.full((12, 16, 1), 255, np.uint8)], axis=2)
    save(tmp_path / "data/source/b.png", SOURCES["b"])
    save(tmp_path / "data/target/b.png", opaque)
    assert np.array_equal(build(tmp_path / "data").load().columns["target"][0].numpy(), TARGETS["b"])
    opaque[3, 3, 3] = 254
    save(tmp_path / "data/target/b.png", opaque)
    with pytest.raises(ValueError, match=r"b\.png has transparent pixels: .*dataset\.image_channels=4") as error:
        build(tmp_path / "data")
    one_line(error)
    assert np.array_equal(build(tmp_path / "data", image_channels=4).load().columns["target"][0].numpy(), opaque)


# -- splits ------------------------------------------------------------------------------------------------------------


def test_the_last_by_name_are_held_out(folder: Path) -> None:
    dataset = build(folder, test_share=0.5)
    assert dataset.splits == ("train", "test")
    for split, names in (("train", ("a/1", "a/2")), ("test", ("b", "c"))):
        found = dataset.load(split).columns["target"]
        assert np.array_equal(found.numpy(), [TARGETS[name] for name in names])
    assert len(build(folder, test_share=0.01).load("test")) == 1
    assert len(build(folder, test_share=1).load("train")) == 1


def test_without_a_share_there_is_no_test_split(folder: Path) -> None:
    dataset = build(folder, test_share=0)
    assert (dataset.splits, len(dataset.load())) == (("train",), 4)
    with pytest.raises(ValueError, match="split=test: there is no such choice"):
        dataset.load("test")


def test_pairs_to_test_may_lie_in_a_folder_of_their_own_and_have_the_same_names(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"b": SOURCES["c"]}, {"b": TARGETS["c"]})
    dataset = build(folder, test_path=str(other))
    assert (len(dataset.load("train")), len(dataset.load("test"))) == (4, 1)
    assert np.array_equal(dataset.load("test").columns["target"][0].numpy(), TARGETS["c"])


@pytest.mark.parametrize(
    ("test_path", "why"), [("nowhere", "no such folder"), ("data/source", "share"), (".", "share")]
)
def test_a_test_folder_that_is_missing_or_trained_on_is_refused(
    test_path: str, why: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.test_path=.*{why}"):
        build(folder, test_path=str(tmp_path / test_path))


def test_validation_holds_out_whole_pairs(folder: Path) -> None:
    held = Validation(build(folder, test_share=0), 1)
    assert held.columns == described(held)
    for split, count in (("train", 3), ("test", 1)):
        found = held.load(split).columns
        assert len(found["source"]) == len(found["target"]) == count
        for source, target in zip(found["source"].numpy(), found["target"].numpy(), strict=True):
            (name,) = [name for name in NAMES if np.array_equal(TARGETS[name], target)]
            assert np.array_equal(SOURCES[name], source)


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_without_a_folder_or_its_sub_folders_the_setting_is_named(folder: Path, tmp_path: Path) -> None:
    for settings, why in (
        ({}, r"dataset=pairs needs dataset\.path=FOLDER with the sub-folders source and target"),
        ({"path": str(tmp_path / "nowhere")}, r"dataset\.path=.*nowhere: there is no such folder"),
        ({"path": str(folder), "source": "low"}, r"path=.*: its sub-folder low does not exist.*dataset\.source"),
    ):
        with pytest.raises(ValueError, match=why) as error:
            Pairs(**settings)  # type: ignore[arg-type]
        one_line(error)
    shutil.rmtree(folder / "target")
    (folder / "target").mkdir()
    with pytest.raises(ValueError, match=r"its sub-folder target holds no picture; these are read: .*\.npy"):
        build(folder)


def test_names_without_a_partner_are_counted_and_the_first_three_named(folder: Path) -> None:
    for i in range(5):
        save(folder / "source" / f"more{i}.png", SOURCES["b"])
    (folder / "source" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"dataset\.path=") as error:
        build(folder)
    said = one_line(error)
    assert "8 in source (5 without partner: more0, more1, more2, ...) and 4 in target (1 without partner: b):" in said


def test_two_files_of_one_name_are_refused(folder: Path) -> None:
    save(folder / "target" / "a" / "1.png", TARGETS["b"])
    with pytest.raises(ValueError, match=r"sub-folder target holds 1\.\w+ and 1\.\w+, of one name") as error:
        build(folder)
    one_line(error)


@pytest.mark.parametrize("shape", [(6, 9, 1), (5, 8, 1), (24, 32, 1), (12, 8, 1)])
def test_sizes_that_do_not_match_by_a_whole_factor_are_refused_with_both(shape: tuple[int, ...], folder: Path) -> None:
    save(folder / "source" / "a" / "2.png", np.zeros(shape, np.uint8))
    sizes = rf"a/2\.png has {shape[0]} x {shape[1]} pixels and .*a/2\.bmp 12 x 16"
    with pytest.raises(ValueError, match=sizes) as error:
        build(folder).load()
    assert "smaller by a whole factor" in one_line(error)


def test_sizes_that_differ_between_pairs_are_refused_with_the_remedy(folder: Path) -> None:
    save(folder / "source" / "b.png", np.zeros((4, 4, 1), np.uint8))
    save(folder / "target" / "b.bmp", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"1\.png has 6 x 8 pixels .*b\.png 4 x 4: .*dataset\.image_size") as error:
        build(folder).load()
    one_line(error)
    assert len(build(folder, image_size=8, test_share=0).load()) == 4


def test_factors_that_differ_between_pairs_are_refused(folder: Path) -> None:
    save(folder / "source" / "b.png", np.zeros((12, 16, 1), np.uint8))
    with pytest.raises(ValueError, match="sources must be smaller by one factor for all") as error:
        build(folder, image_size=8).load()
    one_line(error)


def test_an_image_size_that_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"has 12 x 16 pixels .*fewer than dataset\.image_size=\[14, 14\]") as error:
        build(folder, image_size=14)
    one_line(error)
    with pytest.raises(ValueError, match=r"dataset\.image_size=\[7, 8\]: it must be a multiple of 2") as error:
        build(folder, image_size=(7, 8))
    one_line(error)


@pytest.mark.parametrize(("side", "setting"), [("source", "source_channels=1"), ("target", "image_channels=3")])
def test_other_channels_than_asked_for_are_refused_with_the_setting(side: str, setting: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=rf"{side}/a/1\.\w+ has . channels, not 5: set dataset\.{setting}") as error:
        build(folder, **{setting.split("=")[0]: 5})
    one_line(error)


def test_eight_and_sixteen_bits_of_one_side_are_not_mixed(folder: Path) -> None:
    png_16(folder / "source" / "c.png", SOURCES["c"].astype(np.uint16))
    with pytest.raises(ValueError, match=r"1\.png holds uint8 and .*c\.png uint16: save all of one kind") as error:
        build(folder, test_share=0).load()
    one_line(error)


def test_float_files_need_a_range_and_must_lie_in_it(tmp_path: Path) -> None:
    for side in ("source", "target"):
        save(tmp_path / side / "a.npy", np.array([[[0.0], [3.5]]]))
    for settings, why in (
        ({}, r"a\.npy holds float64 from 0 to 3\.5: set dataset\.value_range"),
        ({"value_range": (0.0, 1.0)}, r"from 0 to 3\.5, outside dataset\.value_range=\[0,1\]"),
        ({"value_range": (1.0, 1.0)}, r"dataset\.value_range=\[1\.0, 1\.0\]: the lowest value comes first"),
    ):
        with pytest.raises(ValueError, match=why) as error:
            build(tmp_path, image_channels=1, **settings)
        one_line(error)


def test_pairs_that_cannot_be_read_are_skipped_and_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "CHUNK", 2)  # a chunk without a good pair, too
    (folder / "source" / "a" / "1.png").write_bytes(b"no picture")
    (folder / "target" / "a" / "2.bmp").write_bytes((folder / "target" / "a" / "2.bmp").read_bytes()[:100])
    for _ in range(2):  # made, then from the cache
        found = build(folder, test_share=0).load()
        assert np.array_equal(found.columns["target"].numpy(), [TARGETS["b"], TARGETS["c"]])
        assert found.skipped.keys() == {"a/1", "a/2"}
        assert "1.png" in found.skipped["a/1"]
        assert "2.bmp" in found.skipped["a/2"]
    for name in NAMES:
        (folder / "source" / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"no pair could be read \(.*1\.png") as error:
        build(folder)
    one_line(error)


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_other_content_is_another_store_and_the_same_content_elsewhere_is_not(
    folder: Path, tmp_path: Path, cache: Path
) -> None:
    def stores() -> int:
        return len(list(cache.glob("pairs-*/store.json")))

    build(folder, test_share=0).load()
    shutil.copytree(folder, tmp_path / "elsewhere")
    build(tmp_path / "elsewhere", test_share=0).load()
    assert stores() == 1
    build(folder, test_share=0, image_size=8).load()
    assert stores() == 2
    save(folder / "source" / "c.png", 255 - SOURCES["c"])
    assert np.array_equal(build(folder, test_share=0).load().columns["source"][3].numpy(), 255 - SOURCES["c"])
    assert stores() == 3


def test_it_is_chosen_by_name_with_its_settings_checked(folder: Path) -> None:
    settings = {"name": "pairs", "path": str(folder), "image_size": [4, 6], "source_channels": 1, "value_range": [0, 2]}
    dataset = datasets.build(OmegaConf.create(settings))
    assert (dataset.sample_shape, dataset.value_range) == ((3, 4, 6), (0.0, 2.0))
    with pytest.raises(ValueError, match=r"dataset\.source_channels=0: it must be at least 1"):
        datasets.build(OmegaConf.create(settings | {"source_channels": 0}))
