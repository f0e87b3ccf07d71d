"""BigGAN's training step, told the class, against a plain loop over copies of the same networks."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gan_lab.core.loop import Game
from tests.benchmarks.measure import Goal, Result, build
from tests.benchmarks.pairs import compared, timed

# What the plain loop has not is left out: averaged weights, and the schedule of the learning rate.
WORDS = (
    "experiment=biggan_fashion_mnist", "dataset=toy_pictures", "dataset.image_size=32", "dataset.num=640",
    "evaluation.metrics=[]", "trainer.precision=fp32", "trainer.ema=0", "schedule/learning_rate=constant",
)  # fmt: skip
STEPS = 4  # timed in a round


class PlainLoop:
    """D's hinge loss, then G's on fresh noise, with plain Adam and tensors in their usual order."""

    noises, labelled = 2, True

    def __init__(self, game: Game) -> None:
        own = {
            name: copy.deepcopy(net).to(memory_format=torch.contiguous_format).requires_grad_().train()
            for name, net in game.nets.items()
        }
        self.net_g: nn.Module = own["generator"]
        self.net_d: nn.Module = own["discriminator"]
        self.noise_shape = (game.task.latent_dim,)  # type: ignore[attr-defined]
        self.batch_size = game.batch_size
        rows = torch.arange(len(game.data))
        self.images, self.labels = (game.data.fetch(name, rows, "cpu").contiguous() for name in ("sample", "label"))
        self.classes = int(self.labels.max()) + 1
        self.opt_g, self.opt_d = (
            torch.optim.Adam(own[name].parameters(), lr=adam["lr"], betas=adam["betas"])
            for name, adam in ((name, game.optimizers[name].param_groups[0]) for name in ("generator", "discriminator"))
        )

    def draw(self) -> tuple[Tensor, ...]:
        """Pictures, noise for each update, and the classes of all three."""
        rows = torch.randint(len(self.images), (self.batch_size,))
        drawn = torch.randint(self.classes, (self.noises, self.batch_size))
        return self.images[rows], *torch.randn(2, self.batch_size, *self.noise_shape), self.labels[rows], *drawn

    def step(self, real: Tensor, *given: Tensor) -> tuple[float, float]:
        """One update of D, then one of G; returns their losses."""
        d_noise, g_noise, label, d_label, g_label = given
        self.opt_d.zero_grad()
        with torch.no_grad():
            fake = self.net_g(d_noise, d_label)
        d_loss = relu(1 - self.net_d(real, label).logits).mean() + relu(1 + self.net_d(fake, d_label).logits).mean()
        d_loss.backward()
        self.opt_d.step()

        self.opt_g.zero_grad()
        g_loss = -self.net_d(self.net_g(g_noise, g_label), g_label).logits.mean()
        g_loss.backward()
        self.opt_g.step()
        return d_loss.item(), g_loss.item()


def step_ratio(rounds: int) -> Result:
    """Whole steps of the small twin's networks, grey 32 px, batches of 16."""
    result = Result("biggan_step", "s/step", "baseline / ours", Goal("at least", 1))
    game = build(*WORDS, log_every=6_400).game
    loop = PlainLoop(game)
    result.notes.append(compared(game, loop))
    return timed(result, game, loop, rounds, STEPS)
