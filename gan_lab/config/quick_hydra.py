"""Shortcuts in Hydra: what it composes is the same, in less time. Two compositions precede a run, and one each job.

They reach into Hydra 1.3, which pyproject.toml asks for. Where a name is no longer there, nothing is shortened.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any


def quicken() -> None:
    """Take the shortcuts in this process."""
    share_the_store()
    _wrap_once("hydra._internal.defaults_list", "_create_interpolation_map", _map_where_it_is_read)
    sources = "hydra._internal.core_plugins"
    for module, cls in (
        ("importlib_resources_config_source", "ImportlibResourcesConfigSource"),
        ("file_config_source", "FileConfigSource"),
    ):
        _wrap_once(f"{sources}.{module}", f"{cls}.load_config", _shipped_files_once)


def share_the_store() -> None:
    """For each composition, Hydra copies its repository, and with it the store of all our parts.

    What is read from the store is a copy in any case, so the store itself can be one and the same.
    """
    from hydra.core.config_store import ConfigStore

    store: Any = ConfigStore.instance()
    store.__deepcopy__ = functools.partial(_itself, store)  # no lambda or method: launchers pickle the store


def _itself(store: Any, memo: Any) -> Any:
    return store


@contextlib.contextmanager
def known_mode(composed: Any) -> Iterator[None]:
    """A context in which Hydra's main takes the mode of a composed config, if there is one.

    Else it composes the same words once more, to ask for it.
    """
    from hydra._internal import hydra

    main: Any = hydra.Hydra
    before = main.get_mode
    if composed is not None:
        main.get_mode = lambda *arguments, **named: composed.hydra.mode
    try:
        yield
    finally:
        main.get_mode = before


@functools.cache
def _wrap_once(module: str, name: str, wrapper: Callable[[Any], Any]) -> None:
    owner: Any = importlib.import_module(module)
    *classes, last = name.split(".")
    for cls in classes:
        owner = getattr(owner, cls, None)
    if function := getattr(owner, last, None):
        setattr(owner, last, functools.wraps(function)(wrapper(function)))


def _map_where_it_is_read(create: Any) -> Any:
    """Of each node's choices Hydra makes a config, which only defaults with an interpolation read."""

    def quick(overrides: Any, defaults: Any, *rest: Any) -> Any:
        return create(overrides, defaults, *rest) if any(default.is_interpolation() for default in defaults) else None

    return quick


def _shipped_files_once(load: Any) -> Any:
    """For each composition Hydra reads YAML files of its package and of ours, which do not change; a user's may."""
    from gan_lab.config.presets import CONF

    known: dict[tuple[str, str], Any] = {}

    def quick(source: Any, config_path: str) -> Any:
        if source.path not in ("hydra.conf", str(CONF)):
            return load(source, config_path)
        at = source.path, config_path
        if at not in known:
            known[at] = load(source, config_path)
        return copy.deepcopy(known[at])

    return quick
