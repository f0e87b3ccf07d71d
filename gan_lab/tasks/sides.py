"""A game with several discriminators, each of which losses and regularizers see as if it were the only one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Literal

from torch import Tensor, nn

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.tasks.judged import JudgedPass


class Side(JudgedPass):
    """The part of a pass in which one discriminator judges: the net `discriminator_<name>`, called `discriminator`.

    A task subclasses it with `real` and `fake`. What it draws is its own, whatever the stream's name.
    """

    def __init__(self, whole: ForwardPass, name: str) -> None:
        super().__init__(whole.game, whole.phase, whole.turn, whole.rows, whole.kept)
        self.whole: Any = whole
        self.name = name

    def net(self, name: str) -> Any:
        return super().net(f"discriminator_{self.name}" if name == "discriminator" else name)

    def draw(self, stream: str, *shape: int, kind: Literal["normal", "uniform"] = "normal") -> Tensor:
        return super().draw(f"{self.name}/{stream}", *shape, kind=kind)


class Sided(nn.Module):
    """A term or regularizer of one side: it sees `forward.sides[side]` in place of the pass.

    A module, so that the state of a stateful one, such as the anchors of lecam, is in the checkpoint.
    """

    def __init__(self, term: Any, side: str) -> None:
        super().__init__()
        self.term, self.side = term, side
        self.weight, self.probes = term.weight, term.probes
        if hasattr(term, "player"):
            self.player, self.every = term.player, term.every
        if hasattr(term, "after_step"):
            self.after_step = self._after_step

    def forward(self, forward: Any) -> Tensor:
        value: Tensor = self.term(forward.sides[self.side])
        return value

    def _after_step(self, forward: Any) -> None:
        self.term.after_step(forward.sides[self.side])


def for_each_side(regularizers: Mapping[str, Any], sides: tuple[str, ...]) -> dict[str, Any]:
    """A copy of each regularizer for each side, called `<regularizer>_<side>`, with its own state.

    Those of a player's weights (`of_weights`) are about no side, and stay as they are.
    """
    found = {}
    for name, regularizer in regularizers.items():
        if getattr(regularizer, "of_weights", False):
            found[name] = regularizer
        else:
            found |= {f"{name}_{side}": _sided(copy.deepcopy(regularizer), side) for side in sides}
    return found


def _sided(regularizer: Any, side: str) -> Any:
    if hasattr(regularizer, "parts"):
        return SimpleNamespace(parts={name: _sided(part, side) for name, part in regularizer.parts.items()})
    return Sided(regularizer, side)
