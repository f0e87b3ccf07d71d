"""Tiles against the whole picture: exactly where they must agree, and without seams where they cannot."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from gan_lab.run import tiling
from gan_lab.run.tiling import starts, tile_side, translated

SIZES = [(37, 53), (64, 64), (33, 32), (32, 33), (20, 131), (131, 20), (97, 65), (1, 40)]


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Calls:
    """The identity, which notes what it was given."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, source: Tensor) -> Tensor:
        self.sizes.append(tuple(source.shape[2:]))
        return source


@pytest.mark.parametrize(("side", "overlap"), [(32, 16), (40, 0), (48, 17)])
def test_tiles_cover_a_side_and_overlap_by_as_much_as_is_asked(side: int, overlap: int) -> None:
    for size in range(1, 140):
        first = starts(size, side, overlap)
        ends = [min(start + side, size) for start in first]
        assert first[0] == 0
        assert ends[-1] == size
        assert all(end - start == min(side, size) for start, end in zip(first, ends, strict=True))
        assert all(end - start >= overlap for start, end in zip(first[1:], ends, strict=False))
        fewest = max(math.ceil((size - overlap) / (side - overlap)), 1)
        assert len(set(first)) == len(first) == fewest


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_identity_in_tiles_is_the_picture_to_the_last_bit(size: tuple[int, int], dtype: torch.dtype) -> None:
    source, calls = picture(*size).to(dtype), Calls()
    assert torch.equal(translated(calls, source, tile=32), source)
    assert len(calls.sizes) == len(starts(size[0], 32, 16)) * len(starts(size[1], 32, 16))
    assert set(calls.sizes) == {(min(size[0], 32), min(size[1], 32))}


@pytest.mark.parametrize(("side", "overlap"), [(32, 16), (100, 25), (300, 64)])
def test_tiles_overlap_by_a_quarter_within_limits(side: int, overlap: int) -> None:
    first: list[int] = []

    def noted(source: Tensor) -> Tensor:
        first.append(int(source[0, 0, 0, 0]))
        return source

    translated(noted, torch.arange(700.0).expand(1, 1, 1, 700), tile=side)
    assert first == starts(700, side, overlap)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_bicubic_enlargement_in_tiles_is_that_of_the_whole(size: tuple[int, int], factor: int) -> None:
    """Its kernel reaches 2 pixels far; what is left out of an overlap of 16 has 4."""

    def enlarged(source: Tensor) -> Tensor:
        return interpolate(source, scale_factor=factor, mode="bicubic")

    source = picture(*size).double()  # of a third, float32 loses the place in a long row
    torch.testing.assert_close(translated(enlarged, source, factor, tile=32), enlarged(source), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_a_filter_that_pads_and_reaches_a_quarter_of_the_overlap_sees_no_tiles(size: tuple[int, int]) -> None:
    kernel = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1)) / 16

    def filtered(source: Tensor) -> Tensor:
        return conv2d(source, kernel, padding=4)

    source = picture(*size)
    expected = filtered(source)
    torch.testing.assert_close(translated(filtered, source, tile=32), expected, rtol=0, atol=1e-5)
    if size == (64, 64):  # with no overlap the padding shows
        assert (translated(filtered, source, tile=32, overlap=0) - expected).abs().max() > 0.1


def test_tiles_that_disagree_go_over_into_each_other_without_a_step() -> None:
    """Tiles of 0 and 1: the steepest slope of a raised cosine over n pixels is pi / (2 n)."""
    made = iter([0.0, 1.0])

    def flat(source: Tensor) -> Tensor:
        return torch.full_like(source, next(made))

    row = translated(flat, picture(8, 176, 1), tile=96, overlap=16)[0, 0, 0]
    assert row[:84].eq(0).all()
    assert row[92:].eq(1).all()
    assert row.diff().min() >= 0
    assert row.diff().max() <= math.pi / (2 * 8) + 1e-6
    assert row[84:92].mean() == pytest.approx(0.5, abs=1e-6)


def test_pictures_stay_between_the_tiles_that_made_them() -> None:
    numbers = iter(range(100))

    def flat(source: Tensor) -> Tensor:
        return torch.full_like(source, next(numbers))

    made = translated(flat, picture(100, 90, 1), tile=32)
    assert made.min() >= 0
    assert made.max() <= next(numbers) - 1


@pytest.mark.parametrize(
    ("size", "factor", "tile", "expected"),
    [
        ((1000, 2000), 1, None, 0),
        ((1001, 2000), 1, None, 512),
        ((500, 1001), 2, None, 256),
        ((5000, 5000), 8, None, 64),
        ((5000, 5000), 1, 0, 0),
        ((64, 64), 1, 64, 0),
        ((64, 65), 1, 64, 64),
    ],
)
def test_a_picture_is_whole_up_to_two_million_pixels_of_output(
    size: tuple[int, int], factor: int, tile: int | None, expected: int
) -> None:
    assert tile_side(*size, factor, tile) == expected


@pytest.mark.parametrize("tile", [-1, 1, 31])
def test_a_tile_that_is_too_small_is_refused(tile: int) -> None:
    with pytest.raises(ValueError, match=f"--tile {tile}: give at least 32 pixels, or 0 for whole pictures"):
        translated(Calls(), picture(64, 64), tile=tile)


def test_an_overlap_of_more_than_half_a_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap by 0 to 16 pixels, not by 17"):
        translated(Calls(), picture(64, 64), tile=32, overlap=17)


def test_an_output_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="not 2 times it"):
        translated(Calls(), picture(64, 64), 2, tile=32)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes")])
def test_where_memory_runs_out_tiles_are_made_and_a_line_says_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "SIDE", 32)
    lines: list[str] = []

    def small(source: Tensor) -> Tensor:
        if source.numel() > 3 * 32 * 32:
            raise error
        return source

    source = picture(40, 50)
    assert torch.equal(translated(small, source, tell=lines.append), source)
    assert lines == ["50 x 40 pixels are too many for the memory: in tiles of 32 pixels"]
    with pytest.raises(type(error)):
        translated(small, source, tile=0)  # whole pictures, as was asked for


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(source: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        translated(broken, picture(600, 600))
