"""Random bytes for every reader: whole files of each format, with some bytes changed, called without a command."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from gan_lab.comparing.runs import Run
from gan_lab.core import checkpoint
from gan_lab.datasets.decoding import decode, read_exactly
from gan_lab.datasets.exact import Unreadable, read_array
from gan_lab.datasets.fashion_mnist import read_idx
from gan_lab.feature_extractors import small
from tests.fuzz.damage import pick, sign

SIDE = 12
EDITS = ("flip", "byte", "word", "cut", "repeat", "insert", "swap")
BYTES = (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x2D, 0x5B, 0x7B)
WORDS = (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 4, b"\0\x01\0\0", b"\0\0\x01\0", b"\xff" * 8)
Edit = tuple[str, float, float]  # what, and two shares, 0 to 1: where, and which


def edited(content: bytes, edits: list[Edit]) -> bytes:
    for how, at, by in edits:
        i, j = int(at * len(content)), int(by * len(content))
        before, byte, after = content[:i], content[i : i + 1], content[i + 1 :]
        if how == "flip" and byte:
            content = before + bytes([byte[0] ^ 1 << int(by * 8)]) + after
        elif how == "byte":
            content = before + bytes([pick(BYTES, by)]) + after
        elif how == "word":
            word = pick(WORDS, by)
            content = before + word + content[i + len(word) :]
        elif how == "cut":
            content = before
        elif how == "repeat":
            content = content[: max(i, j)] + content[min(i, j) :]
        elif how == "insert":
            content = before + pick(WORDS, by) + byte + after
        elif how == "swap":
            content = before + content[j : j + 32] + content[i + 32 :]
    return content


@dataclass(frozen=True)
class Reader:
    """A reader, whole files for it, and the only errors that it may raise."""

    read: Callable[[Path], Any]
    files: Callable[[Path], dict[str, bytes]]
    raises: tuple[type[Exception], ...] = (ValueError,)

    def call(self, file: Path) -> int:
        """2 where it refuses in one line, as a command would."""
        try:
            self.read(file)
        except self.raises as error:
            print(f"gan-lab: {error}")
            return 2
        return 0


# -- files -------------------------------------------------------------------------------------------------------------


@cache
def _pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def _saved(pixels: np.ndarray, kind: str, **more: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **more)
    return buffer.getvalue()


@cache
def pictures() -> dict[str, bytes]:
    """A tiny picture of each format that is taken."""
    grey, colour = _pixels(SIDE, SIDE), _pixels(SIDE, SIDE, 3)
    kinds = {"png": "PNG", "bmp": "BMP", "tif": "TIFF", "ppm": "PPM", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF"}
    found = {f"colour.{suffix}": _saved(colour, kind) for suffix, kind in kinds.items()}
    found["progressive.jpg"] = _saved(colour, "JPEG", progressive=True, exif=_turned())
    found["transparent.png"] = _saved(_pixels(SIDE, SIDE, 4), "PNG")
    found["deep.png"] = _saved(grey.astype(np.uint16) * 257, "PNG")
    found["palette.png"] = _palette()
    found["packed.tif"] = _saved(colour, "TIFF", compression="tiff_lzw")
    found["deep.tif"] = _saved(grey.astype(np.uint16), "TIFF")
    found["grey.pgm"] = _saved(grey, "PPM")
    return found


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _palette() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_pixels(SIDE, SIDE)).convert("P").save(buffer, "PNG", transparency=3)
    return buffer.getvalue()


def arrays(_: Path) -> dict[str, bytes]:
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, images=_pixels(2, SIDE, SIDE, 3))
    np.savez_compressed(packed, images=_pixels(2, SIDE, SIDE, 1))
    return {"plain.npz": plain.getvalue(), "packed.npz": packed.getvalue()}


def exact(_: Path) -> dict[str, bytes]:
    buffer = io.BytesIO()
    np.save(buffer, _pixels(SIDE, SIDE, 3).astype(np.float32))
    return {"picture.npy": buffer.getvalue(), **pictures()}


def idx(_: Path) -> dict[str, bytes]:
    header = bytes((0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, SIDE, 0, 0, 0, SIDE))
    content = header + _pixels(2, SIDE, SIDE).tobytes()
    return {"train-images-idx3-ubyte": content, "train-images-idx3-ubyte.gz": gzip.compress(content)}


def weights(_: Path) -> dict[str, bytes]:
    network = small.SmallClassifier()
    return {"mnist5k.safetensors": save({name: value.contiguous() for name, value in network.state_dict().items()})}


def of_a_run(*names: str) -> Callable[[Path], dict[str, bytes]]:
    return lambda run: {name: file.read_bytes() for pattern in names for file in run.glob(pattern)
                        for name in [file.relative_to(run).as_posix()]}  # fmt: skip


# -- readers -----------------------------------------------------------------------------------------------------------


def _signed(file: Path) -> Any:
    sign(file)
    return checkpoint.load_newest(file.parent.parent)


def _extractor(file: Path) -> Any:
    small.WEIGHTS = file.parent
    return small.MNIST5kClassifier((1, 28, 28))


def _of_run(file: Path) -> Any:
    run = Run(file.parent)
    return run.config, run.settings, run.records, run.finals, run.curves, run.images, run.seconds, run.health


READERS = {
    "picture": Reader(lambda file: decode(file, (8, 8), 3), lambda _: pictures(), ()),
    "exact picture": Reader(read_array, exact, (Unreadable, ValueError)),
    "pictures of an npz": Reader(lambda file: read_exactly(file, force=False), arrays),
    "idx": Reader(read_idx, idx),
    "weights": Reader(_extractor, weights),
    "checkpoint": Reader(lambda file: checkpoint.load_newest(file.parent.parent), of_a_run("checkpoints/*/*")),
    "signed checkpoint": Reader(_signed, of_a_run("checkpoints/*/state.pt")),
    "run": Reader(_of_run, of_a_run("summary.json", "metrics.jsonl", "config.yaml")),
}


def edits() -> st.SearchStrategy[list[Edit]]:
    """A few edits; half of them near the beginning, where headers are."""
    share = st.integers(0, 9999).map(lambda n: n / 10000)
    early = st.integers(0, 99).map(lambda n: n / 1000)
    return st.lists(st.tuples(st.sampled_from(EDITS), share | early, share), min_size=1, max_size=4)
