"""The data path: decode once into one contiguous uint8 NHWC store, then batches are an index and a scaling.

A store is kept in a cache folder, `$GAN_LAB_CACHE` or `~/.cache/gan_lab`, under a key of its content, and is mapped
from the disk where it is larger than a share of the machine's memory. Nothing is decoded in the training loop.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.nn import functional

MEMORY_SHARE = 0.25  # of the machine's memory: a larger store is mapped from the disk instead of read
DEVICE_SHARE = 0.25  # of a GPU's free memory: a smaller store is copied there once
PATIENCE = 5.0  # seconds of waiting for another process before that is said
Rows = Iterator[Mapping[str, np.ndarray]]  # chunks of columns: {"sample": uint8 [n, H, W, C], "label": int64 [n]}


class Store:
    """Columns by name: `sample` (uint8 [N, H, W, C], or float32 [N, 2] for points) and, with labels, `label` [N]."""

    def __init__(self, columns: Mapping[str, Tensor], skipped: Mapping[str, str] | None = None) -> None:
        self.columns = dict(columns)
        self.skipped = dict(skipped or {})  # sources that could not be read -> why

    def __len__(self) -> int:
        return len(self.columns["sample"])

    @functools.cached_property
    def digest(self) -> str:
        """Of the samples, in their order: whatever is derived from them is kept under it."""
        sample = self.columns["sample"]
        head = f"{sample.dtype} {tuple(sample.shape)}".encode()
        parts = (hashlib.sha256(_bytes(part)).digest() for part in sample.split(10_000))
        return hashlib.sha256(head + b"".join(parts)).hexdigest()

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def on(self, device: torch.device) -> Store:
        """The same data in a GPU's memory, where they take no more than a share of what is free there; else itself."""
        if device.type != "cuda":
            return self
        size = sum(column.numel() * column.element_size() for column in self.columns.values())
        free, _ = torch.cuda.mem_get_info(device)
        if size > DEVICE_SHARE * free:
            return self
        return Store({name: column.to(device) for name, column in self.columns.items()}, self.skipped)

    def fetch(self, name: str, indices: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Rows of a column on a device; images as float [B, C, H, W] in [-1, 1], channels last in memory.

        A GPU copies them while the host goes on, which takes memory that the system may not move.
        """
        column, device = self.columns[name], torch.device(device)
        rows = column.index_select(0, indices.to(column.device, non_blocking=True))
        if rows.device.type == "cpu" and device.type == "cuda":
            rows = rows.pin_memory()
        rows = rows.to(device, non_blocking=True)
        return scale(rows) if rows.dtype == torch.uint8 else rows


def scale(images: Tensor) -> Tensor:
    """uint8 [B, H, W, C] to float [B, C, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).to(torch.get_default_dtype()).div_(127.5).sub_(1)


def unscale(images: Tensor) -> Tensor:
    """float [B, C, H, W] in [-1, 1] to uint8 [B, H, W, C], rounded and clipped: the inverse of `scale`."""
    return images.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [N, H, W, C] to another (height, width): bilinear, antialiased where it shrinks."""
    if images.shape[1:3] == size:
        return images
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return resized.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def height_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)  # type: ignore[return-value]


# -- the cache ---------------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GAN_LAB_CACHE") or Path(home) / "gan_lab")


def content_key(*parts: object) -> str:
    """Twelve hex digits of everything that decides what a store holds."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]


def cached(name: str, key: str, rows: Callable[[dict[str, str]], Rows], *, verify: bool = False) -> Store:
    """The store of that name and key, made from `rows` where the cache has none that is whole.

    `rows` gets a mapping in which it notes the sources that it had to skip. Processes that ask at once build it once,
    and one that was killed while it built leaves nothing that lasts. Where the cache folder cannot be written, the
    store is built in memory, with a warning. Raises ValueError where no row comes.

    A store that is not whole is made again, which is said; `verify` finds a flipped bit, too, at the cost of a hash.
    """
    folder = cache_folder() / f"{name}-{key}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if (store := _open(folder, verify)) is not None:
            return store
        with _lock(folder.with_suffix(".lock")):
            if (store := _open(folder, verify)) is not None:
                return store
            if folder.exists():
                warnings.warn(f"the cached {folder} is damaged, and is made again", stacklevel=2)
            _remove_remains(folder)
            _write(folder, rows)
    except OSError as error:
        store = _in_memory(rows)  # where the source is at fault, this raises its error again
        warnings.warn(f"cannot cache data in {folder.parent} ({error}); set GAN_LAB_CACHE", stacklevel=2)
        return store
    store = _open(folder, verify=False)
    assert store is not None
    return store


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock. Says so where another process has it for long: that one may be at work, or hang."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        print(f"waiting for another process that prepares {path.with_suffix('')}; it holds {path}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _remove_remains(folder: Path) -> None:
    """What killed writers left: whoever holds the lock is the only writer, so nobody works there any more."""
    for remains in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(remains, ignore_errors=True)


def _write(folder: Path, rows: Callable[[dict[str, str]], Rows]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        skipped: dict[str, str] = {}
        columns: dict[str, dict[str, Any]] = {}
        with _Files(temporary) as files:
            for chunk in rows(skipped):
                for name, values in chunk.items():
                    column = columns.setdefault(name, {"dtype": str(values.dtype), "shape": [0, *values.shape[1:]]})
                    column["shape"][0] += len(values)
                    files[name].write(np.ascontiguousarray(values).data)
        _refuse_empty(columns, skipped)
        for name, column in columns.items():
            column["sha256"] = _sha256(temporary / f"{name}.bin")
        (temporary / "store.json").write_text(json.dumps({"columns": columns, "skipped": skipped}))
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Files(dict[str, Any]):
    """Binary files by column name, opened when first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Any:
        self[name] = (self.folder / f"{name}.bin").open("wb")
        return self[name]

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.values():
            file.close()


def _open(folder: Path, verify: bool) -> Store | None:
    """A whole store, or None: one that was cut or half deleted is made again."""
    try:
        about = json.loads((folder / "store.json").read_text())
        columns = {}
        for name, column in about["columns"].items():
            digest = column.pop("sha256", None)
            if verify and digest != _sha256(folder / f"{name}.bin"):
                return None
            columns[name] = _column(folder / f"{name}.bin", **column)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Store(columns, about["skipped"])


def _column(path: Path, dtype: str, shape: list[int]) -> Tensor:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if path.stat().st_size != size:
        raise ValueError(f"{path} is cut")
    if size > MEMORY_SHARE * _memory():
        return torch.from_numpy(np.memmap(path, dtype, mode="c", shape=tuple(shape)))
    return torch.from_numpy(np.fromfile(path, dtype).reshape(shape))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(values: Tensor) -> memoryview:
    return np.ascontiguousarray(values.numpy()).data


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _in_memory(rows: Callable[[dict[str, str]], Rows]) -> Store:
    skipped: dict[str, str] = {}
    chunks = list(rows(skipped))
    _refuse_empty(chunks, skipped)
    parts: dict[str, list[np.ndarray]] = {}
    for chunk in chunks:
        for name, values in chunk.items():
            parts.setdefault(name, []).append(values)
    return Store({name: torch.from_numpy(np.concatenate(values)) for name, values in parts.items()}, skipped)


def _refuse_empty(columns: object, skipped: Mapping[str, str]) -> None:
    if not columns:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:3])
        raise ValueError(f"no picture could be read{f' ({reasons})' if reasons else ''}")
