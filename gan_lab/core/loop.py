"""The game and its moves. Only this module calls `backward()` and `step()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import Kept, key
from gan_lab.core.restore import check_optimizer, check_part, counter, part_of
from gan_lab.core.runtime import Runtime, warn_about_batch_statistics
from gan_lab.core.types import Data, Phase, Task, per_sample

if TYPE_CHECKING:
    from gan_lab.core.hooks import Hook


class Order:
    """The order in which examples are shown: epoch after epoch, each a permutation keyed by (seed, domain, epoch)."""

    def __init__(self, length: int, seed: int, domain: str = "") -> None:
        self.length, self.seed = length, seed
        self.stream = f"order/{domain}" if domain else "order"
        self._epochs: dict[int, Tensor] = {}  # the newest two: a batch may cross into the next one

    def rows(self, position: int, count: int) -> Tensor:
        """Indices [count] of the next examples after `position` shown ones. A batch may cross into further epochs."""
        parts = []
        while count:
            epoch, start = divmod(position, self.length)
            parts.append(self._epoch(epoch)[start : start + count])
            position, count = position + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts).long()

    def _epoch(self, epoch: int) -> Tensor:
        """A permutation, of numbers as small as they can be: it is all that grows with the data in a run's memory."""
        if epoch not in self._epochs:
            generator = torch.Generator().manual_seed(key(self.seed, self.stream, epoch))
            kind = torch.int32 if self.length <= torch.iinfo(torch.int32).max else torch.int64
            self._epochs = {known: order for known, order in self._epochs.items() if known == epoch - 1}
            self._epochs[epoch] = torch.randperm(self.length, generator=generator, dtype=kind)
        return self._epochs[epoch]


