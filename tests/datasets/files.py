"""Picture files of more bits and channels than PIL writes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def png_16(path: Path, pixels: np.ndarray) -> None:
    """A PNG of uint16 [H, W, C], grey or colour, with or without alpha, by its specification (ISO/IEC 15948)."""
    height, width, channels = pixels.shape
    rows = b""
    for i, row in enumerate(pixels):  # every other one filtered: a byte less the one at its place in the pixel before
        values = np.frombuffer(row.astype(">u2").tobytes(), np.uint8)
        before = np.concatenate([np.zeros(2 * channels, np.uint8), values[: -2 * channels]])
        rows += bytes([i % 2]) + (values - before * np.uint8(i % 2)).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(b)) + name + b + struct.pack(">I", zlib.crc32(name + b)) for name, b in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
