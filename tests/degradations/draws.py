"""Random numbers that are keyed by the row, as scoring draws them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


class RowDraw:
    """A row's numbers depend on the row and the stream alone. It notes which streams were asked for."""

    def __init__(self, rows: Sequence[int], device: str = "cpu") -> None:
        self.rows, self.device, self.streams = rows, device, set[str]()

    def __call__(self, stream: str, *shape: int, kind: Literal["normal", "uniform"] = "normal") -> Tensor:
        self.streams.add(stream)
        if self.device == "meta":
            return torch.empty(len(self.rows), *shape, device="meta")
        drawn = []
        for row in self.rows:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{stream} {row}".encode()))
            fill = torch.Tensor.normal_ if kind == "normal" else torch.Tensor.uniform_
            drawn.append(fill(torch.empty(shape), generator=generator))
        return torch.stack(drawn)


def pictures(count: int, channels: int, height: int, width: int) -> Tensor:
    """Smooth pictures of 256 levels in [-1, 1], [N, C, H, W]."""
    rough = torch.rand(count, channels, height + 4, width + 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(rough, 5, 1)
    return (smooth * 255).round() / 127.5 - 1
