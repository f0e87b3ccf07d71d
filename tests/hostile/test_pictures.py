"""Folders of pictures that somebody else has filled: nothing hangs, nothing takes gigabytes, the good ones are read."""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.cli import main
from gan_lab.datasets import decoding, packed
from gan_lab.datasets.decoding import MAX_PIXELS, decode, opened, read_exactly, reduced
from gan_lab.datasets.exact import Unreadable, read_array
from gan_lab.datasets.image_folder import ImageFolder
from tests.hostile.conftest import Bounded

pytestmark = [
    pytest.mark.usefixtures("cache"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


def read_folder(file: Path) -> object:
    """As `gan-lab evaluate FOLDER` reads it."""
    return read_exactly(file.parent, force=True)


# Every reader of a picture file.
READERS: dict[str, Callable[[Path], object]] = {
    "decode": lambda file: decode(file, (8, 8), 3),
    "reduced": lambda file: reduced(file, 2, 3),
    "read_exactly": read_folder,
    "read_array": read_array,
}


def reason(read: Callable[[Path], object], file: Path) -> str:
    """Why a reader refuses a file: raised in one line, or returned."""
    try:
        found = read(file)
    except (ValueError, Unreadable) as error:
        found = str(error)
    assert isinstance(found, str), "it was read"
    assert "\n" not in found
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures of 16 x 16 pixels."""
    (tmp_path / "pictures").mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"pictures/{i:02}.png")
    return tmp_path / "pictures"


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG of 169 megapixels in 21 kB."""
    file = tmp_path_factory.mktemp("huge") / "huge.png"
    Image.new("1", (13_000, 13_000)).save(file)
    return file


@pytest.mark.parametrize("reader", READERS)
def test_a_picture_of_more_pixels_than_the_one_bound_is_read_by_no_reader(
    reader: str, huge: Path, tmp_path: Path, memory_below: Bounded
) -> None:
    assert MAX_PIXELS < 13_000**2
    for i in range(13):
        (tmp_path / f"{i}.png").symlink_to(huge)
    with memory_below(10_000_000):
        assert "pixels are too many" in reason(READERS[reader], tmp_path / "0.png")


@pytest.mark.parametrize("reader", READERS)
def test_a_header_that_claims_more_pixels_than_fit_into_64_bits_is_refused(reader: str, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = b"\x7f\xff\xff\xff" * 2  # 4.6e18 pixels
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    assert reason(READERS[reader], tmp_path / "a.png")


def test_pictures_for_which_memory_has_no_room_are_refused_when_the_first_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "memory", lambda: 30_000)  # 12 pictures of 768 bytes, twice, are more than a half
    asked: list[str] = []

    def counted(file: Path, most: int) -> Any:
        asked.append(file.name)
        return opened(file, most)

    monkeypatch.setattr(decoding, "opened", counted)
    with pytest.raises(ValueError, match=r"12 pictures: it would take 18,432 bytes of memory; at most 15,000"):
        read_exactly(folder, force=False)
    assert asked == ["00.png"]


def test_another_size_than_the_firsts_is_refused_before_the_picture_is_decoded(folder: Path) -> None:
    Image.new("RGB", (16, 4000)).save(folder / "05.png")
    (folder / "05.png").write_bytes((folder / "05.png").read_bytes()[:100])  # its header, and little more
    with pytest.raises(ValueError, match=r"05\.png cannot be taken: it has 4000 x 16 pixels and 00\.png 16 x 16"):
        read_exactly(folder, force=False)


def test_large_pictures_are_decoded_one_at_a_time_and_small_ones_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LARGE", 100)
    Image.new("RGB", (8, 8)).save(folder / "small.png")
    done = {name: threading.Event() for name in ("00.png", "small.png")}

    def read(name: str) -> None:
        assert not isinstance(decode(folder / name, (8, 8), 3), str)
        done[name].set()

    with opened(folder / "01.png", MAX_PIXELS):
        for name in done:
            threading.Thread(target=read, args=(name,), daemon=True).start()
        assert done["small.png"].wait(10)
        assert not done["00.png"].wait(0.2)
    assert done["00.png"].wait(10)


# -- what is no file ---------------------------------------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": pipe, "device": device, "folder": Path.mkdir, "loop": lambda path: path.symlink_to(path.name),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".png", ".npy"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", [name for name in READERS if name != "read_exactly"])
def test_no_reader_waits_for_what_is_no_file(reader: str, kind: str, suffix: str, tmp_path: Path) -> None:
    KINDS[kind](tmp_path / f"x{suffix}")
    assert reason(READERS[reader], tmp_path / f"x{suffix}")


def test_a_folder_of_pictures_may_hold_pipes_devices_folders_and_loops_named_like_pictures(folder: Path) -> None:
    for kind, make in KINDS.items():
        make(folder / f"{kind}.png")
    (folder / "up").symlink_to("..")
    assert len(read_exactly(folder, force=False)) == 12
    assert len(ImageFolder(path=str(folder), image_size=8).load()) == 12
    with pytest.raises(ValueError, match="is no run, and holds no pictures"):
        read_exactly(folder / "pipe.png", force=False)


def test_pictures_may_be_links_to_another_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for file in folder.iterdir():
        (tmp_path / "linked" / file.name).symlink_to(file)
    (tmp_path / "link").symlink_to("linked")
    assert torch.equal(read_exactly(tmp_path / "link", force=False), read_exactly(folder, force=False))


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_bad_picture_whose_name_is_no_text_is_named_in_the_quarantine_and_the_rest_is_trained_on(
    folder: Path, workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (b"bad\xff.png", b"\x1b]52;c;cHduZWQ=\x07.png", b"two\nlines.png"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("no picture")
    words = [
        "dataset=image_folder", f"dataset.path={folder}", "dataset.image_size=8", "generator=mlp", "discriminator=mlp",
        "trainer.images=64", "trainer.threads=1", "evaluation.metrics=[]", "tracking.wandb.mode=disabled",
        "run_dir=run",
    ]  # fmt: skip
    assert main(["train", *words]) == 0
    shown = "".join(capfd.readouterr())
    assert "3 pictures" in shown
    assert "\x1b]52" not in shown
    entries = json.loads(Path("run/quarantine.json").read_text())
    names = sorted(entry["path"].removeprefix(f"{folder}/") for entry in entries)
    assert names == [r"\x1b]52;c;cHduZWQ=\x07.png", r"bad\udcff.png", r"two\nlines.png"]
    assert all("identify image file" in entry["reason"] for entry in entries)


def test_classes_whose_names_are_no_text_are_counted_and_shown(folder: Path) -> None:
    for name in (b"cat\xff", b"dog\x1b[2J"):
        place = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        place.mkdir()
        for i in range(6):
            (folder / f"{i + 6 * (b'dog' in name):02}.png").rename(place / f"{i}.png")
    dataset = ImageFolder(path=str(folder), image_size=8)
    assert dataset.class_names == (r"cat\udcff", r"dog\x1b[2J")
    assert dataset.load().columns["label"].bincount().tolist() == [6, 6]


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_takes_postscript_for_a_picture(reader: str, tmp_path: Path) -> None:
    """Pillow would start Ghostscript for it."""
    file = tmp_path / "a.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n8 8 scale\nshowpage\n%%EOF\n")
    assert "identify image file" in reason(READERS[reader], file)


def test_text_in_a_picture_that_unpacks_to_200_megabytes_is_not_kept(tmp_path: Path, memory_below: Bounded) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    text = b"zTXt" + b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    (tmp_path / "a.png").write_bytes(content[:33] + chunk + content[33:])
    for read in READERS.values():
        with memory_below(20_000_000):
            reason(read, tmp_path / "a.png")
