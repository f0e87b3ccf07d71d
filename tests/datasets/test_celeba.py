"""CelebA from a folder in the published format: its crop, its splits, its attributes."""

from __future__ import annotations

import hashlib
import io
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets as torchvision_datasets

from gan_lab.datasets.celeba import ATTRIBUTES, NAMES, PARTITION, PICTURES, CelebA

SPLITS = {"train": [0, 1, 4, 6], "valid": [2, 5], "test": [3, 7]}
PARTS = [next(i for i, split in enumerate(SPLITS.values()) if picture in split) for picture in range(8)]
RANDOM = np.random.default_rng(0)
HAS = RANDOM.integers(0, 2, (8, len(NAMES))).astype(bool)
HAS[:, NAMES.index("Smiling")] = [1, 0, 1, 1, 0, 0, 1, 0]

pytestmark = pytest.mark.usefixtures("cache", "network")


def name(picture: int) -> str:
    return f"{picture + 1:06d}.jpg"


def jpeg(picture: int) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(picture).integers(0, 256, (14, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((178, 218), Image.Resampling.BICUBIC).save(content, format="JPEG", quality=95)
    return content.getvalue()


def lists() -> dict[str, str]:
    """The two text files, with the published ones' widths and line ends."""
    rows = [f"{name(i)} " + " ".join(" 1" if has else "-1" for has in HAS[i]) for i in range(8)]
    return {
        PARTITION: "".join(f"{name(i)} {part}\n" for i, part in enumerate(PARTS)),
        ATTRIBUTES: f"8\n{' '.join(NAMES)} \n" + "".join(f"{row}\n" for row in rows),
    }


def write(folder: Path) -> Path:
    (folder / PICTURES).mkdir(parents=True)
    for i in range(8):
        (folder / PICTURES / name(i)).write_bytes(jpeg(i))
    for file, text in lists().items():
        (folder / file).write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "data")


def original(picture: int) -> Image.Image:
    return Image.open(io.BytesIO(jpeg(picture))).convert("RGB")


# -- pixels and splits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("inside", ["", "celeba"])
def test_a_split_holds_its_pictures_in_order(split: str, inside: str, tmp_path: Path, network: Any) -> None:
    write(tmp_path / "data" / inside)
    dataset = CelebA(path=str(tmp_path / "data"), image_size=(218, 178))
    found = dataset.load(split)
    assert np.array_equal(found.columns["sample"].numpy(), [np.asarray(original(i)) for i in SPLITS[split]])
    assert "label" not in found
    assert (dataset.num_classes, dataset.class_names, dataset.sample_shape) == (None, None, (3, 218, 178))
    assert not network.asked


@pytest.mark.parametrize(
    ("size", "box"), [(64, (0, 20, 178, 198)), ((109, 89), (0, 0, 178, 218)), ((50, 25), (34, 0, 143, 218))]
)
def test_the_largest_centered_crop_is_resized(
    size: int | tuple[int, int], box: tuple[int, int, int, int], folder: Path
) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    found = CelebA(path=str(folder), image_size=size).load("valid").columns["sample"].numpy()
    assert found.shape == (2, height, width, 3)
    for image, picture in zip(found, SPLITS["valid"], strict=True):
        expected = original(picture).crop(box).resize((width, height), Image.Resampling.LANCZOS)
        assert np.abs(image.astype(int) - np.asarray(expected, dtype=int)).max() <= 1


def test_an_unknown_split_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="test, train, valid"):
        CelebA(path=str(folder)).load("validation")


# -- attributes --------------------------------------------------------------------------------------------------------


def test_there_are_forty_attributes_with_names_of_their_own() -> None:
    assert len(set(NAMES)) == 40
    assert list(NAMES) == sorted(NAMES)  # as in the published file


@pytest.mark.parametrize("attribute", ["Smiling", "5_o_Clock_Shadow", "Young"])
@pytest.mark.parametrize("split", SPLITS)
def test_an_attribute_makes_two_classes(attribute: str, split: str, folder: Path) -> None:
    dataset = CelebA(path=str(folder), attribute=attribute)
    assert (dataset.num_classes, dataset.class_names) == (2, (f"not {attribute}", attribute))
    label = dataset.load(split).columns["label"]
    assert label.tolist() == HAS[SPLITS[split], NAMES.index(attribute)].astype(int).tolist()


def test_each_attribute_has_a_store_of_its_own(folder: Path) -> None:
    smiling = CelebA(path=str(folder), attribute="Smiling").load().columns["label"]
    assert "label" not in CelebA(path=str(folder)).load()
    assert CelebA(path=str(folder), attribute="Smiling").load().columns["label"].tolist() == smiling.tolist()
    male = CelebA(path=str(folder), attribute="Male").load().columns["label"]
    assert male.tolist() == HAS[SPLITS["train"], NAMES.index("Male")].astype(int).tolist()


def test_an_unknown_attribute_is_refused_with_the_nearest_and_all_before_any_file_is_read() -> None:
    with pytest.raises(ValueError, match=r"dataset\.attribute=smilling: .*Did you mean Smiling") as error:
        CelebA(attribute="smilling")
    assert all(known in str(error.value) for known in NAMES)


