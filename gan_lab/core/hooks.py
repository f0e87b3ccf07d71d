"""Hooks, which run between moves and steps. Core hooks use no files and no services, only the callables they get."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gan_lab.core.loop import Game
from gan_lab.core.types import Phase


class Hook:
    """A base class with methods that do nothing. A hook with a `state_dict` is saved in checkpoints."""

    def before_step(self, game: Game) -> None: ...

    def after_play(self, game: Game, phase: Phase, values: Mapping[str, Sequence[Tensor]]) -> None: ...

    def after_step(self, game: Game) -> None: ...


class EMA(Hook):
    """Exponential moving average of networks, for samples and scores:  a <- d a + (1 - d) w  after every step.

    The decay d ramps up as min(decay, (1 + step) / (10 + step)), so that an early average is not the initialization.
    Buffers (batch statistics) are copied, not averaged.
    """

    def __init__(self, nets: nn.ModuleDict, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"trainer.ema={decay} must lie between 0 and 1; 0 turns averaging off")
        self.decay = decay
        self.average = copy.deepcopy(nets).requires_grad_(False).eval()
        self._parameters: tuple[list[Tensor], list[Tensor]] = list(self.average.parameters()), list(nets.parameters())
        self._buffers = list(self.average.buffers()), list(nets.buffers())

    @torch.no_grad()
    def after_step(self, game: Game) -> None:
        decay = min(self.decay, (1 + game.step) / (10 + game.step))
        torch._foreach_lerp_(*self._parameters, 1 - decay)
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)

    def state_dict(self) -> dict[str, Any]:
        return self.average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.average.load_state_dict(state)


class Schedule(Protocol):
    """A factor as a function of the images shown. Stateless, so resuming needs nothing."""

    def __call__(self, images: int) -> float: ...


class Scheduled(Hook):
    """Before every step, set values to a schedule's factor times their initial values."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def before_step(self, game: Game) -> None:
        self.scale(game, self.schedule(game.images))

    def scale(self, game: Game, factor: float) -> None: ...


class LearningRate(Scheduled):
    """The learning rates of all optimizers. `halvings` is how often they were halved for good; it is saved."""

    def __init__(self, optimizers: Mapping[str, torch.optim.Optimizer], schedule: Schedule) -> None:
        super().__init__(schedule)
        self.halvings = 0
        self._base = {player: [group["lr"] for group in o.param_groups] for player, o in optimizers.items()}

    def scale(self, game: Game, factor: float) -> None:
        factor = math.ldexp(factor, -self.halvings)
        for player, base in self._base.items():  # not stored, because loading a state replaces the groups
            for group, rate in zip(game.optimizers[player].param_groups, base, strict=True):
                group["lr"] = rate * factor

    def state_dict(self) -> dict[str, Any]:
        return {"halvings": self.halvings}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.halvings = state["halvings"]


class Beta2(Scheduled):
    """1 - beta2 of every Adam: the inverse of the number of steps that its second moments average over.

    Raises ValueError for an optimizer that has no beta2.
    """

    def __init__(self, optimizers: Mapping[str, torch.optim.Optimizer], schedule: Schedule) -> None:
        super().__init__(schedule)
        self._base: dict[str, list[float]] = {}
        for player, optimizer in optimizers.items():
            if "betas" not in optimizer.param_groups[0]:
                raise ValueError(
                    f"the {player}'s optimizer {type(optimizer).__name__} has no beta2 that a schedule could change"
                )
            self._base[player] = [group["betas"][1] for group in optimizer.param_groups]

    def scale(self, game: Game, factor: float) -> None:
        for player, base in self._base.items():
            for group, beta2 in zip(game.optimizers[player].param_groups, base, strict=True):
                group["betas"] = group["betas"][0], 1 - (1 - beta2) * factor


class Strength(Scheduled):
    """The weights of some terms, such as a run's regularizers."""

    def __init__(self, terms: Sequence[Any], schedule: Schedule) -> None:
        super().__init__(schedule)
        self._base = [(term, term.weight) for term in terms]

    def scale(self, game: Game, factor: float) -> None:
        for term, weight in self._base:
            term.weight = weight * factor


