"""Adversarial losses: elementwise functions of logits of any shape. The loop averages them.

`forward` has `real_logits` and `fake_logits`, [B] or maps [B, ...]; a larger logit always means more real. Each player
minimizes its half. `boundary` is the logit at which D judges real and fake equally likely, or None where a single logit
has no such meaning.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import relu, softplus

from gan_lab.registry import losses


@losses.register("minimax")
class Minimax:
    """The minimax game (Goodfellow et al. 2014, arXiv 1406.2661, eq. 1), as binary cross-entropy with logits.

    D(x) = sigmoid(logits) is the probability that x is real. D minimizes -log D(x) - log(1 - D(G(z))); G minimizes
    log(1 - D(G(z))), whose gradient vanishes where D is sure.
    """

    boundary = 0.0

    def discriminator(self, forward: Any) -> Tensor:
        return softplus(-forward.real_logits) + softplus(forward.fake_logits)

    def generator(self, forward: Any) -> Tensor:
        return -softplus(forward.fake_logits)


@losses.register("non_saturating")
class NonSaturating:
    """The same game with flipped labels for G (Goodfellow et al. 2014, section 3): G minimizes -log D(G(z))."""

    boundary = 0.0

    def discriminator(self, forward: Any) -> Tensor:
        return softplus(-forward.real_logits) + softplus(forward.fake_logits)

    def generator(self, forward: Any) -> Tensor:
        return softplus(-forward.fake_logits)


@losses.register("least_squares")
class LeastSquares:
    """D minimizes ((D(x) - b)^2 + (D(G(z)) - a)^2) / 2; G minimizes (D(G(z)) - c)^2 / 2.

    Mao et al. 2017, arXiv 1611.04076, eq. 2, with D(x) the logit itself; a is `fake_target`, b `real_target` and c
    `generator_target`. Raises ValueError where b is not above a: a larger logit would not mean more real.
    """

    def __init__(self, *, fake_target: float = 0.0, real_target: float = 1.0, generator_target: float = 1.0) -> None:
        if not fake_target < real_target:
            raise ValueError(
                f"loss.real_target={real_target} must be larger than loss.fake_target={fake_target}: a larger logit "
                "means more real"
            )
        self.fake_target, self.real_target, self.generator_target = fake_target, real_target, generator_target
        self.boundary = (fake_target + real_target) / 2

    def discriminator(self, forward: Any) -> Tensor:
        real, fake = forward.real_logits - self.real_target, forward.fake_logits - self.fake_target
        return (real.square() + fake.square()) / 2

    def generator(self, forward: Any) -> Tensor:
        return (forward.fake_logits - self.generator_target).square() / 2


@losses.register("hinge")
class Hinge:
    """D minimizes max(0, 1 - D(x)) + max(0, 1 + D(G(z))); G minimizes -D(G(z)).

    Lim and Ye 2017, arXiv 1705.02894; Miyato et al. 2018, arXiv 1802.05957, eq. 16 and 17. Samples that D judges
    correctly by a margin of one have no gradient.
    """

    boundary = 0.0

    def discriminator(self, forward: Any) -> Tensor:
        return relu(1 - forward.real_logits) + relu(1 + forward.fake_logits)

    def generator(self, forward: Any) -> Tensor:
        return -forward.fake_logits


@losses.register("wasserstein")
class Wasserstein:
    """D minimizes D(G(z)) - D(x); G minimizes -D(G(z)) (Arjovsky et al. 2017, arXiv 1701.07875, eq. 2, algorithm 1).

    It estimates a distance only if D is Lipschitz: use it with gradient_penalty, weight_clip or spectral norm.
    """

    boundary: float | None = None

    def discriminator(self, forward: Any) -> Tensor:
        return forward.fake_logits - forward.real_logits

    def generator(self, forward: Any) -> Tensor:
        return -forward.fake_logits


@losses.register("relativistic")
class Relativistic:
    """RpGAN: D minimizes -log sigmoid(D(x) - D(G(z))), G the same with real and fake exchanged.

    Jolicoeur-Martineau 2018, arXiv 1807.00734, section 4; Huang et al. 2024, arXiv 2501.05441, eq. 2: R3GAN, which uses
    it with r1 and r2. Row i of the real batch is paired with row i of the fake batch.
    """

    boundary: float | None = None

    def discriminator(self, forward: Any) -> Tensor:
        return softplus(forward.fake_logits - forward.real_logits)

    def generator(self, forward: Any) -> Tensor:
        return softplus(forward.real_logits - forward.fake_logits)