# -- damages -----------------------------------------------------------------------------------------------------------


def test_pictures_that_cannot_be_read_are_skipped_and_the_labels_of_others_stay(folder: Path) -> None:
    (folder / PICTURES / name(1)).write_bytes(jpeg(1)[:-300])
    (folder / PICTURES / name(4)).unlink()
    found = CelebA(path=str(folder), attribute="Smiling", image_size=(218, 178)).load()
    assert np.array_equal(found.columns["sample"].numpy(), [np.asarray(original(i)) for i in (0, 6)])
    assert found.columns["label"].tolist() == [1, 1]
    assert found.skipped.keys() == {name(1), name(4)}
    assert "truncated" in found.skipped[name(1)]
    assert found.skipped[name(4)] == "there is no such file"


def test_a_picture_that_comes_later_is_seen(folder: Path) -> None:
    content = (folder / PICTURES / name(4)).read_bytes()
    (folder / PICTURES / name(4)).unlink()
    assert len(CelebA(path=str(folder)).load()) == 3
    (folder / PICTURES / name(4)).write_bytes(content)
    assert len(CelebA(path=str(folder)).load()) == 4


@pytest.mark.parametrize("lost", [PARTITION, ATTRIBUTES, PICTURES])
def test_a_folder_that_lacks_something_is_refused_with_its_name(lost: str, folder: Path) -> None:
    (folder / lost).rename(folder / "elsewhere")
    with pytest.raises(ValueError, match=rf"dataset\.path=.* lacks {lost}"):
        CelebA(path=str(folder), attribute="Smiling")


def test_without_an_attribute_their_file_is_not_needed(folder: Path) -> None:
    (folder / ATTRIBUTES).unlink()
    assert len(CelebA(path=str(folder)).load("test")) == 2


def _a_short_line(text: str) -> str:
    return text[:-4]


def _nothing(text: str) -> str:
    return ""


def _another_header(text: str) -> str:
    return text.replace("Smiling", "Smile")


def _a_lost_picture(text: str) -> str:
    return text.replace(name(0), "other.jpg")


@pytest.mark.parametrize("damage", [_a_short_line, _nothing, _another_header, _a_lost_picture])
def test_a_damaged_list_of_attributes_is_refused_by_name(damage: Any, folder: Path) -> None:
    (folder / ATTRIBUTES).write_text(damage(lists()[ATTRIBUTES]))
    with pytest.raises(ValueError, match=rf"{ATTRIBUTES}.*download it again"):
        CelebA(path=str(folder), attribute="Smiling").load()


def test_a_damaged_partition_is_refused_by_name(folder: Path) -> None:
    (folder / PARTITION).write_text(lists()[PARTITION] + "000009.jpg\n")
    with pytest.raises(ValueError, match=rf"{PARTITION}: line 9 has 1 words instead of 2"):
        CelebA(path=str(folder)).load()


# -- downloads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Google Drive through a stand-in for gdown: file names and contents, under checksums that torchvision expects."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for i in range(8):
            archive.writestr(f"{PICTURES}/{name(i)}", jpeg(i))
    files = {f"{PICTURES}.zip": packed.getvalue()} | {file: text.encode() for file, text in lists().items()}
    published = [(file, hashlib.md5(content).hexdigest(), file) for file, content in files.items()]
    monkeypatch.setattr(torchvision_datasets.CelebA, "file_list", published)
    gdown = types.ModuleType("gdown")
    left = dict(files)

    def download(*, id: str, output: str, **_: object) -> None:
        Path(output).write_bytes(left.pop(id))

    gdown.download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    return left


def test_a_download_is_fetched_once_for_all_splits_and_attributes(drive: dict[str, bytes]) -> None:
    for split in SPLITS:
        found = CelebA(image_size=(218, 178), attribute="Smiling").load(split)
        assert np.array_equal(found.columns["sample"].numpy(), [np.asarray(original(i)) for i in SPLITS[split]])
    assert len(CelebA().load()) == 4
    assert not drive


def test_what_a_killed_process_had_unpacked_is_unpacked_anew(drive: dict[str, bytes], cache: Path) -> None:
    half = cache / "downloads" / "celeba" / ".unpacked" / PICTURES
    half.mkdir(parents=True)
    (half / name(0)).write_bytes(b"half")
    found = CelebA(image_size=(218, 178)).load()
    assert np.array_equal(found.columns["sample"].numpy(), [np.asarray(original(i)) for i in SPLITS["train"]])
    assert not found.skipped
    assert not half.exists()


def test_without_gdown_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(
        ValueError, match=r"CelebA cannot be downloaded .*pip install gdown, or give dataset\.path=FOLDER"
    ):
        CelebA().load()


def test_a_download_that_fails_is_refused_in_one_line(drive: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise Exception("Cannot retrieve the public link of the file.\nYou may need to change the permission")

    monkeypatch.setattr(sys.modules["gdown"], "download", refuse)
    with pytest.raises(ValueError, match="Cannot retrieve the public link") as error:
        CelebA().load()
    assert "\n" not in str(error.value)
