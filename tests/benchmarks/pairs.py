"""Our game beside a plain loop: the same weights, losses compared on the same batches, then timed in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import Kept
from gan_lab.core.hooks import Hook
from gan_lab.core.loop import Game, step
from gan_lab.core.types import Phase
from gan_lab.tasks.generation import GenerationPass
from tests.benchmarks.measure import Result, alternate

CHECKED = 3  # steps whose losses are compared


class Loop(Protocol):
    """A plain loop. `step` updates D, then G, and returns their losses. Classes come after the noise."""

    net_g: nn.Module
    net_d: nn.Module
    noise_shape: tuple[int, ...]  # of one latent
    noises: int  # how many batches of noise a step takes: one where G's step trains on the fakes that D saw, else two
    labelled: bool  # the step takes classes, too: of the real samples, and for each batch of noise

    def draw(self) -> tuple[Tensor, ...]:
        """A batch of real samples, and the step's noise."""
        ...

    def step(self, real: Tensor, *noise: Tensor) -> tuple[float | Tensor, float | Tensor]: ...


class Losses(Hook):
    """Both players' adversarial losses of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_play(self, game: Game, phase: Phase, values: Mapping[str, Sequence[Tensor]]) -> None:
        if "adversarial" in values:  # not in a lazy regularizer's own phase
            self.seen.append(values["adversarial"][0].item() * phase.terms["adversarial"].weight)


def copy_weights(game: Game, loop: Loop) -> None:
    """Let the loop begin with the game's weights. Raises ValueError where the architectures differ."""
    for name, net in (("generator", loop.net_g), ("discriminator", loop.net_d)):
        for theirs, ours in zip(net.parameters(), game.nets[name].parameters(), strict=True):
            if theirs.shape != ours.shape:
                raise ValueError(f"{name}: {tuple(theirs.shape)} is not {tuple(ours.shape)}")
            theirs.data.copy_(ours)


def differences(game: Game, loop: Loop, steps: int = CHECKED) -> list[float]:
    """How far the two losses differ, at most, in each of the next steps, both on the same batches and noise."""
    losses = Losses()
    game.hooks.append(losses)
    found = []
    for _ in range(steps):
        # A pass gives what its step will draw, wherever it is asked.
        kept = Kept() if game.reuse_fakes else None
        passes = [GenerationPass(game, phase, 0, slice(0, game.batch_size), kept) for phase in game.phases]
        noise = [forward.latent.view(-1, *loop.noise_shape) for forward in passes[: loop.noises]]
        if loop.labelled:
            noise += [passes[0].real_label, *(forward.fake_label for forward in passes[: loop.noises])]
        expected = loop.step(passes[0].real.contiguous(), *noise)
        step(game)
        pairs = zip(losses.seen[-2:], expected, strict=True)
        found.append(max(abs(ours - torch.as_tensor(theirs).item()) for ours, theirs in pairs))
    game.hooks.remove(losses)
    return found


def compared(game: Game, loop: Loop) -> str:
    """A note on how far both sides' losses differ."""
    found = differences(game, loop)
    return (
        f"losses differ by at most {found[0]:.1g} in the first step and {max(found):.1g} in {CHECKED} (rounding, and "
        "Adam's first updates are signs of gradients)"
    )


def timed(result: Result, game: Game, loop: Loop, rounds: int, steps: int) -> Result:
    """Fill a result whose ratio is how many times faster we are; `steps` of each in a round."""
    for _ in range(rounds):
        ours, baseline = alternate(lambda: step(game), lambda: loop.step(*loop.draw()), steps)
        result.add(ours, baseline, baseline / ours)
    return result
