"""Finite scalar quantization: every number of a latent is rounded to one of a few levels. There is no codebook."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gan_lab.bottlenecks import Bottleneck, Code, Draw
from gan_lab.registry import Positive, bottlenecks

EPS = 1e-3  # keeps a bounded number from rounding to a level too many, as in the paper's code


@bottlenecks.register("fsq")
class FSQ(Bottleneck):
    """Channel i is bounded by tanh and rounded to `levels[i]` values in [-1, 1]; gradients pass straight through.

    Mentzer et al. 2023, arXiv 2309.15505, section 3.1 and the code of appendix A.1. The implied codebook has the
    product of the levels as entries: (8, 6, 5) has 240, which stands for 2^8 in the paper's table 1. No penalty, no
    state. Raises ValueError for fewer than two levels.
    """

    middle: Tensor  # levels // 2: the number of the level that is 0
    most: Tensor  # the highest level, counted from that
    basis: Tensor  # what a level of each channel adds to the index
    scale: Tensor  # bounded numbers are  scale tanh(x + shift) - offset
    offset: Tensor
    shift: Tensor

    def __init__(self, *, levels: tuple[Positive, ...] = (8, 6, 5)) -> None:
        if min(levels, default=0) < 2:
            raise ValueError(f"bottleneck.levels={list(levels)}: each channel needs at least 2 levels, and one channel")
        super().__init__(len(levels), len(levels), size=math.prod(levels))
        self.levels = tuple(levels)
        number, shape = torch.tensor(levels), (-1, 1, 1)
        self._constant("middle", (number // 2).float().view(shape))
        self._constant("most", (number - 1 - number // 2).float().view(shape))
        self._constant("basis", torch.tensor([math.prod(levels[:i]) for i in range(len(levels))]).view(shape))
        # An even number of levels has no middle: it is bounded half a level lower, so that 0 is still one of them.
        scale = (number - 1) * (1 + EPS) / 2
        offset = torch.where(number % 2 == 0, 0.5, 0.0)
        self._constant("scale", scale.view(shape))
        self._constant("offset", offset.view(shape))
        self._constant("shift", torch.atanh(offset / scale).view(shape))

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def forward(self, encoded: Tensor, draw: Draw | None = None) -> Code:
        bounded = (encoded.float() + self.shift).tanh() * self.scale - self.offset
        rounded = bounded + (bounded.round() - bounded).detach()
        indices = ((bounded.detach().round() + self.middle).long() * self.basis).sum(1)
        bits = bounded.new_full((len(bounded),), indices[0].numel() * math.log2(math.prod(self.levels)))
        return Code(rounded / self.middle, bounded / self.middle, bits, indices=indices)

    def snap(self, continuous: Tensor) -> Tensor:
        levels = (continuous * self.middle).round()
        return torch.minimum(torch.maximum(levels, -self.middle), self.most) / self.middle
