"""Translations as small as they go, built in this process; and passes that can be looked at."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from gan_lab import registry
from gan_lab.core.types import Phase
from gan_lab.run.assembly import Assembly, assemble
from tests.helpers import compose
from tests.tasks.toys import QUICK, TRANSLATION


@functools.cache
def _base() -> DictConfig:
    return compose(*QUICK, "task=translation", "generator=unet", "evaluation.metrics=[]", "evaluation.every=0")


def changed(config: DictConfig, words: Sequence[str]) -> DictConfig:
    """A config with other parts and values. Hydra would compose it anew, which takes a second."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    for word in words:
        key, _, value = word.partition("=")
        kind = registry.GROUPS.get(key)
        if kind is None or value == "null":
            OmegaConf.update(config, key, yaml.safe_load(value))
            continue
        nodes = {
            name: OmegaConf.structured(registry.schema(kind.classes[name], f"{kind.kind}__{name}", name=name))
            for name in value.strip("[]").split(",")
        }
        OmegaConf.update(config, key.replace("/", "."), nodes if kind.listed else nodes[value], merge=False)
    return config


def build(*words: str) -> Assembly:
    """A translation of toy pictures, changed by these words."""
    return assemble(changed(_base(), [*TRANSLATION, "trainer.images=16", *words]))


def task_of(assembly: Assembly) -> Any:
    """Its task, with all that the contract has beside what core/ asks for."""
    return assembly.game.task


def phase_of(game: Any, name: str) -> Phase:
    (found,) = [phase for phase in game.phases if phase.name == name]
    return found


def passed(game: Any, phase: str, rows: slice | None = None) -> Any:
    """A pass of the game's next step."""
    return game.task.forward_pass(game, phase_of(game, phase), 0, rows or slice(0, game.batch_size))


def recorded(game: Any) -> list[Any]:
    """A list that gets every pass of the game from now on."""
    passes: list[Any] = []
    kind = game.task.forward_pass

    class Recorded(kind):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            passes.append(self)

    game.task.forward_pass = Recorded
    return passes


def weights(nets: nn.Module, names: Sequence[str] = ("",)) -> dict[str, Tensor]:
    """Copies of all weights and buffers whose name begins with one of these."""
    return {name: value.clone() for name, value in nets.state_dict().items() if name.startswith(tuple(names))}
