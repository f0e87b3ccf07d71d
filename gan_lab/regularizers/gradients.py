"""Penalties on the gradient of D's logits by its input.

D's input is the sample before augmentation. Rows are differentiated together, so with a D that normalizes over the
batch, a row's gradient depends on other rows. A map of logits is differentiated by its mean.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan_lab.core.types import per_sample
from gan_lab.registry import Positive, Rate, Weight, regularizers


def input_gradient(logits: Tensor, x: Tensor) -> Tensor:
    """The gradient [B, N] of each row's logit (or mean logit) by its own input [B, ...], itself differentiable.

    Where D judges packs of rows, each logit has the gradient by its pack: [B / m, m N].
    """
    (gradient,) = torch.autograd.grad(per_sample(logits).sum(), x, create_graph=True)
    return gradient.reshape(len(logits), -1)


GAMMA = 0.0002  # times the pixels over the batch size


def gamma_of(x: Tensor, batch_size: int) -> float:
    """StyleGAN2-ADA's first guess at gamma for pictures x [B, C, H, W] (`--cfg=auto` of its authors' code, 2020).

    0.0002 H W / batch size: four times as much for twice the side, since the gradient is summed over pixels, and less
    for larger batches, whose gradients are less noisy. 0.0064 at 32 px and 0.41 at 256 px for batches of 32.
    """
    return GAMMA * x[0, 0].numel() / batch_size


class ZeroCentered:
    """gamma/2 E |grad_x D(x)|^2. `gamma=null` takes `gamma_of` the pictures and the batch."""

    player = "discriminator"

    def __init__(self, gamma: float | None, every: int) -> None:
        self.by_rule = gamma is None
        self.weight, self.every = (1.0 if gamma is None else gamma) / 2, every

    def penalty(self, logits: Tensor, x: Tensor, forward: Any) -> Tensor:
        value = input_gradient(logits, x).square().sum(1)
        return value * gamma_of(x, forward.game.batch_size) if self.by_rule else value


@regularizers.register("r1")
class R1(ZeroCentered):
    """gamma/2 E |grad_x D(x)|^2 on real x (Mescheder, Geiger and Nowozin 2018, arXiv 1801.04406, eq. 9).

    `every` > 1 applies it lazily, scaled to the same strength (Karras et al. 2020, arXiv 1912.04958, appendix B).
    `gamma=null` is StyleGAN2-ADA's rule, 0.0002 times the pixels over the batch size.
    """

    probes = frozenset({"real"})

    def __init__(self, *, gamma: Weight | None = 1.0, every: Positive = 1) -> None:
        super().__init__(gamma, every)

    def __call__(self, forward: Any) -> Tensor:
        return self.penalty(forward.real_logits, forward.real, forward)


@regularizers.register("r2")
class R2(ZeroCentered):
    """gamma/2 E |grad_x D(x)|^2 on fake x = G(z) (Mescheder, Geiger and Nowozin 2018, arXiv 1801.04406, eq. 10).

    `every` and `gamma=null` as in r1.
    """

    probes = frozenset({"fake"})

    def __init__(self, *, gamma: Weight | None = 1.0, every: Positive = 1) -> None:
        super().__init__(gamma, every)

    def __call__(self, forward: Any) -> Tensor:
        return self.penalty(forward.fake_logits, forward.fake, forward)


@regularizers.register("gradient_penalty")
class GradientPenalty:
    """weight E (|grad_x D(x)| - target)^2 at x = e real + (1 - e) fake, e uniform in [0, 1) for each row.

    Gulrajani et al. 2017, arXiv 1704.00028, eq. 3. With `one_sided` only norms above the target are penalized: WGAN-LP
    (Petzka et al. 2018, arXiv 1709.08894). With labels, x has the label of the real row.
    """

    player = "discriminator"
    probes = frozenset({"interpolate"})

    def __init__(
        self, *, weight: Weight = 10.0, target: Weight = 1.0, one_sided: bool = False, every: Positive = 1
    ) -> None:
        self.weight, self.every, self.target, self.one_sided = weight, every, target, one_sided

    def __call__(self, forward: Any) -> Tensor:
        real, fake = forward.real.detach(), forward.fake.detach()
        share = forward.draw("gradient_penalty", *[1] * (real.dim() - 1), kind="uniform")
        x = forward.probe("interpolate", fake + share * (real - fake))
        norm = input_gradient(forward.judge(x, forward.real_label, "interpolate").logits, x).norm(dim=1)
        excess = norm - self.target
        return (excess.relu() if self.one_sided else excess).square()


@regularizers.register("dragan")
class DRAGAN:
    """weight E (|grad_x D(x)| - target)^2 at x = real + noise (Kodali et al. 2017, arXiv 1705.07215).

    `noise` is the standard deviation of normal noise, in the data's units; images are in [-1, 1]. With labels, x has
    the label of the real row.
    """

    player = "discriminator"
    probes = frozenset({"perturbed"})

    def __init__(self, *, weight: Weight = 10.0, target: Weight = 1.0, noise: Rate = 0.1, every: Positive = 1) -> None:
        self.weight, self.every, self.target, self.noise = weight, every, target, noise

    def __call__(self, forward: Any) -> Tensor:
        real = forward.real.detach()
        x = forward.probe("perturbed", real + self.noise * forward.draw("dragan", *real.shape[1:]))
        gradient = input_gradient(forward.judge(x, forward.real_label, "perturbed").logits, x)
        return (gradient.norm(dim=1) - self.target).square()
