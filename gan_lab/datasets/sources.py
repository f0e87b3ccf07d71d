"""What several sources share: folders and archives that users have, downloads, and rows in chunks."""

from __future__ import annotations

import contextlib
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

T = TypeVar("T")
CHUNK = 2_000  # pictures resized at once
DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError)  # what reading a cut or missing file raises


def given_folder(path: str | None) -> Path | None:
    """The folder that `dataset.path` names. Raises ValueError where there is none."""
    if path is None:
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"dataset.path={path}: there is no such folder")
    return folder


def refuse_shared(path: str | Path, test_path: str | Path) -> None:
    """Raises ValueError where one of two folders lies in the other: pictures would be trained on and held out."""
    here, there = (Path(folder).expanduser().resolve() for folder in (path, test_path))
    if here == there or here in there.parents or there in here.parents:
        raise ValueError(f"dataset.test_path={test_path} and dataset.path={path} share pictures")


def held_out(named: Sequence[T], share: float) -> tuple[list[T], list[T]]:
    """What to train on, and the last `share` of it to test, at least one of either; sorted by name.

    Neighbours in name are often neighbours in time or space (frames, slices, tiles), so a part in one piece is the
    split that shares least. DIV2K's names end in its own validation pictures. Without a share, or of one alone, nothing
    is held out.
    """
    count = min(max(round(share * len(named)), 1), len(named) - 1) if share else 0
    return list(named[: len(named) - count]), list(named[len(named) - count :])


def file_digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# -- rows --------------------------------------------------------------------------------------------------------------


def resized(images: np.ndarray, labels: np.ndarray | None, size: tuple[int, int]) -> Rows:
    """Rows of uint8 [N, H, W, C] and, with labels [N], their classes, resized a chunk at a time."""
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        rows = {"sample": resize(images[part], size)}
        yield rows if labels is None else rows | {"label": labels[part].astype(np.int64)}


def resized_28(images: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> Rows:
    """Rows of MNIST's kind, uint8 [N, 28, 28, 1]: 28 px as they are, else with a border of two black pixels.

    That makes 32 px, the size of most recipes, without touching a pixel; other sizes are resized from it.
    """
    if size != (28, 28):
        images = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return resized(images, labels, size)


# -- published files ---------------------------------------------------------------------------------------------------


def folder_or_archive(given: Path | None, what: str, published: Any) -> Path:
    """Where the files of one of torchvision's data sets lie: in the user's folder, unpacked or packed, or downloaded.

    `blocks` reads both alike, so nothing is unpacked into a user's folder. Raises ValueError where it holds neither,
    and where the archive cannot be downloaded.
    """
    if given is None:
        with downloading(what, f"give dataset.path=FOLDER with {published.filename} in it") as folder:
            from torchvision.datasets.utils import download_url  # it takes seconds to import

            download_url(published.url, str(folder), published.filename, published.tgz_md5)  # unless it is there whole
        return folder / published.filename
    for place in (given / published.base_folder, given / published.filename):
        if place.exists():
            return place
    if given.name == published.base_folder:
        return given
    raise ValueError(f"dataset.path={given} holds no {published.base_folder} or {published.filename}")


def blocks(place: Path, name: str, md5: str, size: int = 1 << 20) -> Iterator[bytes]:
    """The content of a file of a folder or of a tar archive, in blocks of `size` bytes and a rest.

    Raises ValueError where it is missing or cut, and, after the last block, where it is not the published file.
    """
    checksum = hashlib.md5(usedforsecurity=False)
    try:
        with _open(place, name) as file:
            while block := file.read(size):
                checksum.update(block)
                yield block
    except DAMAGED as error:
        raise ValueError(f"{place} holds no whole {name} ({one_line(error)}); download it again") from error
    if checksum.hexdigest() != md5:
        raise ValueError(f"{place} holds no whole {name} (its checksum is not the published one); download it again")


@contextlib.contextmanager
def _open(place: Path, name: str) -> Iterator[IO[bytes]]:
    if place.is_dir():
        with (place / name).open("rb") as file:
            yield file
        return
    with tarfile.open(place) as archive:
        for member in archive:  # not by `getmember`, which reads a large archive to its end first
            if Path(member.name).name == name and (found := archive.extractfile(member)):
                yield found
                return
    raise FileNotFoundError("it is not in the archive")


# -- downloads ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def downloading(what: str, remedy: str) -> Iterator[Path]:
    """The folder of downloads, for one process at a time: two that fetch the same file would write into each other.

    Whatever fails inside becomes a ValueError that names the remedy.
    """
    folder = cache_folder() / "downloads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{what}.lock"), contextlib.redirect_stdout(io.StringIO()):  # downloaders talk
            yield folder
    except Exception as error:  # downloaders raise whatever they like
        raise ValueError(f"{what} cannot be downloaded ({one_line(error)}); {remedy}") from error
