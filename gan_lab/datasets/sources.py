"""Functions for several sources: users' folders and archives, downloads, and rows in chunks."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from filelock import FileLock

from gan_lab.datasets.cache import Rows, cache_folder
from gan_lab.datasets.store import resize
from gan_lab.datasets.trusted_files import check_regular, make_private

T = TypeVar("T")
LARGEST = 4 << 30  # bytes of a published file; STL-10's has 2.8e9
CHUNK = 2_000  # pictures resized at once
DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError)  # errors from reading a truncated or missing file


def given_folder(path: str | None, setting: str = "dataset.path") -> Path | None:
    """The folder that a setting names. Raises ValueError where there is none."""
    if path is None:
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{setting}={path}: there is no such folder")
    return folder


def refuse_shared(path: str | Path, test_path: str | Path, given: str | None = None) -> None:
    """Raises ValueError where one folder contains the other: the same pictures would be trained on and held out.

    `given` names other settings than `dataset.path` and `dataset.test_path`.
    """
    train, test = (Path(folder).expanduser().resolve() for folder in (path, test_path))
    if train == test or train in test.parents or test in train.parents:
        raise ValueError(f"{given or f'dataset.test_path={test_path} and dataset.path={path}'} share pictures")


def held_out(named: Sequence[T], share: float) -> tuple[list[T], list[T]]:
    """Items sorted by name, divided into a part to train on and the last `share` to test, at least one item each.

    Items with neighbouring names are often neighbours in time or space (frames, slices, tiles), so a split in one piece
    shares the least between its parts. In DIV2K, the last names are its own validation pictures. With a share of 0, or
    with a single item, nothing is held out.
    """
    count = min(max(round(share * len(named)), 1), len(named) - 1) if share else 0
    return list(named[: len(named) - count]), list(named[len(named) - count :])


def file_digest(file: Path) -> str:
    check_regular(file)
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# -- rows --------------------------------------------------------------------------------------------------------------


def resized(images: np.ndarray, labels: np.ndarray | None, size: tuple[int, int]) -> Rows:
    """Rows of pictures uint8 [N, H, W, C], resized in chunks, and of classes if labels [N] are given."""
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        rows = {"sample": resize(images[part], size)}
        yield rows if labels is None else rows | {"label": labels[part].astype(np.int64)}


def resized_28(images: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> Rows:
    """Rows of pictures like MNIST's, uint8 [N, 28, 28, 1]: for 28 px unchanged, else with two black border pixels.

    The border makes 32 px, the size of most recipes, without changing a pixel. Other sizes are resized from 32 px.
    """
    if size != (28, 28):
        images = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return resized(images, labels, size)


# -- published files ---------------------------------------------------------------------------------------------------


def folder_or_archive(given: Path | None, what: str, published: Any) -> Path:
    """The folder or archive of one of torchvision's data sets: in the user's folder, or downloaded.

    `blocks` reads both, so nothing is unpacked into a user's folder. Raises ValueError where the folder has neither, or
    where the archive cannot be downloaded or is not the published one: its checksum is compared before it is opened,
    because headers in an archive may claim gigabytes.
    """
    if given is None:
        with downloading(what, f"give dataset.path=FOLDER with {published.filename} in it") as folder:
            from torchvision.datasets.utils import download_url  # it takes seconds to import

            download_url(published.url, str(folder), published.filename, published.tgz_md5)  # skips a complete file
        return folder / published.filename
    for place in (given / published.base_folder, given / published.filename):
        if place.is_dir() or (place.is_file() and _is_published(place, published.tgz_md5)):
            return place
    if given.name == published.base_folder:
        return given
    raise ValueError(f"dataset.path={given} holds no {published.base_folder} or {published.filename}")


def _is_published(archive: Path, md5: str) -> bool:
    """True. Raises ValueError for another checksum than the published one."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, functools.partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if digest != md5:
        raise ValueError(f"{archive} holds no whole archive (its checksum is not the published one); get it again")
    return True


def blocks(place: Path, name: str, md5: str, size: int = 1 << 20, *, most: int = LARGEST) -> Iterator[bytes]:
    """The content of a file in a folder or a tar archive, in blocks of `size` bytes; the last one may be shorter.

    Raises ValueError for a missing or truncated file, for one of more than `most` bytes, and, after the last block, for
    a wrong checksum.
    """
    checksum, total = hashlib.md5(usedforsecurity=False), 0
    try:
        with _open(place, name) as file:
            while block := file.read(size):
                total += len(block)
                if total > most:
                    raise OSError(f"it has more than {most:,} bytes")
                checksum.update(block)
                yield block
    except DAMAGED as error:
        raise ValueError(f"{place} holds no whole {name} ({one_line(error)}); download it again") from error
    if checksum.hexdigest() != md5:
        raise ValueError(f"{place} holds no whole {name} (its checksum is not the published one); download it again")


@contextlib.contextmanager
def _open(place: Path, name: str) -> Iterator[IO[bytes]]:
    if place.is_dir():
        check_regular(place / name)
        with (place / name).open("rb") as file:
            yield file
        return
    with tarfile.open(place) as archive:
        for member in archive:  # `getmember` would first read a large archive to its end
            if Path(member.name).name == name and (content := archive.extractfile(member)):
                yield content
                return
    raise FileNotFoundError("it is not in the archive")


# -- downloads ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def downloading(what: str, remedy: str) -> Iterator[Path]:
    """A context with the folder of downloads, locked so that two processes do not write the same file.

    An exception inside becomes a ValueError with the remedy.
    """
    try:
        folder = cache_folder() / "downloads"
        make_private(folder.parent)
        make_private(folder)
        with FileLock(folder / f"{what}.lock"), contextlib.redirect_stdout(io.StringIO()):  # downloaders print
            yield folder
    except Exception as error:  # downloaders may raise any exception
        raise ValueError(f"{what} cannot be downloaded ({one_line(error)}); {remedy}") from error
