"""A pass that makes pictures again of their codes, and the terms of its objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gan_lab.bottlenecks import Code
from gan_lab.core.types import per_sample
from gan_lab.tasks.judged import JudgedPass

DELTA, MOST = 1e-6, 1e4  # of the adaptive weight: delta of eq. 7, and where the authors' code clips it


@dataclass(frozen=True)
class Made:
    """Pictures made again, and the code between."""

    picture: Tensor
    code: Code

    def detach(self) -> Made:
        return Made(self.picture.detach(), Code(*(None if x is None else x.detach() for x in self.code)))  # type: ignore[arg-type]


class AutoencodingPass(JudgedPass):
    """Pictures are real, what is made of their codes is fake."""

    @cached_property
    def target(self) -> Tensor:
        return self.data("sample")

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.target)

    @cached_property
    def made(self) -> Made:
        made: Made = self.keep("made", "generator", self._make)  # type: ignore[arg-type, assignment]
        if self.phase.player == "generator":
            self.task.bottleneck.note(made.code)
        return made

    def _make(self) -> Made:
        code: Code = self.net("bottleneck")(self.net("encoder")(self.target), self.draw)
        return Made(self.net("decoder")(code.latent), code)

    @cached_property
    def fake(self) -> Tensor:
        return self.probe("fake", self.made.picture)

    @cached_property
    def pixel_error(self) -> Tensor:
        """The mean absolute error [B]."""
        return per_sample((self.fake.float() - self.target).abs())

    @cached_property
    def perceptual_error(self) -> Tensor:
        """[B], see `PerceptualDistance`."""
        assert self.task.perceptual is not None
        return self.task.perceptual(self.fake, self.target)

    @cached_property
    def adaptive_weight(self) -> Tensor:
        """lambda of eq. 7, without gradient: |grad L_rec| / (|grad L_adv| + delta) at the decoder's last weight.

        L_rec is the weighted error of pixels and features, L_adv the generator's half of the loss. Micro-batches and
        ranks have each their own, as in the authors' code.
        """
        task = self.task
        error = torch.stack([term.weight * term(self).mean() for term in task.errors.values()]).sum()
        sides, last = (error, self.adversarial.mean()), task.last_weight
        norms = [torch.autograd.grad(side, last, retain_graph=True)[0].norm() for side in sides]
        return (norms[0] / (norms[1] + DELTA)).clamp(max=MOST).detach()

    @cached_property
    def adversarial(self) -> Tensor:
        """The generator's half of the loss, [B]."""
        return per_sample(self.task.adversarial(self))

    def observe(self) -> Mapping[str, Tensor]:
        """In the autoencoder's phases: its code's bits, its codebook's use, and the adaptive weight if there is one."""
        seen = dict(super().observe())
        if self.phase.player == "generator" and "made" in vars(self):
            seen |= self.task.bottleneck.observe(self.made.code)
            if "adaptive_weight" in vars(self):
                seen["adaptive_weight"] = self.adaptive_weight
        return seen


class Error:
    """One of a pass's errors of reconstruction, by its name."""

    probes: frozenset[str] = frozenset()

    def __init__(self, name: str, weight: float) -> None:
        self.name, self.weight = name, weight

    def __call__(self, forward: Any) -> Tensor:
        error: Tensor = getattr(forward, self.name)
        return error


class Penalty:
    """The bottleneck's own summand of the objective, [B]."""

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        penalty: Tensor = forward.made.code.penalty
        return penalty


class Adversarial:
    """The generator's half of the loss, weighed so that its gradient is as long as that of the errors (eq. 7).

    It differentiates while the objective is still being built, so its phase is eager and in full precision.
    """

    probes = frozenset({"last_weight"})

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        weighted: Tensor = forward.adaptive_weight * forward.adversarial
        return weighted
