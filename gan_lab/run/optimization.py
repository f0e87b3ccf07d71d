"""The players' optimizers, their schedules, and Adam's correction for lazy phases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig

from gan_lab import registry
from gan_lab.core.hooks import Beta2, Hook, LearningRate, Strength
from gan_lab.core.types import Phase, Task
from gan_lab.schedules import Constant

ALWAYS = ("generator", "discriminator")  # groups that every config has


def build_optimizers(config: DictConfig, task: Task) -> dict[str, torch.optim.Optimizer]:
    """Each player's optimizer: from its own group where the config chooses one, else from the generator's group.

    Raises ValueError where the config chooses an optimizer for a player that the task does not have.
    """
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if strange := [player for player in config.optimizer if player not in (*task.players, *ALWAYS)]:
        raise ValueError(f"optimizer/{strange[0]}: the task has no such player; it has {', '.join(task.players)}")
    for player, names in task.players.items():
        group = f"optimizer/{player if config.optimizer.get(player) is not None else 'generator'}"
        parameters = [parameter for name in names for parameter in task.nets[name].parameters()]
        optimizers[player] = registry.optimizers.build(registry.node(config, group), group, parameters=parameters)
    return optimizers


def build_schedules(config: DictConfig, total_images: int) -> dict[str, Any]:
    """The schedules by the name of what they change: `learning_rate`, `beta2`, `regularizer`."""
    return {
        group.split("/")[1]: registry.schedules.build(registry.node(config, group), group, total_images=total_images)
        for group in registry.schedules.groups
    }


def scheduled(
    schedules: Mapping[str, Any],
    optimizers: Mapping[str, torch.optim.Optimizer],
    regularizers: Mapping[str, Any],
    phases: Sequence[Phase],
) -> list[Hook]:
    """A hook for each schedule that is not constant, and always one for learning rates, which a divergence halves."""
    hooks: list[Hook] = [LearningRate(optimizers, schedules["learning_rate"])]
    moving = {name: schedule for name, schedule in schedules.items() if not isinstance(schedule, Constant)}
    if schedule := moving.get("beta2"):
        hooks.append(Beta2(optimizers, schedule))
    if schedule := moving.get("regularizer"):
        chosen = [part for r in regularizers.values() for part in (r.parts.values() if hasattr(r, "parts") else [r])]
        # A task may use copies of a regularizer, one for each network: terms of its phases with a `player`.
        played = [term for phase in phases for term in phase.terms.values() if hasattr(term, "player")]
        terms = {id(term): term for term in (*chosen, *played) if hasattr(term, "weight")}
        hooks.append(Strength(list(terms.values()), schedule))
    return hooks


def correct_for_lazy_phases(optimizers: Mapping[str, torch.optim.Optimizer], phases: Sequence[Phase]) -> None:
    """Correct Adam's learning rates and betas as if lazy regularizers were part of the main phase's steps.

    With c = main steps / all steps of a player, its learning rate is multiplied by c and its betas are raised to the
    power c (Karras et al. 2020, arXiv 1912.04958, appendix B). Raises ValueError for an optimizer without betas.
    """
    for player, optimizer in optimizers.items():
        own = [phase for phase in phases if phase.player == player]
        lazy = [phase for phase in own if phase.every > 1]
        # Only stages with lazy phases count. In other stages, the same optimizer is used with the corrected settings.
        beside = [phase for phase in own if any(_overlap(phase, other) for other in lazy)] or own
        steps = [(phase.repeat / phase.every, phase.every) for phase in beside]
        share = sum(rate for rate, every in steps if every == 1) / sum(rate for rate, _ in steps)
        if share == 1:
            continue
        for group in optimizer.param_groups:
            if "betas" not in group:
                raise ValueError(
                    f"trainer.lazy_correction=true: the {player}'s optimizer {type(optimizer).__name__} has no betas "
                    "to correct; take adam or adamw, or set trainer.lazy_correction=false"
                )
            group["lr"] *= share
            group["betas"] = tuple(beta**share for beta in group["betas"])


def _overlap(phase: Phase, other: Phase) -> bool:
    """Whether both phases are active at the same time."""
    ends = [p.stop if p.stop is not None else math.inf for p in (phase, other)]
    return max(phase.start, other.start) < min(ends)
