"""The bottleneck of variational autoencoders: a Gaussian posterior, held near to the standard normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gan_lab.bottlenecks import Bottleneck, Code, Draw
from gan_lab.registry import Positive, Weight, bottlenecks

STREAM = "posterior"
LOG_VARIANCES = (-30.0, 20.0)  # as LDM clamps them


@bottlenecks.register("kl")
class KL(Bottleneck):
    """z = mu + sigma e with e ~ N(0, 1), and KL(N(mu, sigma^2) | N(0, 1)) as the penalty.

    Kingma and Welling 2013, arXiv 1312.6114, appendix B; with a small weight, KL-regularized latents of Rombach et al.
    2022, arXiv 2112.10752, section 3.1. The penalty is the mean over latent numbers, in nats, where their code adds
    both it and the pixels' error up. Without noise z is mu. Bits of a picture: its whole divergence, which is what
    coding it with the prior costs (bits back: Hinton and van Camp 1993).
    """

    def __init__(self, *, channels: Positive = 4, weight: Weight = 1e-3) -> None:
        super().__init__(2 * channels, channels, penalty="kl", weight=weight)

    def forward(self, encoded: Tensor, draw: Draw | None = None) -> Code:
        mean, log_variance = encoded.float().chunk(2, dim=1)
        log_variance = log_variance.clamp(*LOG_VARIANCES)
        nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1)
        noise = None if draw is None else draw(STREAM, *mean.shape[1:])
        latent = mean if noise is None else torch.addcmul(mean, (0.5 * log_variance).exp(), noise)
        return Code(latent, mean, nats.sum(1) / math.log(2), nats.mean(1))

    def snap(self, continuous: Tensor) -> Tensor:
        return continuous
