"""The data path: decoded once into contiguous columns; a batch is an index and a scaling. No decoding while training.

A `Store` is columns by name, of one row an example. What a column holds follows from its dtype and dimensions alone:

| stored | is | as the networks see it |
|---|---|---|
| uint8 [N, H, W, C] | a picture of 8 bits | float [B, C, H, W], x / 127.5 - 1 |
| uint16 [N, H, W, C] | a picture of 16 bits | float [B, C, H, W], x / 32767.5 - 1 |
| float [N, H, W, C] | a picture in the range that the networks see | the same values, [B, C, H, W] |
| uint8 [N, H, W] | a mask of classes | int64 [B, H, W], the same values |
| any other | labels [N], points [N, 2], tokens [N, L] | as it is |

`cache.py` keeps stores on the disk.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

DEVICE_SHARE = 0.25  # of a GPU's free memory: a smaller store is copied there once
HALF = {torch.uint8: 127.5, torch.uint16: 32767.5}  # half of the largest value


class Store:
    """Columns by name: `sample`, or `source` and `target`, with labels `label` [N], ...; see above.

    `skipped` names the sources that could not be read, with the reason. `domains` names columns whose rows correspond
    to no row of the others, such as the pictures of another style: {"b": ["other", "other_label"]}. All columns of a
    domain have as many rows. The main domain is called "", and its first column gives the store's length. `digests` are
    of columns whose `digest` is known, and `pages` the mappings of those that are not in memory. Raises ValueError for
    a domain of columns that are not there.
    """

    def __init__(
        self,
        columns: Mapping[str, Tensor],
        skipped: Mapping[str, str] | None = None,
        domains: Mapping[str, Sequence[str]] | None = None,
        digests: Mapping[str, str] | None = None,
        pages: Mapping[str, mmap.mmap] | None = None,
    ) -> None:
        self.columns = dict(columns)
        self._digests, self.pages = dict(digests or {}), dict(pages or {})
        self.skipped = dict(skipped or {})
        self.domains = {domain: tuple(names) for domain, names in (domains or {}).items()}
        lost = [name for names in self.domains.values() for name in names if name not in self.columns]
        if lost:
            raise ValueError(f"domains name {', '.join(lost)}, and there is no such column: {', '.join(self.columns)}")
        if self.columns and all(self.domain_of(name) for name in self.columns):
            raise ValueError("a store needs a column of the main domain, which no domain names")

    def __len__(self) -> int:
        """Rows of the main domain."""
        return len(self.columns[next(name for name in self.columns if not self.domain_of(name))])

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    @property
    def mapped(self) -> bool:
        """Whether memory may have no room for the store, or for what is made of it."""
        return bool(self.pages)

    def domain_of(self, name: str) -> str:
        """The domain of a column, "" for the main one. Raises KeyError for a column that is not there."""
        if name not in self.columns:
            raise KeyError(name)
        return next((domain for domain, names in self.domains.items() if name in names), "")

    @functools.cached_property
    def lengths(self) -> dict[str, int]:
        """Rows of each domain, the main one first. Raises ValueError where columns of one domain differ in length."""
        found: dict[str, dict[str, int]] = {domain: {} for domain in ("", *self.domains)}
        for name, column in self.columns.items():
            found[self.domain_of(name)][name] = len(column)
        for lengths in found.values():
            if len(set(lengths.values())) > 1:
                said = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
                raise ValueError(f"columns of one domain must have as many rows: {said}")
        return {domain: next(iter(lengths.values())) for domain, lengths in found.items()}

    @functools.cached_property
    def digest(self) -> str:
        """Of the column `sample`; without it, of all columns. What is derived from the data is kept under it."""
        if "sample" in self.columns:
            return self.digest_of("sample")
        parts = (f"{name} {self.domain_of(name)} {self.digest_of(name)}" for name in sorted(self.columns))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def digest_of(self, name: str) -> str:
        """The `digest` of a column. Computed once."""
        if name not in self._digests:
            self._digests[name] = digest(self.columns[name])
        return self._digests[name]

    def on(self, device: torch.device) -> Store:
        """The same data in a GPU's memory, where they take no more than a share of what is free there; else itself."""
        if device.type != "cuda":
            return self
        size = sum(column.numel() * column.element_size() for column in self.columns.values())
        free, _ = torch.cuda.mem_get_info(device)
        if size > DEVICE_SHARE * free:
            return self
        columns = {name: column.to(device) for name, column in self.columns.items()}
        return Store(columns, self.skipped, self.domains, self._digests)

    def fetch(self, name: str, indices: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Rows of a column on a device, as the networks see them; pictures are channels last in memory.

        A GPU copies them while the host goes on, which takes memory that the system may not move.
        """
        column, device = self.columns[name], torch.device(device)
        if name in self.pages:
            read_ahead(self.pages[name], indices, column[0].numel() * column.element_size())
        rows = take(column, indices.to(column.device, non_blocking=True))
        if rows.device.type == "cpu" and device.type == "cuda":
            rows = rows.pin_memory()
        rows = rows.to(device, non_blocking=True)
        if is_picture(rows):
            return scale(rows)
        return rows.long() if is_mask(rows) else rows


def digest(column: Tensor) -> str:
    """SHA-256 of a column's dtype, shape and rows in their order."""
    head = f"{column.dtype} {tuple(column.shape)}".encode()
    parts = (hashlib.sha256(raw_bytes(part)).digest() for part in column.split(10_000))
    return hashlib.sha256(head + b"".join(parts)).hexdigest()


def is_picture(column: Tensor) -> bool:
    """Whether rows of a store are pictures: [N, H, W, C] of 8 bits, of 16, or float."""
    return column.dim() == 4 and (column.dtype in HALF or column.is_floating_point())


def is_mask(column: Tensor) -> bool:
    """Whether rows of a store are masks of classes: uint8 [N, H, W]."""
    return column.dim() == 3 and column.dtype == torch.uint8


def take(column: Tensor, indices: Tensor) -> Tensor:
    """Rows of a stored column by their numbers, [B, ...] of the same dtype."""
    if column.dtype == torch.uint16:  # indexing is not implemented for it on every device
        return column.view(torch.int16).index_select(0, indices).view(torch.uint16)
    return column.index_select(0, indices)


def read_ahead(pages: mmap.mmap, rows: Tensor, size: int) -> None:
    """Have the system read all these rows, of `size` bytes each, at once. Else it waits for one after the other."""
    if hasattr(mmap, "MADV_WILLNEED"):
        for row in rows.tolist():
            start = row * size // mmap.PAGESIZE * mmap.PAGESIZE
            pages.madvise(mmap.MADV_WILLNEED, start, (row + 1) * size - start)


def scale(images: Tensor) -> Tensor:
    """Stored pictures [B, H, W, C] to float [B, C, H, W], channels last in memory: uint8 and uint16 in [-1, 1]."""
    images = images.permute(0, 3, 1, 2)
    if images.dtype not in HALF:
        return images
    return images.to(torch.get_default_dtype()).div_(HALF[images.dtype]).sub_(1)


def unscale(images: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Float [B, C, H, W] in [-1, 1] to pictures as they are stored, [B, H, W, C]: the inverse of `scale`.

    uint8 and uint16 are rounded and clipped to their range; float pictures keep their values.
    """
    if dtype in HALF:
        if dtype == torch.uint16 and images.dtype != torch.float64:
            images = images.float()  # half precision has not as many values
        images = images.add(1).mul_(HALF[dtype]).round_().clamp_(0, 2 * HALF[dtype])
    return images.to(dtype).permute(0, 2, 3, 1).contiguous()


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [N, H, W, C] to another (height, width): bilinear, antialiased where it shrinks."""
    if images.shape[1:3] == size:
        return images
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return resized.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def height_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)  # type: ignore[return-value]


def raw_bytes(values: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, row by row."""
    return np.ascontiguousarray(values.numpy()).data
