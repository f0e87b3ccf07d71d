"""The card's own limits: a large matrix product in each precision, and a large copy."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tests.gpu.card import PRECISIONS, device, median_seconds, refused, rounding
from tests.gpu.rows import Row, Setting

SIZE, TINY_SIZE = 8192, 256  # of the square matrices
BYTES, TINY_BYTES = 1 << 30, 1 << 20  # of the tensor that is copied
RATE, BANDWIDTH = "TFLOP/s", "GB/s"


def measure(setting: Setting) -> Iterator[Row]:
    for precision in PRECISIONS:
        if why := refused(precision):
            yield Row(f"matmul {precision}", note=why, state="skipped")
            continue
        yield matmul(precision, TINY_SIZE if setting.tiny else SIZE, setting.tiny)
    size = TINY_BYTES if setting.tiny else BYTES
    source = torch.ones(size // 4, device=device())
    target = torch.empty_like(source)
    taken = median_seconds(lambda: target.copy_(source), setting.tiny)
    yield Row("copy", {BANDWIDTH: 2 * size / taken / 1e9}, f"{size / 2**20:,.0f} MiB on the device, read and written")


def matmul(precision: str, size: int, tiny: bool) -> Row:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    # Random numbers, since a card that multiplies zeros needs less power and is faster.
    left, right = torch.randn(2, size, size, device=device(), dtype=dtype)
    product = torch.empty_like(left)
    with rounding(precision):
        taken = median_seconds(lambda: torch.mm(left, right, out=product), tiny)
    return Row(f"matmul {precision}", {RATE: 2 * size**3 / taken / 1e12}, f"{size} x {size} random numbers")
