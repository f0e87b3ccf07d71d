"""Adversarial losses: pure maths on logits of any shape, elementwise; the loop averages.

`forward` offers `real_logits` and `fake_logits`; D(x) = sigmoid(logits) is the probability that x is real. Both halves
are minimized, each by its player.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from gan_lab.registry import losses


@losses.register("minimax")
class Minimax:
    """The minimax game (Goodfellow et al. 2014, arXiv 1406.2661, eq. 1), as binary cross-entropy with logits.

    D minimizes -log D(x) - log(1 - D(G(z))); G minimizes log(1 - D(G(z))), which saturates where D is sure.
    """

    def discriminator(self, forward: Any) -> Tensor:
        return softplus(-forward.real_logits) + softplus(forward.fake_logits)

    def generator(self, forward: Any) -> Tensor:
        return -softplus(forward.fake_logits)


@losses.register("non_saturating")
class NonSaturating:
    """The same game with flipped labels for G (Goodfellow et al. 2014, section 3): G minimizes -log D(G(z))."""

    def discriminator(self, forward: Any) -> Tensor:
        return softplus(-forward.real_logits) + softplus(forward.fake_logits)

    def generator(self, forward: Any) -> Tensor:
        return softplus(-forward.fake_logits)
