"""Checkpoints: an atomically written directory with all state, `<images, 12 digits>/{state.pt, manifest.json}`."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gan_lab.core.files import BadFile, leads_away, read_object

SCHEMA = 2
DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError)


class DamagedCheckpoints(ValueError):
    """There are checkpoints, but none of them can be read. A silent start at zero would hide the loss."""


class UnknownSchema(DamagedCheckpoints):
    """A checkpoint of a version of gan_lab that this one cannot read. Skipping it would lose the training in it."""


def save(state: Mapping[str, Any], folder: Path, *, keep: int = 2, spare: Collection[int] = ()) -> Path:
    """Write `state` (plain types and tensors, with an "images" counter) atomically.

    A temporary directory is filled and synced, then renamed, so a kill at any time keeps the older checkpoints. The
    hash is of the bytes passed to the file, not of those read back from the disk. The newest `keep - 1` older
    checkpoints are kept, and those whose images are in `spare`. Raises OSError where the disk refuses; no file is left
    then. Raises TypeError, before anything is written, for a type that a safe load would refuse.
    """
    _check_plain(state, "state")
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / _name(state["images"])
    if _whole(final):  # the same images mean the same state, and a replacement is not atomic
        return final
    temporary = folder / f".saving-{os.getpid()}"
    for stale in folder.glob(".saving-*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary.mkdir()
    try:
        manifest = {"schema": SCHEMA, "images": state["images"], **_write(state, temporary / "state.pt")}
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        for path in (temporary / "manifest.json", temporary):
            _sync(path)
        if final.exists():
            shutil.rmtree(final)
        os.rename(temporary, final)
        _sync(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    prune(folder, keep, spare)
    return final


def prune(folder: Path, keep: int, spare: Collection[int] = ()) -> None:
    """Remove all but the newest `keep` checkpoints and those of `spare` images."""
    for old in _newest_first(folder)[keep:]:
        if int(old.name) not in spare:
            shutil.rmtree(old, ignore_errors=True)


def drop_after(folder: Path, images: int) -> None:
    """Remove the checkpoints with more images than these."""
    for path in _newest_first(folder):
        if int(path.name) > images:
            shutil.rmtree(path)


def kept(folder: Path) -> list[int]:
    """The numbers of images of all checkpoints, newest first."""
    return [int(path.name) for path in _newest_first(folder)]


def load_of(folder: Path, images: int) -> dict[str, Any]:
    """The state after so many images. Raises DamagedCheckpoints where it does not match its manifest."""
    path = folder / _name(images)
    try:
        return load(path)
    except UnknownSchema:
        raise
    except DAMAGE as error:
        raise DamagedCheckpoints(f"checkpoint {path} is damaged: {error}") from error


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest valid state, or None where there is no checkpoint. A damaged one is skipped, with a warning.

    Raises DamagedCheckpoints where there are checkpoints but no valid one, and UnknownSchema at a newer version's.
    """
    found, damaged, reasons = _newest_first(folder), [], []
    for path in found:
        try:
            state = load(path)
        except UnknownSchema:
            raise
        except DAMAGE as error:
            damaged.append(f"checkpoint {path} is damaged and passed over: {error}")
            reasons.append(str(error))
            continue
        for warning in damaged:
            warnings.warn(warning, stacklevel=2)
        return state
    if found:
        raise DamagedCheckpoints(
            f"every checkpoint in {folder} is damaged; move the folder away to start again ({reasons[0]})"
        )
    return None


def _whole(path: Path) -> bool:
    try:
        manifest = read_object(path / "manifest.json")
        return _fingerprint(path / "state.pt") == {name: manifest[name] for name in ("bytes", "sha256")}
    except (OSError, ValueError, KeyError):
        return False


def load(path: Path) -> dict[str, Any]:
    """One checkpoint's state, brought to this version's schema.

    Raises ValueError where it does not match its manifest, and UnknownSchema where its schema is not known here.
    """
    manifest = read_object(path / "manifest.json")
    schema = manifest["schema"]
    if not isinstance(schema, int):
        raise BadFile(f"{path / 'manifest.json'}: schema is no number")
    if schema != SCHEMA and schema not in MIGRATIONS:
        raise UnknownSchema(
            f"checkpoint {path} has schema {schema}, and this version of gan_lab reads {min(MIGRATIONS)} to {SCHEMA}: "
            "take the version that wrote it, or move it away to go on from an older one"
        )
    # The hash is needed: a flipped bit would load silently.
    if _fingerprint(path / "state.pt") != {name: manifest[name] for name in ("bytes", "sha256")}:
        raise ValueError("state.pt does not match its manifest")
    state = _read_state(path / "state.pt")
    for step in range(schema, SCHEMA):
        MIGRATIONS[step](state)
    return state


def _read_state(path: Path) -> dict[str, Any]:
    """The content of a state.pt, without running code of it. Raises BadFile for anything that `save` does not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise BadFile(f"{path} is compressed, and could be of any size when it is read")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, BadFile):
        raise
    except Exception as error:  # bytes from anywhere can make a reader raise anything
        raise BadFile(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(state, dict):
        raise BadFile(f"{path} holds no state of a run")
    return state


def _from_1(state: dict[str, Any]) -> None:
    """Learning rates that were halved after a divergence are remembered since schema 2."""
    if "game" in state:
        state["game"]["parts"].setdefault("hook/LearningRate", {"halvings": 0})


MIGRATIONS: dict[int, Callable[[dict[str, Any]], None]] = {1: _from_1}  # from this schema to the next, in place


PLAIN = (bool, int, float, str, bytes, type(None), torch.Tensor)


def _check_plain(value: Any, where: str) -> None:
    """Raise TypeError for other types, such as a numpy number: they can be saved, but not loaded again."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_plain(inner, f"{where}[{name!r}]")
    elif type(value) in (list, tuple, set):
        for inner in value:
            _check_plain(inner, where)
    elif type(value) not in (*PLAIN, torch.nn.Parameter, torch.Size, torch.dtype, torch.device):
        raise TypeError(f"{where} holds a {type(value).__name__}; a checkpoint takes plain types and tensors only")


class _Hashing:
    """A binary file that computes the hash and the number of the bytes written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._bytes = file, hashlib.sha256(), 0
        self.error: BaseException | None = None  # what the last write raised

    def write(self, data: Any) -> int:
        try:
            view = memoryview(data).cast("B")
            self._digest.update(view)
            self._bytes += len(view)
            return self._file.write(view)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}


def _write(state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write the state and sync the file. Returns the file's fingerprint. Raises OSError."""
    with path.open("wb") as file:
        hashing = _Hashing(file)
        try:
            torch.save(dict(state), hashing)  # type: ignore[arg-type]
        except RuntimeError:
            # torch replaces an error of our file, such as a full disk or an interrupt, by a RuntimeError.
            if hashing.error is None:
                raise
            if isinstance(hashing.error, OSError):
                hashing.error.filename = str(path)
            raise hashing.error from None
        file.flush()
        os.fsync(file.fileno())
    return hashing.fingerprint


def _name(images: int) -> str:
    return f"{images:012d}"


def _newest_first(folder: Path) -> list[Path]:
    """Those that `save` has named. Others, and links, are not ours: they are neither read nor removed."""
    if leads_away(folder):
        raise BadFile(f"{folder} is a link to another folder, and is not followed")
    ours = (path for path in folder.glob("[0-9]*") if re.fullmatch(r"\d{12}", path.name))
    return sorted((path for path in ours if path.is_dir() and not path.is_symlink()), reverse=True)


def _fingerprint(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.is_symlink():
        raise BadFile(f"{path} is no regular file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
