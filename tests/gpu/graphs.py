"""An experiment: tiny networks' steps as CUDA graphs, where Python is what costs. By hand, and our own moves.

A graph replays kernels with the arguments that they had. So a step can be captured as far as it gets its batch and its
noise from tensors that are filled before each replay, and its learning rate stays. A run's whole step cannot: it seeds,
counts and schedules on the host. What the two cost shows what a run could gain at most.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.core.loop import Game, play, step
from gan_lab.core.runtime import Runtime
from tests.benchmarks import mixture
from tests.benchmarks.measure import build
from tests.gpu.card import device, seconds
from tests.gpu.rows import Row, Setting

WORDS = (*mixture.RING, "schedule/learning_rate=constant")
WIDTH, TINY_WIDTH = 128, 8
CHECKED, ROUNDS, STEPS = 5, 5, 100
FAR = 1e-4  # weights that differ by more are those of another step
Capture = Callable[[Callable[[], object]], Callable[[], object]]


def captured(action: Callable[[], object]) -> Callable[[], object]:
    """The action as a graph; without a card, the action itself. It runs a few times before."""
    if not torch.cuda.is_available():
        return action
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        action()
    return graph.replay


def measure(setting: Setting) -> Iterator[Row]:
    """Our own moves last: a failed capture may leave the device in any state."""
    for what, experiment in (("a loop by hand", by_hand), ("our moves", our_moves)):
        try:
            yield experiment(what, setting.tiny)
        except Exception as error:
            line = next(iter(str(error).strip().splitlines()), "")
            yield Row(what, note=f"not captured: {type(error).__name__}: {line}"[:300], state="skipped")


def game_of(tiny: bool) -> Game:
    width = TINY_WIDTH if tiny else WIDTH
    words = *WORDS, f"generator.width={width}", f"discriminator.width={width}"
    game = build(*words, log_every=1_000_000_000, device=str(device())).game
    let_capture(*game.optimizers.values())
    return game


def let_capture(*optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["capturable"] = torch.cuda.is_available()


def by_hand(what: str, tiny: bool) -> Row:
    """The hand-tuned loop on points, and its copy whose step is a graph."""
    eager, graph = (mixture.beside(game_of(tiny), mixture.Tuned, TINY_WIDTH if tiny else WIDTH) for _ in range(2))
    let_capture(eager.opt_g, eager.opt_d, graph.opt_g, graph.opt_d)
    held = [tensor.clone() for tensor in graph.draw()]
    replay = captured(lambda: graph.step(*held))
    parameters = [[*loop.net_g.parameters(), *loop.net_d.parameters()] for loop in (eager, graph)]
    for optimizers in ((eager.opt_g, graph.opt_g), (eager.opt_d, graph.opt_d)):
        _start_alike(*optimizers)
    _copy(parameters)

    def replayed(*drawn: Tensor) -> None:
        for tensor, value in zip(held, drawn, strict=True):
            tensor.copy_(value)
        replay()

    for _ in range(CHECKED):
        drawn = eager.draw()
        eager.step(*drawn)
        replayed(*drawn)
    return _row(what, tiny, lambda: eager.step(*eager.draw()), lambda: replayed(*graph.draw()), _apart(parameters))


def our_moves(what: str, tiny: bool) -> Row:
    """A game of ours, and its twin whose moves are a graph; hooks and counters stay on the host."""
    eager, twin = game_of(tiny), game_of(tiny)
    moves = Moves(twin)
    parameters = [[p for net in game.nets.values() for p in net.parameters()] for game in (eager, twin)]
    for player in eager.optimizers:
        _start_alike(eager.optimizers[player], twin.optimizers[player])
    _copy(parameters)
    for _ in range(CHECKED):
        step(eager)
        moves.step()
    return _row(what, tiny, lambda: step(eager), moves.step, _apart(parameters))


class Moves:
    """All phases of a game's step, captured. What they draw and read is filled in before each replay."""

    def __init__(self, game: Game) -> None:
        self.game, self.held = game, {}
        self._draw, self._data = ForwardPass.draw, ForwardPass.data
        for phase in game.phases:  # Adam's state is made outside of the graph
            play(game, phase)
        with (
            patch.object(ForwardPass, "draw", self._held(self._draw)),
            patch.object(ForwardPass, "data", self._held(self._data)),
            patch.object(Runtime, "seed_layers", lambda runtime, seed: None),
            patch.object(Runtime, "asynchronous", torch.cuda.is_available()),
        ):
            self._play()  # fills what is held
            self.replay = captured(self._play)

    held: dict[Any, tuple[Any, tuple[Any, ...], dict[str, Any], Tensor]]  # by phase and name: who asked, how, what for

    def _play(self) -> None:
        for phase in self.game.phases:
            play(self.game, phase)

    def _held(self, ask: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def answer(forward: ForwardPass, name: str, *more: Any, **named: Any) -> Tensor:
            at = forward.phase.name, ask.__name__, name
            if at not in self.held:
                self.held[at] = forward, (name, *more), named, ask(forward, name, *more, **named).clone()
            return self.held[at][3]

        return answer

    def step(self) -> None:
        for (_, kind, _), (forward, asked, named, tensor) in self.held.items():
            ask = self._draw if kind == "draw" else self._data
            tensor.copy_(ask(forward, *asked, **named))
        self.replay()
        self.game.images += self.game.batch_size
        self.game.step += 1


def _start_alike(one: torch.optim.Optimizer, other: torch.optim.Optimizer) -> None:
    """Both optimizers at their beginning, in the tensors that a graph has captured."""
    for optimizer in (one, other):
        for state in optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()


def _copy(parameters: list[list[Tensor]]) -> None:
    for mine, theirs in zip(*parameters, strict=True):
        theirs.data.copy_(mine.data)


def _apart(parameters: list[list[Tensor]]) -> float:
    return max((mine - theirs).abs().max().item() for mine, theirs in zip(*parameters, strict=True))


def _row(what: str, tiny: bool, eager: Callable[[], object], graph: Callable[[], object], apart: float) -> Row:
    times, count = (1, 1) if tiny else (STEPS, ROUNDS)
    rounds = [(seconds(eager, times), seconds(graph, times)) for _ in range(count)]
    mine, theirs = (statistics.median(side) for side in zip(*rounds, strict=True))
    name = "ms/step as a graph" if torch.cuda.is_available() else "ms/step with held tensors"
    figures = {
        "ms/step": mine * 1e3, name: theirs * 1e3, "x as fast": statistics.median(a / b for a, b in rounds),
        f"apart after {CHECKED} steps": apart,
    }  # fmt: skip
    note = "" if torch.cuda.is_available() else "no CUDA device: run the same way, and not captured"
    return Row(what, figures, note, "ok" if apart <= FAR else "FAILED")
