"""One decorator turns a class into a typed Hydra choice: its signature is the schema. Imports neither torch nor Hydra.

    @generators.register("mine")
    class Mine(nn.Module):
        def __init__(self, sample_shape, *, latent_dim: Positive = 64): ...

makes `generator=mine generator.latent_dim=32` work. A parameter with a default is configuration; one without is
supplied at run time by its name.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from gan_lab.signatures import (
    Bounds,
    Depth,
    NonNegative,
    Positive,
    Rate,
    Share,
    Weight,
    checked_arguments,
    nearest,
    nodes,
    parameters,
    read,
    schema,
    supplied,
    unknown,
    unknown_key,
)

# The names that an author of a part imports from this module.
__all__ = (
    "Bounds", "Depth", "NonNegative", "Positive", "Rate", "Registry", "Share", "Weight", "nearest", "parameters",
    "read", "schema", "supplied", "unknown", "unknown_key",
)  # fmt: skip
T = TypeVar("T")

# -- registries --------------------------------------------------------------------------------------------------------


class Registry:
    """The parts of one kind, by name."""

    def __init__(
        self, kind: str, *groups: str, package: str | None = None, listed: bool = False, optional: bool = False
    ) -> None:
        self.kind, self.groups, self.package = kind, groups, package
        self.listed = listed  # chosen as a list: `regularizer=[r1,lecam]`
        self.optional = optional  # null unless the task uses it; a null group is not in the config's hash
        self.classes: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or a function that returns the part. Raises ValueError where the name is taken."""

        def decorate(cls: T) -> T:
            known = self.classes.get(name, cls)
            if known is not cls:
                raise ValueError(f"{self.kind}/{name} is registered twice: by {_origin(known)} and by {_origin(cls)}")
            assert callable(cls)
            schema(cls, f"{self.kind}__{name}", name=name)
            self.classes[name] = cls
            return cls

        return decorate

    def arguments(self, config: Any, group: str | None = None) -> tuple[Callable[..., Any], dict[str, Any]]:
        """The class that a config names, and its checked arguments. Raises ValueError with the choices."""
        load()
        group = group or self.groups[0]
        name = config.get("name") if hasattr(config, "get") else config
        if name not in self.classes:
            raise unknown(group, name, self.classes)
        cls = self.classes[name]
        return cls, checked_arguments(cls, nodes[f"{self.kind}__{name}"], config, group.replace("/", "."))

    def build(self, config: Any, group: str | None = None, **values: Any) -> Any:
        """Build the part that a config names. Each parameter without a default gets the value of its name.

        Raises ValueError where `values` has no value for such a parameter.
        """
        cls, arguments = self.arguments(config, group)
        wanted = supplied(cls)
        if missing := [name for name in wanted if name not in values]:
            shape = values.get("sample_shape")
            able = sorted(name for name, other in self.classes.items() if set(supplied(other)) <= values.keys())
            raise ValueError(
                f"{group or self.groups[0]}={config.name} needs {' and '.join(missing)}, which "
                + (f"samples of shape {tuple(shape)} do not have" if shape else "this run does not have")
                + f"; choose other data, or another part: {', '.join(able) or 'none fits'}"
            )
        return cls(**{name: values[name] for name in wanted}, **arguments)


def _origin(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


generators = Registry("generators", "generator")
discriminators = Registry("discriminators", "discriminator")
encoders = Registry("encoders", "encoder", optional=True)
bottlenecks = Registry("bottlenecks", "bottleneck", optional=True)
losses = Registry("losses", "loss")
regularizers = Registry("regularizers", "regularizer", package="regularizer.{name}", listed=True)
augmentations = Registry("augmentations", "augment")
datasets = Registry("datasets", "dataset")
tasks = Registry("tasks", "task")
degradations = Registry("degradations", "degradation", optional=True)
classifiers = Registry("classifiers", "classifier", optional=True)
optimizers = Registry("optimizers", "optimizer/generator", "optimizer/discriminator")
schedules = Registry("schedules", "schedule/learning_rate", "schedule/beta2", "schedule/regularizer")
feature_extractors = Registry("feature_extractors", "feature_extractor")
metrics = Registry("metrics")  # named in `evaluation.metrics`; they have no settings, and so no group
KINDS: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        generators, discriminators, encoders, bottlenecks, losses, regularizers, augmentations, datasets, degradations,
        classifiers, tasks, optimizers, schedules, feature_extractors, metrics,
    )
}  # fmt: skip
GROUPS: dict[str, Registry] = {group: registry for registry in KINDS.values() for group in registry.groups}


