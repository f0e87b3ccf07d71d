"""What is kept of a trained run: in its checkpoints, or in one file of safetensors, which needs no trainer.

Such a file holds the weights, and in its header, under `gan_lab`, JSON: config, facts about the data, summary. Others
can read it with safetensors alone: `safetensors.torch.load_file`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gan_lab import __version__
from gan_lab.config.reading import check_config, read_config
from gan_lab.config.redaction import redacted
from gan_lab.core import checkpoint
from gan_lab.core.files import BadFile, content_of, is_count, oddity, parse_json
from gan_lab.core.restore import counter, part_of
from gan_lab.tracking.run_directory import RunDirectory

SUFFIX, MODEL = ".safetensors", "model.safetensors"  # of a file, and its name in a folder that is shared
HEADER, FORMAT = "gan_lab", 1
NETS = "nets."  # before the names of the networks' tensors; those of the task's other modules begin with MEMORY
MEMORY = "memory."


@dataclass(frozen=True)
class Saved:
    """A trained run as plain values. `inner` are the runs that its task is built from, by their path in the config."""

    config: DictConfig
    about: dict[str, Any]
    images: int
    nets: Mapping[str, Any] | None = None  # None for an inner run, whose weights are among the outer one's
    averaged: Mapping[str, Any] | None = None  # of the networks that have an average, where it is kept apart
    averaged_by: str | None = None  # how the average was made, where `nets` has it already
    memory: Mapping[str, Any] = field(default_factory=dict)  # of the task's other modules
    summary: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, Saved] | None = None  # None: they lie where their paths say


class NoRun(ValueError, FileNotFoundError):
    """There is no run."""


def exported_file(path: Path) -> Path | None:
    """The exported file that a path names: itself, or that of a shared folder. None where there is none."""
    if path.suffix == SUFFIX and path.is_file():
        return path
    return path / MODEL if (path / MODEL).is_file() and not (path / "config.yaml").is_file() else None


def is_run(path: Path) -> bool:
    """Whether a path is a run directory, or an exported run."""
    return (path / "config.yaml").is_file() or exported_file(path) is not None


def check_run(path: Path) -> None:
    """Raise NoRun where a path is no run directory, and no exported run either."""
    if is_run(path):
        return
    inside = sorted(file.parent.name for file in path.glob("*/config.yaml")) if path.is_dir() else []
    hint = f"; it holds runs: {', '.join(inside[:4])}{', ...' if len(inside) > 4 else ''}" if inside else ""
    raise NoRun(f"{path} is no run directory{hint or ' (there is no config.yaml)'}")


def read(path: Path, which: str) -> Saved:
    """What is kept of a run. Raises ValueError where there is none, or no such checkpoint."""
    check_run(path)
    file = exported_file(path)
    if file is None:
        return _of_run(path, which)
    if which != "newest":
        raise ValueError(f"--checkpoint {which}: {file} is an exported run, which has one state; leave it out")
    return _of_file(file)


# -- a run directory ---------------------------------------------------------------------------------------------------


def _of_run(path: Path, which: str) -> Saved:
    state = _state(path, which)
    config = read_config(path / "config.yaml")
    about = _about(part_of(state, "about"), path)
    parts = part_of(state, "game", "parts")
    memory = {name.removeprefix("task/"): part for name, part in parts.items() if name.startswith("task/")}
    nets = part_of(parts, "task/nets")
    del memory["nets"]
    summary = RunDirectory(path).summary
    return Saved(config, about, counter(state, "game", "images"), nets, parts.get("hook/EMA"), None, memory, summary)


def _about(about: Any, path: Path) -> dict[str, Any]:
    """What a run knows of its data. Raises BadFile where it is not what a run has written."""
    classes, shape = part_of(about, "num_classes"), part_of(about, "sample_shape")
    shaped = isinstance(shape, list) and 1 <= len(shape) <= 3 and all(map(is_count, shape))
    if not (shaped and (classes is None or is_count(classes)) and isinstance(part_of(about, "plugins"), list)):
        raise BadFile(f"the checkpoint of {path} does not say what it was trained on")
    return dict(about)


def _state(path: Path, which: str) -> dict[str, Any]:
    folder = path / "checkpoints"
    if which == "newest":
        state = checkpoint.load_newest(folder)
        if state is None:
            raise ValueError(f"{path} has no checkpoint yet; train it further: gan-lab train ... run_dir={path}")
        return state
    directory = RunDirectory(path)
    if which == "best" and directory.damage:
        raise ValueError(directory.damage)
    best: Mapping[str, Any] = directory.summary.get("best") or {}
    images = best.get("images") if which == "best" else int(which) if which.isdecimal() else None
    kept = checkpoint.kept(folder)
    if images not in kept:
        available = ", ".join(map(str, kept)) or "none"
        also = "" if best else "; it was not scored while it trained (evaluation.every), so none is best"
        raise ValueError(f"--checkpoint {which}: {path} has newest{', best' if best else ''}, {available}{also}")
    return checkpoint.load_of(folder, images)


# -- an exported file --------------------------------------------------------------------------------------------------


def described(saved: Saved) -> dict[str, Any]:
    """All but the weights, as plain types, without secrets and without where and by whom it was trained."""
    config: Any = OmegaConf.to_container(saved.config, enum_to_str=True)
    config |= {"run_dir": None, "sweep_dir": None, "sweep_name": None, "init_from": None}
    config["tracking"] = {"wandb": {"mode": "disabled"}}
    summary = {name: value for name, value in saved.summary.items() if name != "wandb"}
    inner = {path: described(run) for path, run in (saved.inner or {}).items()}
    plain = {
        "format": FORMAT, "gan_lab": __version__, "images": saved.images, "averaged_by": saved.averaged_by,
        "config": config, "about": saved.about, "summary": summary, "inner": inner,
    }  # fmt: skip
    without_secrets: dict[str, Any] = redacted(plain)
    return without_secrets


def write_file(file: Path, saved: Saved, change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> None:
    """Write an exported run atomically. `change` may change what the header says.

    Raises ValueError for a state that is no tensor.
    """
    from safetensors.torch import save

    assert saved.nets is not None
    tensors = {f"{NETS}{name}": value for name, value in saved.nets.items()}
    tensors |= {f"{MEMORY}{part}.{name}": value for part, of in saved.memory.items() for name, value in of.items()}
    if odd := [name for name, value in tensors.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"--format safetensors: {odd[0]} is no tensor, and these files hold nothing else")
    # A copy of each: tensors that share memory, as tied weights do, are refused by safetensors.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    temporary = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        temporary.write_bytes(save(tensors, {HEADER: json.dumps(change(described(saved)), allow_nan=False)}))
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _of_file(file: Path) -> Saved:
    """An exported run. Raises BadFile for anything else."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    if wrong := oddity(file):
        raise BadFile(wrong)
    try:
        with safe_open(file, "pt") as opened:
            header = (opened.metadata() or {}).get(HEADER)
        tensors = load_file(file)
    except SafetensorError as error:
        raise BadFile(f"{file} is no safetensors: {error}") from error
    if header is None:
        raise BadFile(f"{file} holds tensors, and no run of gan_lab; write one by: gan-lab export RUN --out FILE")
    content = parse_json(header, file)
    if part_of(content, "format") != FORMAT:
        raise BadFile(f"{file} has format {content['format']}, and this version of gan_lab reads {FORMAT}")
    memory: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(MEMORY):
            part, _, rest = name.removeprefix(MEMORY).partition(".")
            memory.setdefault(part, {})[rest] = value
    nets = {name.removeprefix(NETS): value for name, value in tensors.items() if name.startswith(NETS)}
    with content_of(file):
        return _saved(content, file, nets, memory)


def _saved(content: Any, file: Path, nets: Mapping[str, Any] | None, memory: Mapping[str, Any]) -> Saved:
    config, inner, summary = (part_of(content, name) for name in ("config", "inner", "summary"))
    if "${" in json.dumps(config):
        raise BadFile(f"{file}: its config refers to other values; that of a run has the values themselves")
    made = OmegaConf.create(config)
    return Saved(
        check_config(made, file), _about(part_of(content, "about"), file), counter(content, "images"), nets,
        averaged_by=content.get("averaged_by"), memory=memory, summary=dict(summary),
        inner={path: _saved(of, file, None, {}) for path, of in inner.items()},
    )  # fmt: skip