class Game:
    """Nets, players, phases, optimizers, data, hooks and counters: what `play` and `train` move.

    Raises ValueError where micro-batches or ranks do not divide the batch, or the data set is empty.
    """

    def __init__(
        self,
        task: Task,
        phases: Sequence[Phase],
        optimizers: Mapping[str, torch.optim.Optimizer],
        data: Data,
        *,
        runtime: Runtime | None = None,
        batch_size: int = 64,  # global: over all ranks and micro-batches
        micro_batches: int = 1,
        seed: int = 0,
        reuse_fakes: bool = False,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self.task, self.phases, self.optimizers, self.data = task, tuple(phases), optimizers, data
        self.nets: nn.ModuleDict = task.nets
        self.runtime = runtime or Runtime()
        self.batch_size, self.micro_batches, self.seed, self.reuse_fakes = batch_size, micro_batches, seed, reuse_fakes
        self.step = 0
        self.images = 0  # real images shown in the main phase
        self.images_before = 0  # the same before the last step, for hooks with periods
        if batch_size % (micro_batches * self.runtime.world):
            raise ValueError(
                f"trainer.batch_size={batch_size} is not divisible by trainer.micro_batches={micro_batches}"
                + (f" x {self.runtime.world} processes" if self.runtime.world > 1 else "")
            )
        if empty := [domain for domain, length in data.lengths.items() if not length]:
            raise ValueError(f"the data set holds no examples{f' of domain {empty[0]}' if empty[0] else ''}")
        warn_about_batch_statistics(self.nets, micro_batches)
        self.orders = {domain: Order(length, seed, domain) for domain, length in data.lengths.items()}
        self.compiled = self.runtime.compiled(self.nets)
        # A parameter that is frozen at the start never learns.
        self.parameters: dict[str, list[nn.Parameter]] = {
            player: [p for name in names for p in self.nets[name].parameters() if p.requires_grad]
            for player, names in task.players.items()
        }
        self.stateful: dict[str, Any] = {}
        self.hooks: list[Hook] = []
        self._find_state()
        for hook in hooks:
            self.add(hook)
        modules = [part for part in self.stateful.values() if isinstance(part, nn.Module)]
        self._buffers = [buffer for module in modules for buffer in module.buffers()]
        self._before = [torch.empty_like(buffer) for buffer in self._buffers]
        self._masked = {player for player, optimizer in optimizers.items() if _takes_found_inf(optimizer)}
        self._moving: str | None = None
        self._active: tuple[Phase, ...] | None = None
        for net in self.nets.values():
            net.requires_grad_(False).eval()

    # -- state ---------------------------------------------------------------------------------------------------

    def _find_state(self) -> None:
        """Register all parts of the task, its terms and its after-step actions that have a `state_dict`."""
        for name, part in vars(self.task).items():
            self._register(f"task/{name}", part)
        for phase in self.phases:
            for name, term in phase.terms.items():
                self._register(f"term/{phase.name}/{name}", term)
            for i, action in enumerate(phase.after):
                self._register(f"after/{phase.name}/{i}", getattr(action, "__self__", action))

    def _register(self, name: str, part: Any) -> None:
        if hasattr(part, "state_dict") and all(part is not known for known in self.stateful.values()):
            self.stateful[name] = part
            if isinstance(part, nn.Module) and part is not self.nets:
                part.to(self.runtime.device)

    def add(self, hook: Hook) -> None:
        """Append a hook. One with a `state_dict` is checkpointed under its class's name."""
        self.hooks.append(hook)
        name = f"hook/{type(hook).__name__}"
        self._register(name if name not in self.stateful else f"{name}/{len(self.hooks)}", hook)

    def state_dict(self) -> dict[str, Any]:
        """The state to save: counters, networks, optimizers and stateful parts, as plain types and tensors."""
        return {
            "step": self.step,
            "images": self.images,
            "parts": {name: part.state_dict() for name, part in self.stateful.items()},
            "optimizers": {player: optimizer.state_dict() for player, optimizer in self.optimizers.items()},
        }

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise ValueError for a state that does not fit this game. Changes nothing."""
        parts, optimizers = part_of(state, "parts"), part_of(state, "optimizers")
        for name in ("step", "images"):
            counter(state, name)
        if missing := self.stateful.keys() ^ parts.keys():
            raise ValueError(f"the checkpoint and this run differ in their parts: {', '.join(sorted(missing))}")
        for name, part in self.stateful.items():
            check_part(part, parts[name], name)
        for player, optimizer in self.optimizers.items():
            check_optimizer(optimizer, part_of(optimizers, player), f"optimizers/{player}")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state. Raises ValueError, before anything is changed, for one that does not fit."""
        self.check_state(state)
        self.step, self.images = state["step"], state["images"]
        for name, part in self.stateful.items():
            part.load_state_dict(state["parts"][name])
        for player, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][player])

    # -- moves ---------------------------------------------------------------------------------------------------

    def active_phases(self) -> tuple[Phase, ...]:
        """The phases of the current stage. Networks that none of them trains are in eval mode.

        Raises ValueError in a stage without phases.
        """
        active = tuple(phase for phase in self.phases if phase.active(self.images))
        if active != self._active:
            if not active:
                raise ValueError(f"no phase is active after {self.images} images")
            moving = {name for phase in active for name in self.task.players[phase.player]}
            for name, net in self.nets.items():
                net.train(name in moving)
            self._active = active
        return active

    def give_turn(self, player: str) -> list[nn.Parameter]:
        """Unfreeze this player's parameters and freeze the last one's, which then get no gradients."""
        parameters = self.parameters[player]
        if self._moving != player:
            for parameter in self.parameters.get(self._moving or "", ()):
                parameter.requires_grad_(False)
            for parameter in parameters:
                parameter.requires_grad_(True)
            self._moving = player
        return parameters

    def rows(self, micro_batch: int) -> slice:
        """The rows of the global batch that this rank sees in one of its micro-batches."""
        size = self.batch_size // (self.runtime.world * self.micro_batches)
        first = (self.runtime.rank * self.micro_batches + micro_batch) * size
        return slice(first, first + size)

    def update(self, player: str, gradient_norm: Tensor) -> Tensor:
        """One optimizer step, skipped where the gradient is not finite. Returns 1 where it was skipped, else 0.

        Fused Adam decides this on the device, without waiting of the host. With other optimizers the host waits: also
        with fused SGD, because a skipped first step leaves its momentum uninitialized (torch 2.15).
        """
        optimizer = self.optimizers[player]
        # 0 for a finite norm, else 1: infinity or NaN times 0 is NaN.
        skipped = (gradient_norm * 0).ne_(0).float()
        if player in self._masked:
            optimizer.found_inf = skipped  # type: ignore[attr-defined]
            optimizer.step()
        elif self.runtime.device.type == "meta" or not skipped.item():
            optimizer.step()
        return skipped

    def remember(self) -> None:
        """Copy the buffers that a move changes: batch statistics, singular vectors, terms' running means."""
        if self._buffers:
            torch._foreach_copy_(self._before, self._buffers)

    def restore(self, skipped: Tensor) -> None:
        """Undo the changes of buffers since `remember()` where `skipped` is 1.

        On an asynchronous device, the device decides, so that the host does not wait for the value.
        """
        if not self._buffers or not (self.runtime.asynchronous or skipped.item()):
            return
        undo = skipped > 0
        for buffer, old in zip(self._buffers, self._before, strict=True):
            # Through .data, unseen by autograd: the graph of fakes kept for the next phase refers to the buffers.
            torch.where(undo, old, buffer, out=buffer.data)


