"""Presets: YAML files that extend registered choices. They must be plain data; a file that runs code is refused."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gan_lab import registry
from gan_lab.registry import GROUPS, KINDS

PACKAGE = Path(__file__).parent.parent
# In a checkout the folders are beside the package; in a wheel they are inside it.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
EXPERIMENTS = next(path for path in (PACKAGE / "experiments", PACKAGE.parent / "experiments") if path.is_dir())

RECIPES = ("experiment", "search")  # groups of the whole config: what to train, and which values to try


@functools.cache
def shipped_experiments() -> dict[str, Any]:
    """The experiments' files by name, each checked to be plain data."""
    from omegaconf import OmegaConf

    paths = sorted(EXPERIMENTS.glob("*.yaml"))
    for path in paths:
        check_data(path)
    return {path.stem: OmegaConf.load(path) for path in paths}


def sets_hydra_options(experiment: str) -> bool:
    """Whether an experiment sets options of Hydra, and so may be a sweep. True for one that is not ours."""
    known = shipped_experiments() | {"none": {}}
    return "hydra" in known.get(experiment, {"hydra": None})


def options(group: str, folders: Iterable[Path] = ()) -> list[str]:
    """Every name that a group takes: registered parts, experiments, and the presets of these folders and ours."""
    if group not in RECIPES:  # recipes are files, so listing them does not import torch
        registry.load()
    names = set(GROUPS[group].classes) if group in GROUPS else set(KINDS[group].classes) if group in KINDS else {"none"}
    if group == "experiment":
        names |= {path.stem for path in EXPERIMENTS.glob("*.yaml")}
    for folder in (CONF, *folders):
        names |= {path.stem for path in (folder / group).glob("*.yaml")}
    return sorted(names)


def groups() -> list[str]:
    return [*RECIPES, *GROUPS]


# -- YAML is data ------------------------------------------------------------------------------------------------------

HYDRA_KEYS = ("mode", "sweeper", "launcher")  # options of Hydra that an experiment may set


MOST_FILES = 10_000  # in a folder of presets; it is not a home folder or a disk


def preset_files(folder: Path) -> Iterator[Path]:
    """The YAML files of a user's folder. Raises ValueError for links in it: what they lead to may change unseen."""
    seen = 0
    for place, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        if seen > MOST_FILES:
            raise ValueError(f"--config-dir {folder} holds more than {MOST_FILES:,} files; give a folder of presets")
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                raise ValueError(f"{path} is a link; presets are files, so copy what it leads to")
            if path.suffix in (".yaml", ".yml"):
                yield path


def check_data(path: Path) -> None:
    """Raise ValueError where a YAML could make Hydra import or call something, or cannot be read."""
    from gan_lab.config.reading import read_yaml
    from gan_lab.core.files import read_text

    content, text = read_yaml(path), read_text(path)
    refuse_targets(content, str(path))
    if "_target_" in text:  # for example inside a string that a resolver decodes
        refuse_targets({"_target_": None}, str(path))
    if re.search(r"^#\s*@package\s+hydra", text, flags=re.M):
        raise ValueError(f"{path}: a preset cannot be of the package hydra, which holds callbacks and folders")
    if isinstance(content, dict):
        keys = content.get("hydra", {})
        if not (isinstance(keys, dict) and set(keys) <= set(HYDRA_KEYS)):
            raise ValueError(f"{path}: under hydra, a file may set {', '.join(HYDRA_KEYS)} only")
        for default in _defaults(content, path):
            group = default.removeprefix("override").strip().lstrip("/")
            if group.startswith("hydra") and group.split("/")[-1] not in HYDRA_KEYS:
                raise ValueError(f"{path}: the defaults may choose hydra's sweeper and launcher only, not {group}")


def check_search(path: Path) -> None:
    """Raise ValueError where a search sets more than the sweep's values, sweeper and launcher.

    With more, its jobs would differ from those of the same words on the command line, but share their folders.
    """
    from gan_lab.config.reading import read_yaml
    from gan_lab.core.files import read_text

    content, text = read_yaml(path) or {}, read_text(path)
    if not re.search(r"^#\s*@package\s+_global_\s*$", text, flags=re.M):
        raise ValueError(f"{path}: a search begins with the line: # @package _global_")
    if not (isinstance(content, dict) and set(content) <= {"hydra", "defaults"}):
        raise ValueError(f"{path}: a search sets hydra's {', '.join(HYDRA_KEYS)}; the rest belongs to an experiment")
    for default in _defaults(content, path):
        if default.removeprefix("override").strip().lstrip("/") in (*GROUPS, "experiment"):
            raise ValueError(f"{path}: a search chooses no parts ({default}); they belong to an experiment")


def _defaults(content: dict[str, Any], path: Path) -> Iterator[str]:
    defaults = content.get("defaults") or ()
    if not isinstance(defaults, (list, tuple)):
        raise ValueError(f"{path}: defaults={defaults} is no list, as in: defaults: [override /loss: hinge]")
    for default in defaults:
        yield from map(str, default if isinstance(default, dict) else [default])


def refuse_targets(content: Any, where: str) -> None:
    """Raise ValueError for `_target_` anywhere: parts are chosen by their registered names."""
    if isinstance(content, dict):
        if "_target_" in content:
            raise ValueError(f"{where} holds _target_; parts are chosen by name (gan-lab list), no config imports code")
        for name, value in content.items():
            refuse_targets(value, f"{where}: {name}" if ": " not in where else f"{where}.{name}")
    elif isinstance(content, list):
        for value in content:
            refuse_targets(value, where)
