"""Regularizers: each a term of one player. Chosen as a list, `regularizer=[r1] regularizer.r1.gamma=1`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan_lab.core.types import per_sample
from gan_lab.registry import Positive, Weight, regularizers


@regularizers.register("r1")
class R1:
    """gamma/2 E |grad_x D(x)|^2 on real x (Mescheder, Geiger and Nowozin 2018, arXiv 1801.04406, eq. 9).

    `every` > 1 applies it lazily, scaled to the same strength (Karras et al. 2020, arXiv 1912.04958, appendix B).
    """

    player = "discriminator"
    probes = frozenset({"real"})

    def __init__(self, *, gamma: Weight = 1.0, every: Positive = 1) -> None:
        self.weight, self.every = gamma / 2, every

    def __call__(self, forward: Any) -> Tensor:
        (gradient,) = torch.autograd.grad(per_sample(forward.real_logits).sum(), forward.real, create_graph=True)
        return gradient.square().flatten(1).sum(1)
