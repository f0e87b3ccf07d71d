"""The framework's own cost: the default step, less its lazy R1, against the same maths written by hand."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gan_lab.core.forward_pass import key
from gan_lab.core.loop import Order, step
from gan_lab.run.assembly import Assembly
from tests.benchmarks.measure import Goal, Result, alternate, build
from tests.benchmarks.plain import LATENT_DIM

CHECKED, TIMED = 5, 25  # 25 steps are a window of the log here


class ByHand:
    """The default experiment in one function: frozen players, fused Adam, channels last, cosine, average, log."""

    def __init__(self, assembly: Assembly) -> None:
        trainer, game = assembly.trainer, assembly.game
        self.seed, self.total_images, self.decay = trainer.seed, trainer.images, trainer.ema
        self.batch_size = game.batch_size
        nets = copy.deepcopy(game.nets)
        self.generator, self.discriminator = nets["generator"], nets["discriminator"]
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.pixels, self.order = assembly.data.columns["sample"], Order(len(assembly.data), trainer.seed)
        group = game.optimizers["generator"].param_groups[0]
        self.rate = group["lr"]
        self.adam_g, self.adam_d = (
            torch.optim.Adam(net.parameters(), self.rate, group["betas"], fused=True)
            for net in (self.generator, self.discriminator)
        )
        self.random = torch.Generator()
        self.steps, self.losses = 0, torch.zeros(2)
        self.generator.train()
        self.discriminator.train()

    def noise(self, phase: str) -> Tensor:
        self.random.manual_seed(key(self.seed, "latent", self.steps, phase, 0))
        return torch.empty(self.batch_size, LATENT_DIM).normal_(generator=self.random)

    def step(self) -> Tensor:
        """One update of D, then one of G; returns their losses."""
        images = self.steps * self.batch_size
        rate = self.rate * 0.5 * (1 + math.cos(math.pi * min(images / self.total_images, 1.0)))
        self.adam_g.param_groups[0]["lr"] = self.adam_d.param_groups[0]["lr"] = rate
        rows = self.pixels.index_select(0, self.order.rows(images, self.batch_size))
        real = rows.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

        self._turn(self.generator, self.discriminator)
        self.adam_d.zero_grad()
        real_logits = self.discriminator(real).logits
        fake_logits = self.discriminator(self.generator(self.noise("discriminator"))).logits
        d_loss = (softplus(-real_logits) + softplus(fake_logits)).mean()
        d_loss.backward()
        self.adam_d.step()

        self._turn(self.discriminator, self.generator)
        self.adam_g.zero_grad()
        g_loss = softplus(-self.discriminator(self.generator(self.noise("generator"))).logits).mean()
        g_loss.backward()
        self.adam_g.step()

        self._average()
        self.steps += 1
        losses = torch.stack((d_loss.detach(), g_loss.detach()))
        self.losses += losses
        if self.steps % TIMED == 0:
            self.losses.div_(TIMED).tolist()
            self.losses.zero_()
        return losses

    def _turn(self, rests: nn.Module, moves: nn.Module) -> None:
        rests.requires_grad_(False)
        moves.requires_grad_(True)

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.decay, (2 + self.steps) / (11 + self.steps))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - decay)
        torch._foreach_copy_(list(self.average.buffers()), list(self.generator.buffers()))


def run(rounds: int) -> Result:
    return _run("overhead", 64, rounds)


def small_batch(rounds: int) -> Result:
    """The default's own batch: the smaller it is, the more an operation of Python's weighs."""
    return _run("overhead_small_batch", 16, rounds)


def _run(name: str, batch_size: int, rounds: int) -> Result:
    words = ("experiment=dcgan_mnist5k", "regularizer=[]", f"trainer.batch_size={batch_size}")
    assembly = build(*words, log_every=TIMED * batch_size)
    game, loop = assembly.game, ByHand(assembly)
    result = Result(name, "s/step", "ours / baseline", Goal("at most", 1.02))
    for _ in range(CHECKED):
        step(game)
        loop.step()
    mine, theirs = (list(net.parameters()) for net in (game.nets["generator"], loop.generator))
    difference = max((a - b).abs().max().item() for a, b in zip(mine, theirs, strict=True))
    result.notes.append(f"G's weights differ by at most {difference:.0e} after {CHECKED} steps")
    for _ in range(rounds):
        ours, baseline = alternate(lambda: step(game), loop.step, TIMED)
        result.add(ours, baseline, ours / baseline)
    return result
