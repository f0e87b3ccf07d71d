"""Picture files are read to the values that were written, whatever their bits and channels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_lab.datasets import exact
from gan_lab.datasets.exact import PackageMissing, Unreadable, read_array
from tests.datasets.files import png_16

RANDOM = np.random.default_rng(0)
EIGHT = RANDOM.integers(0, 256, (9, 16, 4), dtype=np.uint8)  # 16 pixels are no 16 bits
SIXTEEN = RANDOM.integers(0, 65536, (9, 16, 5), dtype=np.uint16)


def check(file: Path, expected: np.ndarray) -> None:
    found = read_array(file)
    assert found.dtype == expected.dtype
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bits(suffix: str, channels: int, tmp_path: Path) -> None:
    pixels = EIGHT[..., :channels]
    Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(tmp_path / f"a{suffix}")
    check(tmp_path / f"a{suffix}", pixels)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_a_channel(channels: int, tmp_path: Path) -> None:
    Image.fromarray(EIGHT[..., :channels]).save(tmp_path / "a.png")
    check(tmp_path / "a.png", EIGHT[..., :channels])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_of_png_are_not_cut_to_eight(channels: int, tmp_path: Path) -> None:
    png_16(tmp_path / "a.png", SIXTEEN[..., :channels])
    check(tmp_path / "a.png", SIXTEEN[..., :channels])


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_of_any_kind(channels: int, dtype: type, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = (SIXTEEN[..., :channels] // (257 if dtype is np.uint8 else 1)).astype(dtype)
    photometric = "rgb" if channels == 3 else "minisblack"
    planes = {"planarconfig": "contig"} if channels > 1 else {}
    tifffile.imwrite(tmp_path / "a.tif", pixels[..., 0] if channels == 1 else pixels, photometric=photometric, **planes)
    check(tmp_path / "a.tif", pixels)
    if channels == 3:
        apart = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        tifffile.imwrite(tmp_path / "b.tif", apart, photometric="rgb", planarconfig="separate")
        check(tmp_path / "b.tif", pixels)


def test_a_stack_of_pictures_is_refused(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", SIXTEEN.transpose(2, 0, 1), photometric="minisblack")
    with pytest.raises(Unreadable, match="a stack of pictures"):
        read_array(tmp_path / "a.tif")


def test_without_tifffile_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", SIXTEEN[..., :3], photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(PackageMissing, match=r"a\.tif.*pip install"):
        read_array(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 5])
def test_arrays_of_numbers(dtype: type, channels: int | None, tmp_path: Path) -> None:
    pixels = (SIXTEEN // 300).astype(dtype)[..., :channels] if channels else (SIXTEEN // 300).astype(dtype)[..., 0]
    np.save(tmp_path / "a.npy", np.asfortranarray(pixels))
    check(tmp_path / "a.npy", pixels if channels else pixels[..., None])


def test_a_palette_is_resolved_and_a_picture_turned_as_its_camera_says(tmp_path: Path) -> None:
    picture = Image.fromarray(EIGHT[..., :3]).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    picture.save(tmp_path / "a.png")
    check(tmp_path / "a.png", np.asarray(picture.convert("RGB")))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(EIGHT[..., :3]).save(tmp_path / "b.png", exif=exif)
    check(tmp_path / "b.png", np.rot90(EIGHT[..., :3], -1))


def _cut(file: Path) -> None:
    Image.fromarray(np.kron(EIGHT[..., 0], np.ones((9, 9), np.uint8))).save(file)
    file.write_bytes(file.read_bytes()[:-300])


def _cut_16(file: Path) -> None:
    png_16(file, SIXTEEN[..., :3])
    file.write_bytes(file.read_bytes()[:60])


def _text(file: Path) -> None:
    file.write_text("no picture")


def _nothing(file: Path) -> None:
    file.touch()


def _cmyk(file: Path) -> None:
    Image.fromarray(EIGHT[..., :3]).convert("CMYK").save(file.with_suffix(".tif"))
    file.with_suffix(".tif").rename(file)


@pytest.mark.parametrize("damage", [_cut, _cut_16, _text, _nothing, _cmyk])
def test_what_is_no_whole_picture_is_refused_in_one_line(damage: object, tmp_path: Path) -> None:
    damage(tmp_path / "a.png")  # type: ignore[operator]
    with pytest.raises(Unreadable) as error:
        read_array(tmp_path / "a.png")
    assert str(error.value)
    assert "\n" not in str(error.value)


def test_sixteen_bits_of_grey_with_alpha_are_refused_and_not_cut(tmp_path: Path) -> None:
    png_16(tmp_path / "a.png", SIXTEEN[..., :2])
    with pytest.raises(Unreadable, match="neither grey nor colour"):
        read_array(tmp_path / "a.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_of_ppm_are_refused_and_not_cut(channels: int, tmp_path: Path) -> None:
    kind, suffix = {1: ("P5", "pgm"), 3: ("P6", "ppm")}[channels]
    for name, most, dtype in (("a", 65535, ">u2"), ("b", 255, "u1")):
        content = f"{kind} 16 9 {most}\n".encode() + EIGHT[..., :channels].astype(dtype).tobytes()
        (tmp_path / f"{name}.{suffix}").write_bytes(content)
    with pytest.raises(Unreadable, match="more than 8 bits"):
        read_array(tmp_path / f"a.{suffix}")
    check(tmp_path / f"b.{suffix}", EIGHT[..., :channels])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.npy", "a.jpg"):
        with pytest.raises(Unreadable, match="there is no such file"):
            read_array(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros(5), "float64 of 5"), (np.zeros((2, 3, 4, 5)), "2 x 3 x 4 x 5"), (np.zeros((0, 3)), "0 x 3"),
        (np.array([["a"]]), "U1 of 1 x 1"), (np.array([[np.nan]]), "not finite"),
        (np.zeros((4, 4), complex), "complex"),
        (np.array([[{}]], dtype=object), "(?i)object"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_pictures_are_refused(values: np.ndarray, why: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(Unreadable, match=why):
        read_array(tmp_path / "a.npy")


def test_pictures_that_are_too_large_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "MAX_PIXELS", 50)
    Image.fromarray(EIGHT[..., :3]).save(tmp_path / "a.png")
    png_16(tmp_path / "b.png", SIXTEEN[..., :3])
    np.save(tmp_path / "c.npy", SIXTEEN)
    for name in ("a.png", "b.png", "c.npy"):
        with pytest.raises(Unreadable, match="are too many"):
            read_array(tmp_path / name)
