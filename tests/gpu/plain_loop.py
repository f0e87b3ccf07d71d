"""A game as a script would write it: the same networks, plain Adam, no frozen players, losses looked at each step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from gan_lab.core.loop import Game

# D's and G's loss of real and fake logits.
Halves = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]
LOSSES: Mapping[str, Halves] = {
    "hinge": (lambda real, fake: relu(1 - real) + relu(1 + fake), lambda real, fake: -fake),
    "non_saturating": (lambda real, fake: softplus(-real) + softplus(fake), lambda real, fake: softplus(-fake)),
    "relativistic": (lambda real, fake: softplus(fake - real), lambda real, fake: softplus(real - fake)),
}


class NetworkLoop:
    """Copies of a game's networks without classes, its batches, its Adam, its moves of D, its penalties R1 and R2."""

    def __init__(self, game: Game, loss: str) -> None:
        nets = copy.deepcopy(game.nets).train().requires_grad_(True)
        self.net_g, self.net_d = nets["generator"], nets["discriminator"]
        self.critic = max(phase.repeat for phase in game.phases)
        self.batch_size, self.steps = game.batch_size, 0
        self.latent_dim: int = game.task.latent_dim  # type: ignore[attr-defined]
        self.images = game.data.fetch("sample", torch.arange(len(game.data)), game.runtime.device)
        self.loss_d, self.loss_g = LOSSES[loss]
        self.paired = loss == "relativistic"  # whether G's loss looks at real logits
        self.opt_d, self.opt_g = (
            torch.optim.Adam(net.parameters(), lr=group["lr"], betas=group["betas"], eps=group["eps"])
            for net, player in ((self.net_d, "discriminator"), (self.net_g, "generator"))
            for group in game.optimizers[player].param_groups
        )
        # (on real samples, weight, every) of each penalty
        self.penalties = [
            ("real" in term.probes, term.weight, phase.every)
            for phase in game.phases
            for term in phase.terms.values()
            if term.probes
        ]

    def draw(self) -> tuple[Tensor, ...]:
        """Real samples [moves of D, B, C, H, W] and noise [moves of D + 1, B, latent_dim]."""
        device, moves = self.images.device, self.critic
        rows = torch.randint(len(self.images), (moves * self.batch_size,), device=device)
        real = self.images[rows].unflatten(0, (moves, self.batch_size))
        return real, torch.randn(moves + 1, self.batch_size, self.latent_dim, device=device)

    def step(self, reals: Tensor, noise: Tensor) -> tuple[float, float]:
        """All moves of D, then one of G; returns their last losses without penalties."""
        for real, z in zip(reals, noise, strict=False):
            self.opt_d.zero_grad()
            fake = self.net_g(z).detach()
            d_loss = self.loss_d(self.judge(real), self.judge(fake)).mean()
            total = d_loss
            for on_real, weight, every in self.penalties:
                if every == 1:
                    total = total + weight * self.penalty(real if on_real else fake)
            total.backward()
            self.opt_d.step()
        self.regularize_lazily(reals[0])
        self.opt_g.zero_grad()
        fake = self.net_g(noise[-1])
        g_loss = self.loss_g(self.judge(reals[0]) if self.paired else reals, self.judge(fake)).mean()
        g_loss.backward()
        self.opt_g.step()
        self.steps += 1
        return d_loss.item(), g_loss.item()

    def regularize_lazily(self, real: Tensor) -> None:
        """R1 in a step of its own, as StyleGAN2's authors do it."""
        for on_real, weight, every in self.penalties:
            if every > 1 and self.steps % every == 0:
                if not on_real:
                    raise ValueError("this loop has no lazy R2")
                self.opt_d.zero_grad()
                (weight * every * self.penalty(real)).backward()
                self.opt_d.step()

    def judge(self, x: Tensor) -> Tensor:
        output: Any = self.net_d(x)
        return getattr(output, "logits", output)

    def penalty(self, x: Tensor) -> Tensor:
        """The mean squared norm of the logits' gradients by their input."""
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.judge(x).sum(), x, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()
