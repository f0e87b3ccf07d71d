"""The ring's step without R1 and average: tiny networks on points in the plane, where Python is what costs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gan_lab.core.loop import Game
from tests.benchmarks.measure import Goal, Result, alternate, build
from tests.benchmarks.pairs import compared, copy_weights, step

RING = (
    "experiment=ring", "generator=mlp", "loss=non_saturating", "regularizer=[]", "trainer.ema=0",
    "trainer.batch_size=128", "schedule/learning_rate=cosine",
)  # fmt: skip
LATENT_DIM, WINDOW, STEPS = 16, 50, 100  # steps between two looks at the losses, and in a round


def generator(width: int) -> nn.Sequential:
    """[B, 16] to points [B, 2]."""
    return nn.Sequential(
        nn.Linear(LATENT_DIM, width), nn.ReLU(),
        nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 2),
    )  # fmt: skip


def discriminator(width: int) -> nn.Sequential:
    """Points [B, 2] to logits [B, 1]."""
    return nn.Sequential(
        nn.Linear(2, width), nn.LeakyReLU(0.2),
        nn.Linear(width, width), nn.LeakyReLU(0.2),
        nn.Linear(width, width), nn.LeakyReLU(0.2),
        nn.Linear(width, 1),
    )  # fmt: skip


class Tutorial:
    """The game as a tutorial writes it: Adam as it comes, labels of ones and zeros, a look at the losses at times."""

    noise_shape: tuple[int, ...] = (LATENT_DIM,)
    noises, labelled = 2, False
    fused: bool | None = None  # as torch decides

    def __init__(
        self, points: Tensor, width: int, batch_size: int, learning_rate: float, betas: tuple[float, float]
    ) -> None:
        self.points, self.batch_size = points, batch_size
        self.net_g: nn.Module = generator(width).to(points.device)
        self.net_d: nn.Module = discriminator(width).to(points.device)
        self.opt_g, self.opt_d = (
            torch.optim.Adam(net.parameters(), lr=learning_rate, betas=betas, fused=self.fused)
            for net in (self.net_g, self.net_d)
        )
        self.criterion = nn.BCEWithLogitsLoss()
        self.steps, self.shown = 0, (0.0, 0.0)

    def draw(self) -> tuple[Tensor, ...]:
        device, size = self.points.device, self.batch_size
        real = self.points[torch.randint(len(self.points), (size,), device=device)]
        return real, torch.randn(size, LATENT_DIM, device=device), torch.randn(size, LATENT_DIM, device=device)

    def step(self, real: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        d_noise, g_noise = noise
        ones, zeros = torch.ones(len(real), 1, device=real.device), torch.zeros(len(real), 1, device=real.device)

        self.opt_d.zero_grad()
        fake = self.net_g(d_noise)
        d_loss = self.criterion(self.net_d(real), ones) + self.criterion(self.net_d(fake.detach()), zeros)
        d_loss.backward()
        self.opt_d.step()

        self.opt_g.zero_grad()
        g_loss = self.criterion(self.net_d(self.net_g(g_noise)), ones)
        g_loss.backward()
        self.opt_g.step()

        self.steps += 1
        if self.steps % WINDOW == 0:
            self.shown = d_loss.item(), g_loss.item()
        return d_loss, g_loss


class Tuned(Tutorial):
    """The same by someone who knows torch: one kernel for Adam, no gradient that nobody uses, no look at the losses."""

    fused = True

    def draw(self) -> tuple[Tensor, ...]:
        device = self.points.device
        real = self.points.index_select(0, torch.randint(len(self.points), (self.batch_size,), device=device))
        return real, *torch.randn(2, self.batch_size, LATENT_DIM, device=device).unbind()

    def step(self, real: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        d_noise, g_noise = noise
        self.net_d.requires_grad_(True)
        self.opt_d.zero_grad(set_to_none=True)
        with torch.no_grad():
            fake = self.net_g(d_noise)
        d_loss = softplus(-self.net_d(real)).mean() + softplus(self.net_d(fake)).mean()
        d_loss.backward()
        self.opt_d.step()

        self.net_d.requires_grad_(False)
        self.opt_g.zero_grad(set_to_none=True)
        g_loss = softplus(-self.net_d(self.net_g(g_noise))).mean()
        g_loss.backward()
        self.opt_g.step()
        return d_loss, g_loss


def beside(game: Game, kind: type[Tutorial], width: int = 128) -> Tutorial:
    """A loop of the game's architecture, weights, data, batch size and Adam."""
    adam = game.optimizers["generator"].param_groups[0]
    points = game.data.fetch("sample", torch.arange(len(game.data)), game.runtime.device)
    loop = kind(points, width, game.batch_size, adam["lr"], adam["betas"])
    copy_weights(game, loop)
    return loop


def tutorial(rounds: int) -> Result:
    """Our whole step, schedule and log included, against the tutorial's."""
    return _run(Result("mixture_step", "s/step", "ours / baseline", Goal("at most", 1)), Tutorial, rounds)


def tuned(rounds: int) -> Result:
    return _run(Result("mixture_step_tuned", "s/step", "ours / baseline", Goal("at most", 1.11)), Tuned, rounds)


def _run(result: Result, kind: type[Tutorial], rounds: int) -> Result:
    game = build(*RING, log_every=WINDOW * 128).game
    loop = beside(game, kind)
    result.notes.append(compared(game, loop))
    for _ in range(rounds):
        ours, baseline = alternate(lambda: step(game), lambda: loop.step(*loop.draw()), STEPS)
        result.add(ours, baseline, ours / baseline)
    return result
