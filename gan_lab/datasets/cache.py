"""Stores on the disk: made once, whole or not at all, and found again under a key of their content.

The cache folder is `$GAN_LAB_CACHE` or `~/.cache/gan_lab`. A column that is larger than a share of the machine's
memory, or whose source asks for it, is mapped from the disk: processes share it, and only what they use of it is read.
Only files of this user and of root are read: whoever else can write to the folder could choose what a training sees.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from gan_lab.core.files import read_object
from gan_lab.datasets.store import Store, digest
from gan_lab.datasets.trusted_files import is_private, make_private, own_file, shown_name

MEMORY_SHARE = 0.25  # of the machine's memory: a larger store is mapped from the disk instead of read
LARGEST = 256 << 20  # bytes of a store.json: some million names of pictures that cannot be read
PATIENCE = 5.0  # seconds of waiting for another process before that is said
Rows = Iterator[Mapping[str, np.ndarray]]  # chunks of columns: {"sample": uint8 [n, H, W, C], "label": int64 [n]}
Domains = Mapping[str, Sequence[str]]


def cache_folder() -> Path:
    """The cache folder; where other users can write to it, a folder of this user inside. It need not exist yet.

    Raises OSError where the folder of this user was made by another one.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("GAN_LAB_CACHE") or Path(home) / "gan_lab")
    if is_private(folder):
        return folder
    own = folder / f"user-{os.geteuid()}"
    if not is_private(own):
        raise PermissionError(f"{own} is not of this user alone")
    return own


def content_key(*parts: object) -> str:
    """Twelve hex digits of everything that decides what a store holds."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]


def cached(
    name: str,
    key: str,
    rows: Callable[[dict[str, str]], Rows],
    *,
    domains: Domains | None = None,
    verify: bool = False,
    mapped: bool = False,
) -> Store:
    """The store of that name and key, made from `rows` where the cache has none that is whole.

    `rows` yields chunks of columns, of which each may have its own number of rows, and gets a mapping in which it notes
    the sources that it had to skip. `domains` are the store's. Processes that ask at once build it once, and one that
    was killed while it built leaves nothing that lasts. Where the cache folder cannot be written, the store is built in
    memory, with a warning. With `mapped`, for what memory may have no room for, it is mapped whatever its size, and not
    built in memory. Raises ValueError where no row comes, and for a mapped store that cannot be written.

    A store that is not whole is made again, which is said; `verify` finds a flipped bit, too, at the cost of a hash.
    """
    try:
        folder = cache_folder() / f"{name}-{key}"
        make_private(folder.parent)
        if (store := _open(folder, verify, mapped)) is not None:
            return store
        with _lock(folder.with_suffix(".lock")):
            if (store := _open(folder, verify, mapped)) is not None:
                return store
            if os.path.lexists(folder):
                warnings.warn(f"the cached {folder} is damaged, and is made again", stacklevel=2)
            _remove_remains(folder)
            _write(folder, rows, domains or {})
    except OSError as error:
        if mapped:
            raise ValueError(
                f"cannot cache data ({error}): they are read from the disk, so set GAN_LAB_CACHE to a folder with room"
            ) from error
        store = _in_memory(rows, domains or {})  # where the source is at fault, this raises its error again
        warnings.warn(f"cannot cache data ({error}); set GAN_LAB_CACHE to a folder of your own", stacklevel=2)
        return store
    store = _open(folder, False, mapped)
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


def _write(folder: Path, rows: Callable[[dict[str, str]], Rows], domains: Domains) -> None:
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
        _refuse_empty(columns, skipped, domains)
        for name, column in columns.items():
            file = temporary / f"{name}.bin"
            column["sha256"] = _sha256(file)
            column["digest"] = digest(_column(file, column["dtype"], column["shape"], True, {}))
        about = {
            "columns": columns,
            "skipped": _printable(skipped),
            "domains": {name: list(of) for name, of in domains.items()},
        }
        (temporary / "store.json").write_text(json.dumps(about))
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.unlink(missing_ok=True)
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


def _printable(skipped: Mapping[str, str]) -> dict[str, str]:
    return {shown_name(name): shown_name(why) for name, why in skipped.items()}


def _open(folder: Path, verify: bool, mapped: bool) -> Store | None:
    """A whole store of this user's, or None: one that was cut, half deleted or planted is made again."""
    try:
        if folder.is_symlink() or not is_private(folder):
            return None
        own_file(folder, "store.json")
        about = read_object(folder / "store.json", LARGEST)
        columns: dict[str, Tensor] = {}
        digests: dict[str, str] = {}
        pages: dict[str, mmap.mmap] = {}
        for name, column in about["columns"].items():
            file = own_file(folder, f"{name}.bin")
            whole, known = column.pop("sha256", None), column.pop("digest", None)
            if verify and whole != _sha256(file):
                return None
            columns[name] = _column(file, **column, mapped=mapped, pages=pages)
            if known:  # older stores have none
                digests[name] = str(known)
        _check_skipped(about["skipped"])
        return Store(columns, about["skipped"], about.get("domains"), digests, pages)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _check_skipped(skipped: dict[str, str]) -> None:
    if not all(isinstance(text, str) for pair in skipped.items() for text in pair):
        raise ValueError("skipped is no mapping of names to reasons")


def _column(path: Path, dtype: str, shape: list[int], mapped: bool, pages: dict[str, mmap.mmap]) -> Tensor:
    """A column, read or mapped. `pages` gets the mapping under its name."""
    kind = np.dtype(dtype)
    if kind.kind not in "buif" or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"{path} holds no numbers")
    size = math.prod(shape) * kind.itemsize
    if path.stat().st_size != size:
        raise ValueError(f"{path} is cut")
    if not size or not (mapped or size > MEMORY_SHARE * memory()):
        return torch.from_numpy(np.fromfile(path, kind).reshape(shape))
    # Not to be written to, not even privately: Linux refuses that for more bytes than the machine has memory.
    with path.open("rb") as file:
        mapping = pages[path.stem] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):  # else a hundred times as much is read around each row
        mapping.madvise(mmap.MADV_RANDOM)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.frombuffer(mapping, kind).reshape(shape))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _in_memory(rows: Callable[[dict[str, str]], Rows], domains: Domains) -> Store:
    skipped: dict[str, str] = {}
    parts: dict[str, list[np.ndarray]] = {}
    for chunk in rows(skipped):
        for name, values in chunk.items():
            parts.setdefault(name, []).append(values)
    _refuse_empty(parts, skipped, domains)
    columns = {name: torch.from_numpy(np.concatenate(values)) for name, values in parts.items()}
    return Store(columns, _printable(skipped), domains)


def _refuse_empty(columns: Mapping[str, object], skipped: Mapping[str, str], domains: Domains) -> None:
    lost = [name for names in domains.values() for name in names if name not in columns]
    if lost or not columns:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(_printable(skipped).items())[:3])
        of = f" for {', '.join(lost)}" if lost else ""
        raise ValueError(f"no picture could be read{of}{f' ({reasons})' if reasons else ''}")
