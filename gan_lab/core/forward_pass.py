"""One micro-batch of one phase: every tensor is computed once, at its first use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gan_lab.core.loop import Game
    from gan_lab.core.types import Phase


def key(*position: object) -> int:
    """A seed for a position in the run, (seed, stream, step, ...). All random numbers of training are seeded by it."""
    return int.from_bytes(hashlib.blake2b(repr(position).encode(), digest_size=7).digest(), "big")


class Kept:
    """Tensors that the phases of one step share when fakes are reused. See `ForwardPass.keep`."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, int], tuple[str, Tensor]] = {}  # (name, turn) -> (owner, tensor with its graph)

    def drop(self, owner: str) -> None:
        """Drop the tensors of a player whose networks have changed."""
        self.made = {at: value for at, value in self.made.items() if value[0] != owner}


class ForwardPass:
    """Some rows of one phase's batch. A task subclasses it with cached properties (real, fake, real_output, ...).

    A property that no term of the phase asks for is never computed: a phase with R1 alone never runs the generator.
    """

    shared: tuple[str, ...] = ()  # streams drawn alike in all phases of a step while fakes are reused

    def __init__(self, game: Game, phase: Phase, turn: int, rows: slice, kept: Kept | None = None) -> None:
        self.game, self.phase, self.turn, self.rows, self.kept = game, phase, turn, rows, kept
        self.task: Any = game.task

    def __len__(self) -> int:
        return int(self.rows.stop - self.rows.start)

    def draw(self, stream: str, *shape: int, kind: Literal["normal", "uniform"] = "normal") -> Tensor:
        """Random numbers [B, *shape], standard normal or uniform in [0, 1). The name is unique within the phase.

        They are drawn for the global batch and then cut to these rows, so a row's numbers do not depend on
        micro-batches or ranks. The seed is the position in the run, so resuming needs a counter and no saved generator
        state.
        """
        game = self.game
        who = "step" if self.kept is not None and stream in self.shared else self.phase.name
        generator = game.runtime.generator(key(game.seed, stream, game.step, who, self.turn))
        values = torch.empty(game.batch_size, *shape, device=game.runtime.device)
        values = values.normal_(generator=generator) if kind == "normal" else values.uniform_(generator=generator)
        return values[self.rows]

    def data(self, name: str) -> Tensor:
        """A column of the batch, on the game's device."""
        game = self.game
        order = game.orders[game.data.domain_of(name)]
        indices = order.rows(game.images + self.turn * game.batch_size, game.batch_size)
        return game.data.fetch(name, indices[self.rows], game.runtime.device)

    def net(self, name: str) -> Callable[..., Any]:
        """A network: eager in a phase with probes (double backward and torch.compile do not mix), else compiled."""
        eager: Callable[..., Any] = self.game.nets[name]
        return eager if self.phase.probes else self.game.compiled.get(name, eager)

    def probe(self, name: str, x: Tensor) -> Tensor:
        """`x` itself, or a leaf with the same values that requires a gradient, if a term of this phase needs that."""
        return x if name not in self.phase.probes or x.requires_grad else x.detach().requires_grad_()

    def keep(self, name: str, owner: str, make: Callable[[], Tensor]) -> Tensor:
        """`make()`. With `trainer.reuse_fakes`, it is called once per step for all phases.

        The owner's phase gets the tensor with its graph, other phases detached. It is dropped after the owner's move.
        """
        if self.kept is None:
            return make()
        mine = owner == self.phase.player
        if (name, self.turn) not in self.kept.made:
            parameters = self.game.parameters[owner]
            if not mine:  # this phase has frozen them, but a later phase needs the graph
                for parameter in parameters:
                    parameter.requires_grad_(True)
            self.kept.made[name, self.turn] = owner, make()
            if not mine:
                for parameter in parameters:
                    parameter.requires_grad_(False)
        value = self.kept.made[name, self.turn][1]
        return value if mine else value.detach()

    def observe(self) -> Mapping[str, Tensor]:
        """Further tensors to record besides the terms' values, already computed in this pass. Each is averaged."""
        return {}