class Diverged(RuntimeError):
    """In a whole logging window, no move of a phase could update its player: the gradients are not finite."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}: {advice}")
        self.reason = reason


class Log(Hook):
    """Averages all values recorded since the last log point, over all ranks, and passes one flat record to `write`.

    The record is {"images", "step", "performance/images_per_second", "<phase>/<name>": mean}. Between log points,
    values stay on the device, so the host waits once per log point and not once per step. `also` has the periods of
    other hooks: a window also ends where they run, so their time does not count as training. Raises Diverged where all
    updates of a phase were skipped between two multiples of `every`, also if other windows ended in between.
    """

    LEAST = 3  # skipped updates; fewer, such as one bad batch, are not a divergence

    def __init__(self, every: int, write: Callable[[dict[str, Any]], None], also: Sequence[int] = ()) -> None:
        self.periods = [Every(period) for period in (every, *also)]
        self.write = write
        self.sound = 0  # images at the last window whose final updates were not skipped
        self._tally: dict[str, list[int]] = {}  # phase -> numbers of moves and of skipped ones, not judged yet
        self._since = 0  # images at which the tally begins
        self._values: dict[str, list[Tensor]] = {}
        self._start: tuple[float, int] | None = None  # clock and images at the window's start

    def before_step(self, game: Game) -> None:
        if self._start is None:
            self._start = time.perf_counter(), game.images

    def after_play(self, game: Game, phase: Phase, values: Mapping[str, Sequence[Tensor]]) -> None:
        for name, tensors in values.items():
            self._values.setdefault(f"{phase.name}/{name}", []).extend(tensors)

    def after_step(self, game: Game) -> None:
        if any(period.due(game) for period in self.periods):
            self.flush(game)

    def memory(self) -> dict[str, Any]:
        """The content of the current window, for a run that is saved in the middle of one.

        Not called `state_dict`, so that it is not part of the game's state: a run can continue without it.
        """
        gathered = {name: torch.cat([v.flatten() for v in values]).cpu() for name, values in self._values.items()}
        return {"values": gathered, "tally": self._tally, "since": self._since, "sound": self.sound}

    def recall(self, memory: Mapping[str, Any], device: torch.device) -> None:
        """Restore the window of `memory()`."""
        self._values = {name: [values.to(device)] for name, values in memory["values"].items()}
        self._tally = {phase: [int(count) for count in counts] for phase, counts in memory["tally"].items()}
        self._since, self.sound, self._start = int(memory["since"]), int(memory["sound"]), None

    def restart(self, images: int) -> None:
        """Clear the window and begin a new one at so many images, as after a rollback."""
        self._values, self._tally, self._start = {}, {}, None
        self._since = self.sound = images

    def flush(self, game: Game, end: bool = False) -> None:
        """Write a record of the current window, if it is not empty. `end`: whether the run ends here."""
        if not self._values or self._start is None:
            return
        last = [values[-1].flatten()[-1] for name, values in self._values.items() if name.endswith("/skipped")]
        found = torch.stack([*(_mean(values) for values in self._values.values()), *_any(last)])
        game.runtime.average([found])
        *means, any_skipped = found.tolist()
        if not any_skipped:
            self.sound = game.images
        record: dict[str, Any] = dict(zip(self._values, means, strict=True))
        clock, images = self._start
        seconds = time.perf_counter() - clock
        speed = (game.images - images) / seconds
        record = {"images": game.images, "step": game.step, "performance/images_per_second": speed} | record
        self._count(record)
        for name in [name for name in record if name.endswith("/skipped") and not record[name]]:
            del record[name]  # recorded only where updates were skipped
        self._values, self._start = {}, None
        self.write(record)
        if end or self.periods[0].due(game):
            self._judge(game)

    def _count(self, record: Mapping[str, Any]) -> None:
        for name, values in self._values.items():
            phase, _, what = name.rpartition("/")
            if what == "skipped":
                moves = sum(value.numel() for value in values)
                counts = self._tally.setdefault(phase, [0, 0])
                counts[0] += moves
                counts[1] += round(record[name] * moves)

    def _judge(self, game: Game) -> None:
        stuck = [phase for phase, (moves, skipped) in self._tally.items() if moves == skipped >= self.LEAST]
        since = self._since
        # A phase with too few moves, such as a lazy one, is counted further.
        self._tally = {phase: counts for phase, counts in self._tally.items() if counts[0] < self.LEAST}
        self._since = game.images
        if stuck:
            raise Diverged(
                f"no finite gradient in {' and '.join(stuck)} since {since:,} images",
                "lower the learning rate, raise the regularization, or train with trainer.precision=fp32",
            )


def _any(flags: Sequence[Tensor]) -> list[Tensor]:
    return [torch.stack(list(flags)).amax()] if flags else [torch.zeros(())]


def _mean(values: Sequence[Tensor]) -> Tensor:
    if all(value.dim() == 0 for value in values):
        return torch.stack(list(values)).float().mean()
    return torch.cat([value.flatten() for value in values]).float().mean()


class Every:
    """`due` is True in the step that reaches or passes a multiple of `images`; never for 0."""

    def __init__(self, images: int) -> None:
        self.images = images

    def due(self, game: Game) -> bool:
        if not self.images:
            return False
        return game.images // self.images > game.images_before // self.images


class Do(Hook):
    """Calls `action(game)` every so many images: to save, to sample, to evaluate."""

    def __init__(self, every: int, action: Callable[[Game], object]) -> None:
        self.period, self.action = Every(every), action

    def after_step(self, game: Game) -> None:
        if self.period.due(game):
            self.action(game)
