"""Readers of packed files. What they would unpack to is known before anything is: a small file may claim to be huge.

The largest: half of the machine's memory, and beyond 1 GiB a hundred times the file's own size. Pictures do not pack
better than that, and zeros do.
"""

from __future__ import annotations

import gzip
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from gan_lab.datasets.cache import memory
from gan_lab.datasets.trusted_files import check_regular

FREE = 1 << 30  # bytes that a file of any size may unpack to
RATIO = 100  # bytes unpacked from one
SHARE = 0.5  # of the machine's memory
BLOCK = 1 << 20  # bytes unpacked at once


def refuse_large(size: int, packed: int | None = None) -> None:
    """Raises ValueError where `size` bytes are more than memory has room for, or come out of too few packed ones."""
    if size > (most := int(SHARE * memory())):
        raise ValueError(f"it would take {size:,} bytes of memory; at most {most:,} are read")
    if packed is not None and size > (most := max(FREE, RATIO * packed)):
        raise ValueError(f"it would unpack {packed:,} bytes to {size:,}; at most {most:,} are read")


def read_gzip(file: Path, size: int | None = None, *, most: int = FREE) -> bytes:
    """The first `size` bytes of a .gz, or all where there are at most `most`.

    Raises ValueError where there are more; OSError, EOFError or zlib.error for a damaged file.
    """
    check_regular(file)
    with gzip.open(file) as content:
        data = content.read(most + 1 if size is None else size)
    if size is None and len(data) > most:
        raise ValueError(f"it would unpack to more than {most:,} bytes")
    return data


def pictures_of_npz(path: Path, key: str = "images") -> np.ndarray:
    """The uint8 array [N, H, W, 1 or 3] of an .npz. Nothing else in it is looked at, and nothing is unpickled.

    Raises ValueError for other types and shapes and for too large an array, before it is unpacked, and zipfile's errors
    for a damaged file.
    """
    check_regular(path)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"{key}.npy")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # LZMA may ask for any memory
            raise ValueError("it is packed otherwise than numpy does")
        with archive.open(entry) as member:
            shape, in_columns, dtype = npy_header(member)
            if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or not shape[0]:
                said = " x ".join(map(str, shape))
                raise ValueError(f"images are {dtype} of {said}; wanted is uint8 of N x height x width x 1 or 3")
            refuse_large(math.prod(shape), entry.compress_size)
            values = _filled(member, math.prod(shape))
    return values.reshape(shape[::-1]).T.copy() if in_columns else values.reshape(shape)


def mapped_npy(file: Path) -> np.ndarray:
    """The array of an .npy, mapped: nothing is read before its size was looked at. Raises ValueError for pickles."""
    check_regular(file)
    with file.open("rb") as content:
        npy_header(content)
    return np.lib.format.open_memmap(file, mode="r")


def npy_header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    """Shape, whether it is stored by columns, and dtype of an array in numpy's format.

    Raises ValueError for another format and for an array of Python objects. Of the versions of the format, only the
    first is read, in which numpy saves any array of numbers: headers of later ones may be 4 GB long.
    """
    version = np.lib.format.read_magic(content)
    if version != (1, 0):
        raise ValueError(f"it is of version {version[0]}.{version[1]} of numpy's format, not 1.0")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(content)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, not numbers")
    if min(shape, default=0) < 0:
        raise ValueError("it claims a negative size")
    return shape, in_columns, dtype


def _filled(content: IO[bytes], size: int) -> np.ndarray:
    """An array of exactly so many bytes. Raises ValueError where there are fewer."""
    values, start = np.empty(size, np.uint8), 0
    while start < size and (block := content.read(min(BLOCK, size - start))):
        values[start : start + len(block)] = np.frombuffer(block, np.uint8)
        start += len(block)
    if start < size or content.read(1):  # the checksum is compared at the end
        raise ValueError("it does not hold as many bytes as its header claims")
    return values
