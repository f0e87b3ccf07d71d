"""Picture files to 8 bits: reduced by whole factors, or exactly as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_lab.datasets.decoding import read_exactly, reduced
from tests.datasets.files import png_16

NOISE = np.random.default_rng(0).integers(0, 256, (16, 160, 3), dtype=np.uint8)


def test_a_picture_is_reduced_by_one_resize_of_what_is_a_multiple_of_the_factor(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    found = reduced(tmp_path / "a.png", 3, 3)  # 15 of 16 rows, 159 of 160 columns
    assert isinstance(found, np.ndarray)
    expected = Image.fromarray(NOISE[:15, :159]).resize((53, 5), Image.Resampling.LANCZOS)
    assert np.array_equal(found, np.asarray(expected))


def test_reducing_keeps_flat_areas_and_averages_what_is_too_fine(tmp_path: Path) -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    board[:, :32] = 200
    Image.fromarray(board).save(tmp_path / "a.png")
    found = reduced(tmp_path / "a.png", 4, 1)
    assert isinstance(found, np.ndarray)
    assert found.shape == (16, 16, 1)
    assert (found[:, :5] == 200).all()  # the filter reaches three pixels
    assert np.abs(found[2:-2, 10:-2].astype(float) - 127.5).max() < 2


def test_by_a_factor_of_one_pixels_are_kept(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    assert np.array_equal(reduced(tmp_path / "a.png", 1, 3), NOISE)
    grey = np.asarray(Image.fromarray(NOISE).convert("L"))[..., None]
    assert np.array_equal(reduced(tmp_path / "a.png", 1, 1), grey)


def test_what_cannot_be_reduced_is_a_reason(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    for name, why in (("a", "160 x 16 pixels are too few"), ("b", "cannot identify"), ("c", "there is no such file")):
        found = reduced(tmp_path / f"{name}.png", 17, 3)
        assert isinstance(found, str)
        assert why in found


def test_sixteen_pixels_are_not_taken_for_sixteen_bits(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    assert np.array_equal(read_exactly(tmp_path, force=False)[0].numpy(), NOISE)
    png_16(tmp_path / "a.png", NOISE.astype(np.uint16))
    with pytest.raises(ValueError, match=r"a\.png cannot be taken: it has 16 bits a colour"):
        read_exactly(tmp_path, force=False)
