"""What is exported of a task that does not say so itself: see `Task.exported`."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.core.types import Data
from gan_lab.registry import unknown
from gan_lab.tasks.contract import CHUNK, Exported, Task, chosen_rows


def as_it_is_used(task: Task, nets: nn.ModuleDict, data: Data | None, direction: str | None) -> Exported:
    """A detector's scores, a translator's outputs, or the one network that makes the examples.

    Raises ValueError for a direction that there is not, and for several networks.
    """
    if direction is not None and direction not in task.directions:
        raise unknown("--direction", direction, task.directions or {"none: it goes one way": ""})
    if task.directions:
        return _translation(task, nets, data, direction or next(iter(task.directions)))
    if task.translates or task.detects:
        example = next(task.examples(nets, CHUNK, 0, data))
        if task.translates:
            return Exported(functools.partial(task.translate, nets), {"source": example["source"]})
        return Exported(functools.partial(_detection, task, nets), {"picture": example["sample"]}, ("score", "map"))
    if len(task.averaged) != 1:
        raise ValueError(
            f"{type(task).__name__} makes its examples by several networks, and has no method `exported` that says how "
            "they follow each other"
        )
    return _one_network(task, nets, nets[task.averaged[0]], data)


def _translation(task: Task, nets: nn.ModuleDict, data: Any, direction: str) -> Exported:
    column, _ = task.directions[direction]
    rows = next(chosen_rows(data.lengths[data.domain_of(column)], CHUNK, 0))
    function = functools.partial(task.translate, nets, direction=direction)  # type: ignore[call-arg]
    return Exported(function, {"source": data.fetch(column, rows, "cpu")})


def _detection(task: Task, nets: nn.ModuleDict, picture: Tensor) -> tuple[Tensor, Tensor]:
    found = task.detect(nets, picture)
    return found["score"], found["map"]


def _one_network(task: Task, nets: nn.ModuleDict, net: nn.Module, data: Data | None) -> Exported:
    """A network, with the largest inputs that it gets while examples are made."""
    calls: list[tuple[tuple[Any, ...], Any]] = []
    hook = net.register_forward_hook(lambda module, given, output: calls.append((given, output)))
    try:
        example = next(task.examples(nets, CHUNK, 0, data))
    finally:
        hook.remove()
    given, output = max(calls, key=lambda call: call[0][0].numel())
    named = zip(inspect.signature(net.forward).parameters, given, strict=False)
    inputs = {name: value for name, value in named if isinstance(value, Tensor)}
    if "label" not in example:  # the network is told the class, and does not use it
        inputs.pop("label", None)
    several = isinstance(output, tuple)  # of which the first is what the network makes
    made = output[0] if several else output
    is_sample = made.shape == example["sample"].shape and torch.equal(made.cpu(), example["sample"])
    function = _First(net) if several else net
    return Exported(function, inputs, ("sample" if is_sample else "output",))


class _First(nn.Module):
    """The first of the tensors that a network returns."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Any:
        return self.net(*inputs)[0]