def node(config: Any, group: str) -> Any:
    """A group's node in a config: `optimizer/generator` is at `optimizer.generator`. None where there is no node."""
    for name in group.split("/"):
        config = config[name] if config is not None and name in config else None
    return config


def optional_groups() -> set[str]:
    """Groups that may be null. With a task that does not use them, they are in no config and no hash."""
    return {group for registry in KINDS.values() if registry.optional for group in registry.groups} | {*player_groups()}


def player_groups() -> list[str]:
    """Optimizer groups of the players of registered tasks other than generator and discriminator.

    Where a config chooses no optimizer for such a player, it gets the generator's.
    """
    return list(optimizers.groups[2:])


def publish() -> None:
    """Store every registered part in Hydra's ConfigStore."""
    load()
    for group, registry in GROUPS.items():
        for name, cls in registry.classes.items():
            package = registry.package.format(name=name) if registry.package else None
            publish_node(group, name, nodes[f"{registry.kind}__{name}"], package=package, provider=_origin(cls))


_published: dict[tuple[int, str | None, str], Any] = {}  # node by store, group and name


def publish_node(group: str | None, name: str, node: Any, *, provider: str, package: str | None = None) -> None:
    """Store one node in Hydra's ConfigStore, unless it is there already: storing all of them takes 0.2 s."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    at = id(store), group, name
    if _published.get(at) is not node:
        _published[at] = node
        store.store(group=group, name=name, node=node, package=package, provider=provider)


# -- modules that register parts ---------------------------------------------------------------------------------------

HOMES = (
    "generators", "discriminators", "encoders", "bottlenecks", "datasets", "degradations", "classifiers", "tasks",
    "losses", "regularizers", "augment", "optimizers", "schedules", "feature_extractors", "metrics", "config.sections",
)  # fmt: skip
_loaded = False


def load() -> None:
    """Import all modules that register parts: ours, entry points in the group `gan_lab`, and GAN_LAB_PLUGINS.

    Raises ValueError for a plug-in that cannot be imported.
    """
    global _loaded
    if _loaded:
        return
    _loaded = True
    for home in HOMES:
        module = importlib.import_module(f"gan_lab.{home}")
        for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
            importlib.import_module(f"gan_lab.{home}.{inner.name}")
    for entry in importlib.metadata.entry_points(group="gan_lab"):
        _plug_in(entry.name, entry.load)
    with _current_folder_importable():
        for name in plugins():
            _plug_in(name, functools.partial(importlib.import_module, name))
    for task in tasks.classes.values():
        for player in getattr(task, "players", ()):
            if (group := f"optimizer/{player}") not in GROUPS:
                optimizers.groups, GROUPS[group] = (*optimizers.groups, group), optimizers


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    """While plug-ins are imported, and no longer: else a file there could stand in for a module that somebody lacks."""
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)


def plugins() -> list[str]:
    """The modules that GAN_LAB_PLUGINS names."""
    return os.environ.get("GAN_LAB_PLUGINS", "").replace(",", " ").split()


def _plug_in(name: str, load: Callable[[], Any]) -> None:
    try:
        load()
    except (Exception, SystemExit) as error:
        global _loaded
        _loaded = False
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
        at = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames and frames[-1].filename != __file__ else ""
        raise ValueError(f"plug-in {name} cannot be imported: {type(error).__name__}: {error}{at}") from error


def __getattr__(title: str) -> type:
    """A node by its class name: pickle looks nodes up here when a worker process loads one."""
    if "__" in title.strip("_"):
        load()
        if title in nodes:
            return nodes[title]
    raise AttributeError(f"module {__name__} has no attribute {title}")
