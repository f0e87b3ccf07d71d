"""A translator on a picture of any size: whole where memory allows, else in overlapping tiles."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gan_lab.run.failures import out_of_memory

# Of the output. On a CPU srresnet and unet took 0.4 to 1.3 KB a pixel at their default widths: 0.8 to 2.6 GB for this.
WHOLE = 2_000_000  # pixels: a larger picture is cut into tiles, unless the caller says otherwise
SIDE = 512  # pixels of such a tile's side: 0.1 to 0.3 GB
# By a quarter of the side, within limits, in pixels of the source. With 4 blocks of srresnet, a photograph in tiles of
# 128 was at most 0.02 of 255 levels off the whole with an overlap of 32, 1.9 with 16, and 29 with none.
SHARE, LEAST_OVERLAP, MOST_OVERLAP = 4, 16, 64
LEAST_TILE = 2 * LEAST_OVERLAP


def tile_side(height: int, width: int, factor: int, tile: int | None) -> int:
    """Pixels of a tile's side for a source of height x width, 0 for the whole picture.

    `tile` None: whole up to `WHOLE` pixels of the output, else tiles whose output has `SIDE` pixels; 0: whole; else so
    many, and whole where the picture is no larger. Raises ValueError for tiles of fewer than `LEAST_TILE` pixels.
    """
    if tile is not None and tile != 0 and tile < LEAST_TILE:
        raise ValueError(f"--tile {tile}: give at least {LEAST_TILE} pixels, or 0 for whole pictures")
    if tile is None:
        tile = 0 if height * width * factor**2 <= WHOLE else _usual(factor)
    return tile if max(height, width) > tile else 0


def _usual(factor: int) -> int:
    return max(SIDE // factor, LEAST_TILE)


def translated(
    translate: Callable[[Tensor], Tensor],
    source: Tensor,
    factor: int = 1,
    tile: int | None = None,
    overlap: int | None = None,
    tell: Callable[[str], object] = print,
) -> Tensor:
    """What `translate` makes of a source [1, C, h, w]: [1, C', factor h, factor w].

    `translate` takes sources [1, C, y, x] of any size and returns [1, C', factor y, factor x]. `tile` is that of
    `tile_side`. Tiles overlap by `overlap` pixels of the source, by default a quarter of their side, but 16 to 64.
    In an overlap the outer quarter of either tile is left out, since a network sees no surroundings there, and the
    middle half goes over from one to the other as a raised cosine. So the result is that of the whole picture where no
    output depends on what is further away than a quarter of the overlap. A network that sees further, or that
    normalizes over the picture (instance norm, or `evaluation.batch_norm=batch`), sees a tile in place of the picture.

    With `tile` None, tiles are also the way out where memory does not suffice for the whole: `tell` receives a line.
    Raises ValueError for a tile that is too small, or not larger than twice the overlap.
    """
    height, width = source.shape[2:]
    side = tile_side(height, width, factor, tile)
    if side == 0:
        try:
            return translate(source)
        except (RuntimeError, MemoryError) as error:
            side = _usual(factor)
            if tile is not None or not out_of_memory(error) or max(height, width) <= side:
                raise
        tell(f"{width} x {height} pixels are too many for the memory: in tiles of {side} pixels")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if overlap is None:
        overlap = min(max(side // SHARE, LEAST_OVERLAP), MOST_OVERLAP)
    if not 0 <= 2 * overlap <= side:
        raise ValueError(f"tiles of {side} pixels overlap by 0 to {side // 2} pixels, not by {overlap}")
    return _blended(translate, source, factor, side, overlap)


def starts(size: int, side: int, overlap: int) -> list[int]:
    """Where tiles begin along one axis: at equal distances, the last one shifted to end with the picture.

    >>> starts(53, 32, 16)
    [0, 16, 21]
    """
    if size <= side:
        return [0]
    return [*range(0, size - side, side - overlap), size - side]


def _blended(translate: Callable[[Tensor], Tensor], source: Tensor, factor: int, side: int, overlap: int) -> Tensor:
    """Tiles joined to rows, rows to the picture."""
    height, width = source.shape[2:]
    picture: Tensor | None = None
    bottom = 0  # of what is there already, in pixels of the source
    for top in starts(height, side, overlap):
        row: Tensor | None = None
        right = 0
        for left in starts(width, side, overlap):
            part = source[:, :, top : top + side, left : left + side]
            made = translate(part)
            if made.shape[2:] != (factor * part.shape[2], factor * part.shape[3]):
                was, became = (" x ".join(map(str, tensor.shape[2:])) for tensor in (part, made))
                raise ValueError(f"a tile of {was} became {became}, not {factor} times it")
            if row is None:
                row = made.new_empty(*made.shape[:3], factor * width)
            _join(row, made, factor * left, factor * right, dim=3)
            right = left + part.shape[3]
        assert row is not None
        if picture is None:
            picture = row.new_empty(*row.shape[:2], factor * height, row.shape[3])
        _join(picture, row, factor * top, factor * bottom, dim=2)
        bottom = min(top + side, height)
    assert picture is not None
    return picture


def _join(whole: Tensor, part: Tensor, start: int, end: int, dim: int) -> None:
    """Write a part into the whole from `start` on, blended with what is there up to `end`."""
    shared, size = end - start, part.shape[dim]
    if shared > 0:
        weight = _ramp(shared).to(part)
        weight = weight[:, None] if dim == 2 else weight
        there = whole.narrow(dim, start, shared)
        # Not a weighted sum: where both are equal, lerp gives just that, to the last bit.
        there.copy_(torch.lerp(there, part.narrow(dim, 0, shared), weight.expand_as(there)))
    shared = max(shared, 0)
    whole.narrow(dim, start + shared, size - shared).copy_(part.narrow(dim, shared, size - shared))


def _ramp(size: int) -> Tensor:
    """From 0 to 1 [size]: a quarter 0, a raised cosine, a quarter 1."""
    place = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return 0.5 - 0.5 * torch.cos(math.pi * (2 * place - 0.5).clamp(0, 1))
