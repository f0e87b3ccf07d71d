"""What it costs that nothing is lost: saves, and the checks of every step."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from gan_lab.core import checkpoint
from gan_lab.core.loop import Game, step, train
from tests.benchmarks.measure import Goal, Result, alternate, build, seconds

STEPS = 40


def saving(rounds: int) -> Result:
    """A save of the default experiment, hashed and synced, over the steps between two saves."""
    assembly = build("experiment=dcgan_mnist5k", log_every=10 * 64)
    game = assembly.game
    steps = assembly.trainer.checkpoint_every / game.batch_size
    result = Result("saving", "s", "a save / training between two saves", Goal("at most", 0.01))
    train(game, 2 * game.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(rounds):
            training = seconds(lambda: train(game, game.images + STEPS * game.batch_size)) * steps / STEPS
            state = {"images": game.images, "game": game.state_dict(), "about": assembly.about}
            took = seconds(lambda state=state: checkpoint.save(state, Path(folder)))  # type: ignore[misc]
            result.add(took, training, took / training)
            if i == 0:
                size = sum(file.stat().st_size for file in Path(folder).rglob("*.pt"))
                result.notes.append(f"{size / 1e6:.1f} MB")
    result.notes.append(f"training time is that of {STEPS} steps times {steps / STEPS:g}")
    return result


class Careless(Game):
    """Steps whatever the gradient is, and keeps no copies to go back to."""

    def update(self, player: str, gradient_norm: Tensor) -> Tensor:
        self.optimizers[player].step()
        return torch.zeros(())

    def remember(self) -> None: ...

    def restore(self, skipped: Tensor) -> None: ...


def checks(rounds: int) -> Result:
    """The default's steps, less its lazy R1, and those of a game that looks at no gradient."""
    words = ("experiment=dcgan_mnist5k", "regularizer=[]")
    ours, theirs = (build(*words, log_every=10 * 64).game for _ in range(2))
    theirs.__class__ = Careless
    result = Result("checks", "s", "ours / without checks and copies", Goal("at most", 1.02))
    for game in (ours, theirs):
        train(game, 5 * game.batch_size)
    for _ in range(rounds):
        mine, plain = alternate(lambda: step(ours), lambda: step(theirs), STEPS)
        result.add(mine, plain, mine / plain)
    same = all(
        torch.equal(a, b)
        for a, b in itertools.zip_longest(ours.nets.state_dict().values(), theirs.nets.state_dict().values())
    )
    result.notes.append("the same weights in the end" if same else "DIFFERENT weights in the end")
    return result
