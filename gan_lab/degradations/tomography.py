"""Parallel-beam tomography: projections of pictures, and pictures of projections.

The conventions are those of scikit-image with circle=True: what lies outside of the largest circle in
the picture is taken for zero, and the axis of rotation is at pixel size // 2.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

AT_ONCE = 20  # angles: more take memory and are no faster


def radon(pictures: Tensor, angles: int) -> Tensor:
    """Line integrals [B, angles, N] of square pictures [B, N, N], at equal angles from 0 to 180 degrees, in pixels."""
    size = pictures.shape[1]
    inside = (pictures * in_circle(size, pictures.device))[None]
    sums = []
    for grid in _rotations(size, angles, pictures.device).split(AT_ONCE):
        turned = grid_sample(inside.expand(len(grid), -1, -1, -1), grid, align_corners=True)
        sums.append(turned.sum(2))
    return torch.cat(sums).transpose(0, 1)


def back_projection(sinogram: Tensor) -> Tensor:
    """The pictures [B, N, N] of line integrals [B, angles, N], by filtered back-projection with the ramp filter."""
    _, angles, size = sinogram.shape
    ramp = _ramp(size, sinogram.device)
    spectrum = torch.fft.rfft(sinogram, n=2 * (len(ramp) - 1)) * ramp
    filtered = torch.fft.irfft(spectrum, n=2 * (len(ramp) - 1))[..., :size]
    total = sinogram.new_zeros(len(sinogram), size, size)
    rows = filtered.transpose(0, 1)[:, :, None]  # [angles, B, 1, N]
    for row, grid in zip(rows.split(AT_ONCE), _shadows(size, angles, sinogram.device).split(AT_ONCE), strict=True):
        total += grid_sample(row.contiguous(), grid, align_corners=True).sum(0)
    return total * in_circle(size, sinogram.device) * (math.pi / (2 * angles))


def _radians(angles: int, device: torch.device) -> Tensor:
    return torch.arange(angles, device=device, dtype=torch.float64) * (math.pi / angles)


@functools.lru_cache(maxsize=4)
def in_circle(size: int, device: torch.device) -> Tensor:
    """1 inside the largest circle, else 0, [size, size]."""
    away = torch.arange(size, device=device) - size // 2
    return (away.square()[:, None] + away.square()[None, :] <= (size // 2) ** 2).float()


@functools.lru_cache(maxsize=2)
def _rotations(size: int, angles: int, device: torch.device) -> Tensor:
    """Where each pixel of a turned picture comes from, for `grid_sample`, [angles, size, size, 2]."""
    turn, away = _radians(angles, device), torch.arange(size, device=device) - size // 2
    cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
    x, y = cos * away + sin * away[:, None], cos * away[:, None] - sin * away
    return _normalized(torch.stack([x, y], -1), size)


@functools.lru_cache(maxsize=2)
def _shadows(size: int, angles: int, device: torch.device) -> Tensor:
    """Where on the detector each pixel falls, for `grid_sample` on rows, [angles, size, size, 2]."""
    turn, away = _radians(angles, device), torch.arange(size, device=device) - size // 2
    place = away * turn.cos()[:, None, None] - away[:, None] * turn.sin()[:, None, None]
    grid = _normalized(place, size)
    return torch.stack([grid, torch.zeros_like(grid)], -1)


def _normalized(place: Tensor, size: int) -> Tensor:
    return ((place + size // 2) * (2 / (size - 1)) - 1).float()


@functools.lru_cache(maxsize=4)
def _ramp(size: int, device: torch.device) -> Tensor:
    """The ramp filter's real spectrum, of the filter in space (Kak and Slaney 1988, chapter 3, eq. 61), times two."""
    length = max(64, 2 ** math.ceil(math.log2(2 * size)))
    space = torch.zeros(length, dtype=torch.float64)
    space[0] = 0.25
    odd = torch.arange(1, length // 2, 2)
    space[odd] = space[length - odd] = -1 / (math.pi * odd.double()).square()
    return (2 * torch.fft.rfft(space).real).float().to(device)
