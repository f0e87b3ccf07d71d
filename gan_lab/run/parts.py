"""Builds the parts that a config chooses for a task. Parameters without a default get facts about the data, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from gan_lab import registry
from gan_lab.core.forward_pass import key
from gan_lab.datasets.columns import Column
from gan_lab.tasks.contract import picture_values


def supplied_values(sample_shape: tuple[int, ...], num_classes: int | None) -> dict[str, Any]:
    """Facts about the data by the names of parts' parameters: shape, classes and, for pictures, size and channels."""
    values: dict[str, Any] = {"sample_shape": sample_shape, "num_classes": num_classes}
    if len(sample_shape) == 3:
        values |= picture_values(sample_shape)
    return values


class ChosenParts:
    """`parts.generator()`, `parts.degradation()`, ...: see `tasks.contract.Parts`."""

    def __init__(
        self,
        config: DictConfig,
        columns: Mapping[str, Column],
        values: Mapping[str, Any],
        trained: Callable[[str], Any] | None = None,
    ) -> None:
        self.config, self.columns, self.values, self._trained = config, columns, values, trained
        self.made: set[str] = set()  # groups that the task has used

    def __contains__(self, group: str) -> bool:
        self.made.add(group)
        return registry.node(self.config, group) is not None

    def __getattr__(self, group: str) -> Callable[..., Any]:
        if group.startswith("_") or group not in registry.GROUPS:
            raise AttributeError(f"there is no group {group}; there are {', '.join(registry.GROUPS)}")
        return functools.partial(self.make, group)

    def make(self, group: str, *, takes: Collection[str] = (), **values: Any) -> Any:
        """Build the part of a group. See `tasks.contract.Parts`."""
        kind, node = registry.GROUPS[group], registry.node(self.config, group)
        self.made.add(group)
        task = self.config.task.name
        if node is None:
            raise ValueError(f"task={task} needs {group}=...; choose from: {', '.join(sorted(kind.classes))}")
        cls, _ = kind.arguments(node, group)
        if not set(takes) <= set(registry.supplied(cls)):
            able = [name for name, other in kind.classes.items() if set(takes) <= set(registry.supplied(other))]
            raise ValueError(
                f"{group}={node.name} does not take {' and '.join(takes)}, which task={task} gives it; "
                f"choose from: {', '.join(sorted(able))}"
            )
        return kind.build(node, group, **{**self.values, **values})

    def trained(self, path: str) -> Any:
        """A trained run's task. See `tasks.contract.Parts`."""
        from gan_lab.run.trained_run import TrainedRun  # which imports this module

        with torch.random.fork_rng(devices=[]):  # its networks are initialized first, from a seed of their own
            return self._trained(path) if self._trained else TrainedRun(Path(path), "cpu").task

    def check_all_used(self) -> None:
        """Raise ValueError where the config chooses an optional part that the task did not use."""
        for group in registry.optional_groups():
            is_optimizer = group.startswith("optimizer/")  # checked by build_optimizers
            if registry.node(self.config, group) is not None and group not in self.made and not is_optimizer:
                raise ValueError(
                    f"{group}={registry.node(self.config, group).name}: task={self.config.task.name} has no use for "
                    "it; leave it out, or choose another task"
                )


def build_task(
    config: DictConfig,
    columns: Mapping[str, Column],
    values: Mapping[str, Any],
    seed: int,
    trained: Callable[[str], Any] | None = None,
) -> Any:
    """The task with its networks, initialized on the CPU from the seed. Needs facts about the data, but no data.

    `trained` returns the task of another run by its path, where it is not read from its directory.
    """
    parts = ChosenParts(config, columns, values, trained)
    torch.manual_seed(key(seed, "initialization"))
    task = registry.tasks.build(config.task, parts=parts, **values)
    parts.check_all_used()
    return task
