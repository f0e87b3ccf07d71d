"""Small files in the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from gan_lab.datasets.fashion_mnist import FILES

RANDOM = np.random.default_rng(0)
IMAGES = {
    "train": RANDOM.integers(0, 256, (12, 28, 28), dtype=np.uint8),
    "test": RANDOM.integers(0, 256, (5, 28, 28), dtype=np.uint8),
}
LABELS = {"train": np.arange(12, dtype=np.uint8) % 10, "test": np.array([9, 0, 3, 3, 1], dtype=np.uint8)}


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write(folder: Path, packed: bool = True, invert: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in FILES.items():
        pixels = 255 - IMAGES[split] if invert else IMAGES[split]
        for name, values in ((images, pixels), (labels, LABELS[split])):
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    return folder
