"""Photographs and woodblock prints: Qt's resource files, whole patches, and no print in both splits."""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.datasets.prints import PAINTINGS, PRINTS, PhotographsAndPrints, qt_resources

pytestmark = pytest.mark.usefixtures("cache")
needs_photographs = pytest.mark.skipif(
    not (importlib.util.find_spec("skimage") and importlib.util.find_spec("sklearn")), reason="they are not installed"
)
RANDOM = np.random.default_rng(0)


def packed(files: dict[str, bytes], version: int = 3) -> bytes:
    """A Qt resource file as rcc lays it out, with one folder; every second file compressed."""
    names, contents, entries = b"", b"", []
    for i, (name, content) in enumerate(files.items()):
        entries.append((len(names), i % 2, len(contents)))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        content = struct.pack(">I", len(content)) + zlib.compress(content) if i % 2 else content
        contents += struct.pack(">I", len(content)) + content
    stamp = bytes(8) if version > 1 else b""
    tree = struct.pack(">IHII", 0, 2, len(files), 1) + stamp
    tree += b"".join(struct.pack(">IHII", name, flags, 0, at) + stamp for name, flags, at in entries)
    head = 20
    offsets = (version, head + len(contents) + len(names), head, head + len(contents))
    return b"qres" + struct.pack(">4I", *offsets) + contents + names + tree


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_of_a_qt_resource_file_are_found_whole(version: int) -> None:
    files = {"a.webp": b"abc", "Gr\u00f6\u00dfe.webp": b"d" * 100, "c": b""}
    assert dict(qt_resources(packed(files, version))) == files
    with pytest.raises(ValueError, match="no binary Qt resource file"):
        list(qt_resources(b"PK\x03\x04" + bytes(40)))


def piece(height: int = 24, width: int = 40) -> tuple[np.ndarray, bytes]:
    """A puzzle's piece, lossless, whose left third is transparent: uint8 [H, W, 3] and its file."""
    pixels = RANDOM.integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[:, : width // 3, 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="WEBP", lossless=True, exact=True)
    return pixels[..., :3], file.getvalue()


@needs_photographs
def test_patches_of_prints_are_whole_and_none_of_the_tests_is_trained_on(tmp_path: Path) -> None:
    (wave, wave_file), (poppies, poppies_file), (_, lisa_file) = piece(), piece(), piece()
    content = {"GreatWave_a1.webp": wave_file, "HokusaiPoppies_b2.webp": poppies_file, "MonaLisa_a1.webp": lisa_file}
    (tmp_path / "paintings.rcc").write_bytes(packed(content))
    dataset = PhotographsAndPrints(paintings=str(tmp_path / "paintings.rcc"), image_size=8)
    train, test = dataset.load("train"), dataset.load("test")
    assert train.domain_of("b") == "b"
    for store, picture, step in ((train, wave, 4), (test, poppies, 8)):
        left = [x for x in range(0, 33, step) if x >= 13]
        expected = [picture[y : y + 8, x : x + 8] for y in range(0, 17, step) for x in left]
        assert torch.equal(store.columns["b"], torch.from_numpy(np.stack(expected)))


def test_without_the_package_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="apt-get install gcompris-qt-data"):
        PhotographsAndPrints(paintings=str(tmp_path / "none.rcc"))


@pytest.mark.skipif(not Path(PAINTINGS).is_file(), reason="Debian's package gcompris-qt-data is not installed")
def test_the_package_has_every_print() -> None:
    found = {name.split("_")[0] for name, _ in qt_resources(Path(PAINTINGS).read_bytes())}
    assert set(PRINTS) <= found
