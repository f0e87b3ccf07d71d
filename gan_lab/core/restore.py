"""Checks a saved state against the parts that it is for, before any of them is changed.

A hash proves that a file is as it was written, not that its content fits, or that a network of finite numbers wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.core.files import BadFile, is_count

# Optimizer states that have the shape of their parameter, by the names that torch's optimizers use.
LIKE_PARAMETER = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg")


def part_of(state: Any, *names: str) -> Any:
    """The value at a path of keys. Raises BadFile, with the path, where there is none."""
    for i, name in enumerate(names):
        if not isinstance(state, Mapping) or name not in state:
            raise BadFile(f"the checkpoint has no {'/'.join(names[: i + 1])}")
        state = state[name]
    return state


def counter(state: Any, *names: str) -> int:
    """A counter at a path of keys. Raises BadFile where there is none."""
    value = part_of(state, *names)
    if not is_count(value):
        raise BadFile(f"the checkpoint's {'/'.join(names)} is no count")
    return int(value)


def check_part(part: Any, saved: Any, where: str) -> None:
    """Raise BadFile unless `saved` fits a part with a `state_dict`: its tensors' shapes and dtypes, finite numbers.

    A network must have the same keys, too; a hook may remember more at one time than at another.
    """
    own = part.state_dict()
    if not isinstance(saved, Mapping):
        raise BadFile(f"the checkpoint's {where} is no state")
    differing = sorted(map(str, own.keys() ^ saved.keys()))
    if differing and isinstance(part, nn.Module):
        which = "lacks" if differing[0] in own else "has, in addition,"
        raise BadFile(f"the checkpoint's {where} {which} {differing[0]}{_more(differing)}: it is of another network")
    for name, value in own.items():
        if isinstance(value, Tensor) and name in saved:  # extra state may be anything
            _check_tensor(saved[name], value, f"{where}/{name}")


def check_optimizer(optimizer: torch.optim.Optimizer, saved: Any, where: str) -> None:
    """Raise BadFile unless `saved` has this optimizer's groups, and states that fit its parameters."""
    own = optimizer.state_dict()["param_groups"]
    groups, states = part_of(saved, "param_groups"), part_of(saved, "state")
    if not (isinstance(groups, list) and all(isinstance(group, Mapping) for group in groups)):
        raise BadFile(f"the checkpoint's {where} has no groups of parameters")
    if [group.get("params") for group in groups] != [group["params"] for group in own]:
        raise BadFile(f"the checkpoint's {where} is for other parameters")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not isinstance(states, Mapping) or not all(isinstance(state, Mapping) for state in states.values()):
        raise BadFile(f"the checkpoint's {where} has no states")
    for index, state in states.items():
        if not (isinstance(index, int) and 0 <= index < len(parameters)):
            raise BadFile(f"the checkpoint's {where} has a state of parameter {index}, which does not exist")
        _check_moments(state, parameters[index], f"{where}/{index}")
    if len({frozenset(state) for state in states.values() if state}) > 1:
        raise BadFile(f"the checkpoint's {where} lacks a part of some parameter's state")


def _check_moments(state: Mapping[Any, Any], parameter: Tensor, where: str) -> None:
    """Raise BadFile unless an optimizer's state of one parameter is a step, numbers, and moments that fit it."""
    for name, value in state.items():
        if name in LIKE_PARAMETER and value is not None:
            _check_tensor(value, parameter, f"{where}/{name}", dtype=False)
        elif isinstance(value, Tensor):
            _check_tensor(value, value, f"{where}/{name}")
        elif value is not None and not isinstance(value, (bool, int, float)):
            raise BadFile(f"the checkpoint's {where}/{name} is no number")
    step = torch.as_tensor(state.get("step", 0))
    if step.dim() or not step >= 0:
        raise BadFile(f"the checkpoint's {where}/step is no count")


def _check_tensor(saved: Any, own: Tensor, where: str, *, dtype: bool = True) -> None:
    if not isinstance(saved, Tensor) or saved.layout != torch.strided or saved.is_quantized:
        raise BadFile(f"the checkpoint's {where} is no plain tensor")
    if saved.shape != own.shape or (dtype and saved.dtype != own.dtype):
        raise BadFile(
            f"the checkpoint's {where} is {_spell(saved)}, and this run's is {_spell(own)}: it is of another network"
        )
    # A number that is not known yet may be NaN, and is so in a new run, too.
    if saved.is_floating_point() and not torch.isfinite(saved).all() and torch.isfinite(own).all():
        raise BadFile(f"the checkpoint's {where} holds numbers that are not finite: it has diverged")


def _spell(tensor: Tensor) -> str:
    return f"{' x '.join(map(str, tensor.shape)) or 'a scalar'} {str(tensor.dtype).removeprefix('torch.')}"


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
