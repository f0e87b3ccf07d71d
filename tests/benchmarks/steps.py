"""Whole DCGAN steps at batch 64: our games against loops as a tutorial and PyTorch's example write them."""

from __future__ import annotations

import torch

from gan_lab.core.loop import Game
from gan_lab.core.runtime import has_bf16_units
from tests.benchmarks import plain
from tests.benchmarks.measure import Goal, Result, build
from tests.benchmarks.pairs import compared, copy_weights, timed

PRIMER = (
    "experiment=dcgan_cifar10", "dataset=toy_pictures", "dataset.image_size=64", "dataset.image_channels=3",
    "dataset.num=640",
)  # fmt: skip
# The default without what the plain loop has not, and with the half that its D loss has.
DEFAULT = ("experiment=dcgan_mnist5k", "regularizer=[]", "trainer.ema=0", "task=primer", "trainer.batch_size=64")
PRIMER_STEPS, DEFAULT_STEPS = 2, 10  # timed in a round
BETTER = "baseline / ours"


def game_of(*overrides: str) -> Game:
    return build(*overrides, log_every=10 * 64).game


def beside(game: Game, kind: type[plain.PlainLoop], width: int) -> plain.PlainLoop:
    """A plain loop of the game's architecture, weights, data, batch size and Adam."""
    channels, size, _ = game.task.sample_shape  # type: ignore[attr-defined]
    device = game.runtime.device
    images = game.data.fetch("sample", torch.arange(len(game.data)), device).contiguous()
    nets = plain.generator(size, channels, width).to(device), plain.discriminator(size, channels, width).to(device)
    adam = game.optimizers["generator"].param_groups[0]
    loop = kind(*nets, images, game.batch_size, adam["lr"], adam["betas"])
    copy_weights(game, loop)
    return loop


def primer(rounds: int) -> Result:
    """The primer's step, 64 px and 3 channels."""
    result = Result("primer_step", "s/step", BETTER, Goal("at least", 1.3))
    game = game_of(*PRIMER)
    counts = [sum(parameter.numel() for parameter in net.parameters()) for net in game.nets.values()]
    assert counts == [3_576_704, 2_765_568], counts
    loop = beside(game, plain.PlainLoop, 64)
    result.notes.append(compared(game, loop))
    return timed(result, game, loop, rounds, PRIMER_STEPS)


def primer_reuse(rounds: int) -> Result:
    """The same loop, and our game with fakes that are made once a step."""
    result = Result("primer_step_reuse", "s/step", BETTER, Goal("at least", 1.5))
    result.notes.append("another algorithm: our G trains on the fakes that D saw, so losses are not compared")
    game = game_of(*PRIMER, "trainer.reuse_fakes=true")
    return timed(result, game, beside(game, plain.PlainLoop, 64), rounds, PRIMER_STEPS)


def example(rounds: int) -> Result:
    """PyTorch's DCGAN example, in which G trains on the fakes that D saw: so does our game here."""
    result = Result("example_step", "s/step", BETTER, Goal("at least", 1.25))
    game = game_of(*PRIMER, "trainer.reuse_fakes=true", "task.discriminator_weight=1")
    loop = beside(game, plain.ExampleLoop, 64)
    result.notes.append(compared(game, loop))
    return timed(result, game, loop, rounds, PRIMER_STEPS)


def default(rounds: int) -> Result:
    """The default's architecture, 32 px and 1 channel."""
    result = Result("default_step", "s/step", BETTER, Goal("at least", 1.3))
    game = game_of(*DEFAULT)
    loop = beside(game, plain.PlainLoop, 32)
    result.notes.append(compared(game, loop))
    return timed(result, game, loop, rounds, DEFAULT_STEPS)


def default_bf16(rounds: int) -> Result:
    """The same loop in single precision, and our game in mixed precision."""
    result = Result("default_step_bf16", "s/step", BETTER, Goal("at least", 1.3))
    has = "has" if has_bf16_units() else "lacks"
    result.notes.append(f"another precision; this CPU {has} units for it")
    game = game_of(*DEFAULT, "trainer.precision=bf16")
    loop = beside(game, plain.PlainLoop, 32)
    result.notes.append(compared(game, loop))
    return timed(result, game, loop, rounds, DEFAULT_STEPS)
