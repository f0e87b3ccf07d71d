"""One atomic directory that holds all state: `<images, 12 digits>/{state.pt, manifest.json}`."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

SCHEMA = 1
DAMAGE = (OSError, ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError)


class DamagedCheckpoints(ValueError):
    """There are checkpoints, and none of them can be read: starting again at zero would hide the loss."""


def save(state: Mapping[str, Any], folder: Path, *, keep: int = 2, spare: Collection[int] = ()) -> Path:
    """Write `state` (plain types and tensors, with an "images" counter) so that it is there whole or not at all.

    A temporary directory is filled and synced, then renamed: a kill at any moment leaves the older checkpoints alone.
    Of the older ones the newest `keep - 1` stay, and those of `spare` images. Raises OSError where the disk refuses;
    nothing is left behind then.
    Raises TypeError for what a safe load would refuse, before anything is written.
    """
    _check_plain(state, "state")
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / _name(state["images"])
    if _whole(final):  # the same images are the same state; replacing it would leave a moment without it
        return final
    temporary = folder / f".saving-{os.getpid()}"
    for stale in folder.glob(".saving-*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary.mkdir()
    try:
        payload = temporary / "state.pt"
        try:
            torch.save(dict(state), payload)
        except RuntimeError as error:  # torch reports a full disk so
            raise OSError(errno.ENOSPC, f"cannot write a checkpoint ({error})", str(payload)) from error
        manifest = {"schema": SCHEMA, "images": state["images"], **_fingerprint(payload)}
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        for path in (payload, temporary / "manifest.json", temporary):
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


def kept(folder: Path) -> list[int]:
    """The numbers of images of the checkpoints that there are, newest first."""
    return [int(path.name) for path in _newest_first(folder)]


def load_of(folder: Path, images: int) -> dict[str, Any]:
    """The state after so many images. Raises DamagedCheckpoints where it does not match its manifest."""
    path = folder / _name(images)
    try:
        return load(path)
    except DAMAGE as error:
        raise DamagedCheckpoints(f"checkpoint {path} is damaged: {error}") from error


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest valid state, or None where none was ever saved. A damaged one is named in a warning and passed over.

    Raises DamagedCheckpoints where there are checkpoints but no valid one.
    """
    found, damaged = _newest_first(folder), []
    for path in found:
        try:
            state = load(path)
        except DAMAGE as error:
            damaged.append(f"checkpoint {path} is damaged and passed over: {error}")
            continue
        for warning in damaged:
            warnings.warn(warning, stacklevel=2)
        return state
    if found:
        raise DamagedCheckpoints(f"every checkpoint in {folder} is damaged; move the folder away to start again")
    return None


def _whole(path: Path) -> bool:
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        return _fingerprint(path / "state.pt") == {name: manifest[name] for name in ("bytes", "sha256")}
    except (OSError, ValueError, KeyError):
        return False


def load(path: Path) -> dict[str, Any]:
    """One checkpoint's state. Raises ValueError where it does not match its manifest."""
    manifest = json.loads((path / "manifest.json").read_text())
    if manifest["schema"] != SCHEMA:
        raise ValueError(f"it has schema {manifest['schema']}; this version reads {SCHEMA}")
    # The hash is needed: a flipped bit would load silently.
    if _fingerprint(path / "state.pt") != {name: manifest[name] for name in ("bytes", "sha256")}:
        raise ValueError("state.pt does not match its manifest")
    state: dict[str, Any] = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    return state


PLAIN = (bool, int, float, str, bytes, type(None), torch.Tensor)


def _check_plain(value: Any, where: str) -> None:
    """A part with, say, a numpy number in its state would save well and never load again."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_plain(inner, f"{where}[{name!r}]")
    elif type(value) in (list, tuple, set):
        for inner in value:
            _check_plain(inner, where)
    elif type(value) not in (*PLAIN, torch.nn.Parameter, torch.Size, torch.dtype, torch.device):
        raise TypeError(f"{where} holds a {type(value).__name__}; a checkpoint takes plain types and tensors only")


def _name(images: int) -> str:
    return f"{images:012d}"


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("[0-9]*") if path.is_dir()), reverse=True)


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
