"""The primer's DCGAN step, 64 px and 3 channels, batch 64: our game against a loop as a tutorial writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from gan_lab.core.hooks import Hook
from gan_lab.core.loop import Game, step
from gan_lab.core.types import Phase
from gan_lab.tasks.generation import GenerationPass
from tests.benchmarks import plain
from tests.benchmarks.measure import Goal, Result, alternate, build

BATCH, CHECKED, TIMED = 64, 3, 2  # images, and steps that are compared before, and timed in, each round


class Losses(Hook):
    """Both players' losses of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_play(self, game: Game, phase: Phase, values: Mapping[str, Sequence[Tensor]]) -> None:
        self.seen.append(values["adversarial"][0].item() * phase.terms["adversarial"].weight)


def run(rounds: int) -> Result:
    overrides = ("dataset=toy_pictures", "dataset.image_size=64", "dataset.image_channels=3", "dataset.num=640")
    game = build("experiment=dcgan_cifar10", *overrides, log_every=10 * BATCH).game
    loop = _same_weights(game)
    result = Result("primer_step", "s/step", "baseline / ours", Goal("at least", 1.2), notes=[_check(game, loop)])
    for _ in range(rounds):
        ours, baseline = alternate(lambda: step(game), lambda: loop.step(*loop.draw()), TIMED)
        result.add(ours, baseline, baseline / ours)
    return result


def _same_weights(game: Game) -> plain.PlainLoop:
    store = game.data
    images = store.fetch("sample", game.order.rows(0, len(store)), "cpu").contiguous()
    nets = {"generator": plain.generator(64, 3, 64), "discriminator": plain.discriminator(64, 3, 64)}
    counts = []
    for name, net in nets.items():
        for theirs, ours in zip(net.parameters(), game.nets[name].parameters(), strict=True):
            theirs.data.copy_(ours)
        counts.append(sum(parameter.numel() for parameter in net.parameters()))
    assert counts == [3_576_704, 2_765_568], counts
    return plain.PlainLoop(nets["generator"], nets["discriminator"], images, BATCH)


def _check(game: Game, loop: plain.PlainLoop) -> str:
    """Some steps of both on the same batches and noise; says how far their losses differ."""
    losses = Losses()
    game.hooks.append(losses)
    differences = []
    for _ in range(CHECKED):
        # A pass gives what its step will draw, wherever it is asked.
        passes = [GenerationPass(game, phase, 0, slice(0, BATCH)) for phase in game.phases]
        noise = [forward.latent[:, :, None, None] for forward in passes]
        expected = loop.step(passes[0].real.contiguous(), *noise)
        step(game)
        pairs = zip(losses.seen[-2:], expected, strict=True)
        differences.append(max(abs(ours - theirs) for ours, theirs in pairs))
    game.hooks.remove(losses)
    return (
        f"losses differ by at most {differences[0]:.0e} in the first step and {max(differences):.0e} in {CHECKED} "
        "(single precision; Adam's first updates are signs of gradients)"
    )
