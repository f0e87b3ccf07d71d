"""Shards: every picture of every archive, in order, and nothing else; what is odd or cut is refused in a line."""

from __future__ import annotations

import builtins
import json
import pickle
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.datasets import cache as caching
from gan_lab.datasets import packed
from gan_lab.datasets import shards as shards_module
from gan_lab.datasets.image_folder import ImageFolder
from gan_lab.datasets.shards import Shards
from gan_lab.datasets.store import Store
from tests.core.toys import equal
from tests.datasets.packing import encoded, members_of, write_tar
from tests.tasks.killing import kill_after

pytestmark = pytest.mark.usefixtures("cache")
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)
LABELS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three archives, of four pictures, four and three."""
    place = tmp_path / "packed"
    place.mkdir()
    for shard, first in enumerate(range(0, 11, 4)):
        part = slice(first, first + 4)
        write_tar(place / f"train-{shard:03}.tar", members_of(PIXELS[part], LABELS[part], first))
    return place


def load(path: object, **settings: Any) -> Store:
    return Shards(path=str(path), **{"image_size": 8, "num_classes": 10, **settings}).load()


def refusal(path: Path, **settings: Any) -> str:
    with pytest.raises(ValueError, match=path.stem) as caught:
        load(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["", "*.tar", "train-*"])
def test_all_pictures_and_classes_are_there_in_order(folder: Path, pattern: str) -> None:
    store = load(folder / pattern)
    assert np.array_equal(store.columns["sample"].numpy(), PIXELS)
    assert store.columns["label"].tolist() == LABELS
    assert store.mapped


def test_without_a_number_of_classes_none_are_read(folder: Path) -> None:
    assert set(load(folder, num_classes=None).columns) == {"sample"}


def test_a_single_archive_is_a_shard_and_others_are_held_out(folder: Path) -> None:
    dataset = Shards(path=f"{folder}/train-00[01].tar", test_path=f"{folder}/train-002.tar", image_size=8)
    assert dataset.splits == ("train", "test")
    assert np.array_equal(dataset.load("test").columns["sample"].numpy(), PIXELS[8:])
    with pytest.raises(ValueError, match=r"share train-002\.tar"):
        Shards(path=str(folder), test_path=f"{folder}/train-002.tar")
    with pytest.raises(ValueError, match=r"split=valid: these shards have none"):
        dataset.load("valid")


def test_pictures_are_those_of_a_folder_cropped_and_resized_alike(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.png").write_bytes(encoded(pixels))
    write_tar(tmp_path / "a.tar", {"some/where/a.png": encoded(pixels)})
    for channels in (1, 3):
        shape: dict[str, Any] = {"image_size": (8, 6), "image_channels": channels}
        theirs = ImageFolder(path=str(tmp_path / "files"), **shape).load()
        ours = load(tmp_path / "a.tar", num_classes=None, **shape)
        assert torch.equal(ours.columns["sample"], theirs.columns["sample"])
        assert ours.digest == theirs.digest


@pytest.mark.parametrize(
    ("label", "members"),
    [
        (None, {"a.cls": b"7\n", "a.PNG": encoded(PIXELS[0]), "a.txt": b"a caption", "readme": b"none", ".b.png": b""}),
        ("json.class", {"a.jpeg.meta": b"", "a.json": json.dumps({"class": 7}).encode(), "a.png": encoded(PIXELS[0])}),
        ("json", {"a.json": b"7", "a.png": encoded(PIXELS[0])}),
    ],
)
def test_a_class_is_a_text_or_a_field_of_a_json(tmp_path: Path, label: str | None, members: dict[str, bytes]) -> None:
    store = load(write_tar(tmp_path / "a.tar", members), label=label)
    assert store.columns["label"].tolist() == [7]
    assert np.array_equal(store.columns["sample"].numpy(), PIXELS[:1])


def test_one_of_several_pictures_is_named(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"a.input.png": b"", "a.target.png": encoded(PIXELS[0]), "a.jpg": b""})
    store = load(file, picture="target.png", num_classes=None)
    assert np.array_equal(store.columns["sample"].numpy(), PIXELS[:1])


def test_a_changed_archive_is_read_again(folder: Path) -> None:
    load(folder)
    write_tar(folder / "train-002.tar", members_of(PIXELS[:1], LABELS[:1]))
    assert load(folder).columns["label"].tolist() == LABELS[:8] + LABELS[:1]


def test_nothing_but_pictures_and_classes_is_read_and_nothing_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return builtins.print, ("executed",)

    harmful = pickle.dumps(Harmful())
    names = ("a.pyd", "a.pickle", "a.pth", "a.npy")
    file = write_tar(tmp_path / "a.tar", {**dict.fromkeys(names, harmful), "a.png": encoded(PIXELS[0])})
    monkeypatch.setattr(builtins, "print", lambda *_: pytest.fail("a pickle was executed"))
    monkeypatch.setattr(tarfile.TarFile, "extract", None)
    monkeypatch.setattr(tarfile.TarFile, "extractall", None)
    assert len(load(file, num_classes=None)) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "cache"}


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_path_without_shards_is_refused(tmp_path: Path, folder: Path) -> None:
    for path in (tmp_path / "nowhere", f"{folder}/test-*.tar", f"{folder}/*.tar.gz"):
        with pytest.raises(ValueError, match=r"there is no shard, \.tar or \.parquet"):
            Shards(path=str(path))
    with pytest.raises(ValueError, match=r"needs dataset\.path"):
        Shards()
    (folder / "a.parquet").touch()
    with pytest.raises(ValueError, match=r"\.parquet and \.tar are mixed"):
        Shards(path=str(folder))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:700],  # within a picture
        lambda content: content[:3072],  # between the members of a sample, which tarfile takes for the end
        lambda content: content[:4096],  # between two samples
        lambda content: content[:4400],  # within a header
        lambda content: content[:4096] + b"\xff" * 512 + content[4608:],  # a header, which tarfile takes for the end
        lambda content: b"",
        lambda content: b"no archive" * 100,
    ],
)
def test_a_cut_or_damaged_archive_is_refused(folder: Path, damage: Any) -> None:
    file = folder / "train-000.tar"
    whole = file.read_bytes()
    assert whole[2048:2060] == b"00000001.png"  # each picture has two blocks, and each class
    file.write_bytes(damage(whole))
    assert "is no whole tar archive" in refusal(file)
    assert "get it again" in refusal(file, faulty="skip")


@pytest.mark.parametrize("size", [-1, -512, 1 << 70])
def test_an_archive_that_claims_impossible_sizes_is_refused(tmp_path: Path, size: int) -> None:
    about = tarfile.TarInfo("a.png")
    about.size = size
    (tmp_path / "a.tar").write_bytes(about.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    assert "is no whole tar archive" in refusal(tmp_path / "a.tar", num_classes=None)


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "a/../../b.png", "a\x1b[2J.png", "a\nb.png"])
def test_an_odd_path_in_an_archive_is_refused(tmp_path: Path, name: str) -> None:
    file = write_tar(tmp_path / "a.tar", {name: encoded(PIXELS[0])})
    assert "odd path" in refusal(file, num_classes=None)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S"])
def test_what_is_no_plain_file_in_an_archive_is_refused(tmp_path: Path, kind: bytes) -> None:
    about = tarfile.TarInfo("a.png")
    about.type, about.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(about)
    assert "a link, a device or sparse" in refusal(tmp_path / "a.tar", num_classes=None)


PNG = encoded(PIXELS[0])


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"b.png": PNG[:-40], "b.cls": b"1"}, "a.tar/b: "),
        ({"b.png": b"no picture", "b.cls": b"1"}, "a.tar/b: cannot identify image file"),
        ({"b.png": PNG}, "a.tar/b: it has no .cls"),
        ({"b.png": PNG, "b.cls": b"cat"}, "a.tar/b: .cls is no class"),
        ({"b.png": PNG, "b.cls": b"-1"}, "a.tar/b: .cls is no class"),
        ({"b.png": PNG, "b.cls": b"1.5"}, "a.tar/b: .cls is no class"),
        ({"b.png": PNG, "b.cls": b"10"}, "a.tar/b: its class 10 is none of dataset.num_classes=10"),
        ({"b.png": PNG, "b.cls": b"[" * 100_000}, "a.tar/b: .cls is no class"),
        ({"b.cls": b"1"}, "a.tar/b: it has no picture"),
        ({"b.png": PNG, "b.jpg": PNG, "b.cls": b"1"}, "a.tar/b: it has 2 pictures, jpg and png"),
    ],
)
def test_a_faulty_sample_is_refused_or_left_out_and_reported(
    tmp_path: Path, members: dict[str, bytes], told: str
) -> None:
    file = write_tar(tmp_path / "a.tar", {"a.png": PNG, "a.cls": b"3", **members, "c.png": PNG, "c.cls": b"4"})
    said = refusal(file)
    assert told in said
    assert "dataset.faulty=skip" in said
    store = load(file, faulty="skip")
    assert store.columns["label"].tolist() == [3, 4]
    assert list(store.skipped) == ["a.tar/b"]


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", [("a.png", PNG), ("a.png", PNG)])
    assert "a.png comes twice" in refusal(file, num_classes=None)


def test_a_full_disk_is_no_reason_to_build_it_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.tempfile, "mkdtemp", full)
    with pytest.raises(ValueError, match=r"No space left on device.*set GAN_LAB_CACHE to a folder with room"):
        load(folder)


def test_a_command_refuses_in_a_line_before_anything_is_written(
    folder: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train-001.tar").write_bytes(b"damaged")
    words = ["dataset=shards", f"dataset.path={folder}", "dataset.image_size=32", "run_dir=run"]
    assert main(["train", "experiment=none", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "train-001.tar is no whole tar archive" in said
    assert not (workdir / "run").exists()


def test_how_far_decoding_has_come_is_told_now_and_then(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "TOLD_EVERY", -1.0)
    load(folder)
    assert "decoded 8 pictures of 2 of 3 shards" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_on_shards_that_is_killed_goes_on_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    """It is killed in its third epoch of 11 pictures, within a batch that crosses into the next one."""
    words = [
        "experiment=none", "dataset=shards", f"dataset.path={folder}", "dataset.image_size=8", "dataset.num_classes=10",
        "generator=mlp", "discriminator=mlp", "generator.width=8", "discriminator.width=8", "trainer.batch_size=4",
        "trainer.images=64", "trainer.checkpoint_every=16", "trainer.threads=1", "evaluation.metrics=[]",
        "evaluation.every=0", "tracking.samples_every=0", "tracking.health=false", "tracking.wandb.mode=disabled",
    ]  # fmt: skip
    kill_after([32], words, tmp_path / "killed")
    for name in ("killed/32", "whole"):
        assert main(["train", *words, f"run_dir={tmp_path / name}"]) == 0
    ours, theirs = (checkpoint.load_newest(tmp_path / name / "checkpoints") for name in ("killed/32", "whole"))
    assert ours is not None
    assert theirs is not None
    assert ours["game"]["images"] == 64
    assert equal(ours["game"], theirs["game"])


# -- Parquet -----------------------------------------------------------------------------------------------------------


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path, row_group_size=4, compression="zstd")
    return path


@pytest.mark.parametrize("structured", [True, False])
def test_parquet_as_on_the_hub_gives_the_same(tmp_path: Path, structured: bool) -> None:
    content: list[Any] = [encoded(pixels) for pixels in PIXELS]
    if structured:
        content = [{"bytes": bytes_, "path": None} for bytes_ in content]
    for shard, part in enumerate((slice(0, 6), slice(6, 11))):
        write_parquet(
            tmp_path / f"{shard}.parquet", {"image": content[part], "label": LABELS[part], "more": content[part]}
        )
    store = load(tmp_path)
    assert np.array_equal(store.columns["sample"].numpy(), PIXELS)
    assert store.columns["label"].tolist() == LABELS


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"picture": [PNG], "label": [1]}, "has no column image, but picture, label; name it by dataset.picture"),
        ({"image": [PNG], "fine_label": [1]}, "name it by dataset.label"),
        ({"image": [{"bytes": None, "path": "a.png"}], "label": [1]}, "a.parquet/0: it has no picture in bytes"),
        ({"image": ["a.png"], "label": [1]}, "a.parquet/0: it has no picture in bytes"),
        ({"image": [PNG, PNG], "label": [1, None]}, "a.parquet/1: it has no class"),
        ({"image": [PNG], "label": ["cat"]}, "a.parquet/0: it has no class"),
        ({"image": [PNG], "label": [12]}, "a.parquet/0: its class 12 is none of dataset.num_classes=10"),
        ({"image": [b"no picture"], "label": [1]}, "a.parquet/0: cannot identify image file"),
    ],
)
def test_a_parquet_that_does_not_hold_what_is_wanted_is_refused(
    tmp_path: Path, columns: dict[str, list[Any]], told: str
) -> None:
    assert told in refusal(write_parquet(tmp_path / "a.parquet", columns))


def test_a_cut_parquet_is_refused(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", {"image": [PNG] * 4, "label": [1] * 4})
    whole = file.read_bytes()
    for damaged in (whole[:-9], b"", whole[:40] + bytes(len(whole) - 80) + whole[-40:]):
        file.write_bytes(damaged)
        assert "is no whole Parquet file" in refusal(file)


def test_a_parquet_that_would_unpack_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "a.parquet", {"image": [bytes(2_000_000)] * 4, "label": [1] * 4})
    monkeypatch.setattr(packed, "FREE", 1_000_000)
    assert re.search(r"would unpack \d+ bytes to 2,000,\d+; at most 1,000,000 are read", refusal(file))


def test_without_its_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").touch()
    monkeypatch.setattr(shards_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "hydra-gan-lab\[parquet\]"'):
        Shards(path=str(tmp_path))