def _takes_found_inf(optimizer: torch.optim.Optimizer) -> bool:
    return isinstance(optimizer, torch.optim.Adam) and all(group.get("fused") for group in optimizer.param_groups)


def play(game: Game, phase: Phase, turn: int = 0, kept: Sequence[Kept] | None = None) -> dict[str, list[Tensor]]:
    """One move: the player takes one optimizer step on the sum of its terms. Returns the values to record.

    The objective is the mean over the global batch of  sum_t  weight_t * every * term_t,  in `micro_batches` parts. A
    move whose gradient is not finite changes no weight, optimizer state or buffer.
    """
    runtime = game.runtime
    game.remember()
    values: dict[str, list[Tensor]] = {}
    parameters = game.give_turn(phase.player)
    for parameter in parameters:
        parameter.grad = None
    for micro_batch in range(game.micro_batches):
        runtime.seed_layers(key(game.seed, "layers", game.step, phase.name, turn, runtime.rank, micro_batch))
        rows = game.rows(micro_batch)
        forward = game.task.forward_pass(game, phase, turn, rows, kept[micro_batch] if kept else None)
        # Gradient penalties are differentiated twice, so their phases use full precision.
        with runtime.autocast(enabled=not phase.probes):
            objective: Tensor | None = None
            for name, term in phase.terms.items():
                value = per_sample(term(forward)).mean()
                values.setdefault(name, []).append(value.detach())
                scale = term.weight * phase.every / game.micro_batches
                if scale != 1:  # in tiny networks, each operation costs time
                    value = value * scale
                objective = value if objective is None else objective + value
        assert objective is not None
        objective.backward()  # type: ignore[no-untyped-call]
        for name, value in forward.observe().items():
            values.setdefault(name, []).append(value.detach() if value.requires_grad else value)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    runtime.average(gradients)
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    values["gradient_norm"] = [norm]
    values["skipped"] = [game.update(phase.player, norm)]
    for action in phase.after:
        action(forward)
    game.restore(values["skipped"][0])
    for store in kept or ():
        store.drop(phase.player)
    return values


def step(game: Game) -> None:
    """One step of the game: all phases of the stage that are due, in order, each with its repeats."""
    for hook in game.hooks:
        hook.before_step(game)
    active = game.active_phases()
    kept = [Kept() for _ in range(game.micro_batches)] if game.reuse_fakes else None
    for phase in active:
        if game.step % phase.every == 0:
            for turn in range(phase.repeat):
                values = play(game, phase, turn, kept)
                for hook in game.hooks:
                    hook.after_play(game, phase, values)
    game.images_before = game.images
    game.images += game.batch_size * max(phase.repeat for phase in active)
    game.step += 1
    for hook in game.hooks:
        hook.after_step(game)


def train(game: Game, images: int, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Train until `images` real images were shown, or until `should_stop()` is true at the end of a step."""
    while game.images < images and not should_stop():
        step(game)
