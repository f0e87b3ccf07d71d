"""Vector quantization: latents are entries of a codebook that is learned.

Sixty lines of our own: vector-quantize-pytorch moves its codebook in the forward pass, which the discriminator's phase
runs, too, and a step that is skipped could not be undone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, one_hot

from gan_lab.bottlenecks import DECAY, Bottleneck, Code, Draw
from gan_lab.core.forward_pass import key
from gan_lab.registry import Positive, Share, Weight, bottlenecks


@bottlenecks.register("vq")
class VQ(Bottleneck):
    """Each position's vector becomes the nearest of `codes` entries; gradients pass straight through.

    The penalty is the commitment, |z - sg(e)|^2 (van den Oord et al. 2017, arXiv 1711.00937, eq. 3; Esser et al. 2021,
    arXiv 2012.09841, eq. 4). An entry is the running mean of the vectors that chose it (appendix A.1 of the former,
    VQ-VAE-2), not a parameter. One that is chosen less than `dead` times as often as the average is replaced by a
    vector of the batch (Dhariwal et al. 2020, arXiv 2005.00341, section 3.1), and counts as if it were chosen twice as
    often as that: unless it is, its turn is over after some 70 steps. At first all entries are dead.
    """

    codebook: Tensor  # [codes, channels]
    count: Tensor  # [codes]: how often a step chooses an entry
    total: Tensor  # [codes, channels]: the sum of the vectors that do

    def __init__(
        self, *, codes: Positive = 256, channels: Positive = 8, weight: Weight = 0.25, dead: Share = 0.03
    ) -> None:
        super().__init__(channels, channels, penalty="commitment", weight=weight, size=codes)
        self.codes, self.dead = codes, dead
        self.register_buffer("codebook", torch.randn(codes, channels))
        self.register_buffer("count", torch.zeros(codes))
        self.register_buffer("total", torch.zeros(codes, channels))

    def forward(self, encoded: Tensor, draw: Draw | None = None) -> Code:
        encoded = encoded.float()
        indices = self._nearest(encoded)
        entries = self._entries(indices)
        latent = encoded + (entries - encoded).detach()
        penalty = (encoded - entries).square().flatten(1).mean(1)
        bits = torch.full_like(penalty, indices[0].numel() * math.log2(self.codes))
        return Code(latent, encoded, bits, penalty, indices)

    def snap(self, continuous: Tensor) -> Tensor:
        return self._entries(self._nearest(continuous.float()))

    def _nearest(self, vectors: Tensor) -> Tensor:
        """Indices [B, h, w] of the entries nearest to vectors [B, C, h, w]. |v|^2 is the same for all entries."""
        flat = vectors.detach().movedim(1, -1)
        distances = self.codebook.square().sum(1) - 2 * flat @ self.codebook.t()
        return distances.argmin(-1)

    def _entries(self, indices: Tensor) -> Tensor:
        return embedding(indices, self.codebook).movedim(-1, 1)

    def update(self, vectors: Tensor, codes: Sequence[Code], game: Any) -> None:
        """The codebook's move, and the revival of dead entries by vectors that are keyed by the step."""
        indices = torch.cat([code.indices.flatten() for code in codes if code.indices is not None])
        chosen = one_hot(indices, self.codes).to(vectors.dtype)
        count, total = chosen.sum(0), chosen.t() @ vectors
        game.runtime.average([count, total])
        for mean in (count, total):
            mean *= game.runtime.world  # of the whole batch, for any number of processes
        self.count.lerp_(count, 1 - DECAY)
        self.total.lerp_(total, 1 - DECAY)
        average = len(vectors) * game.runtime.world / self.codes
        dead = self.count < self.dead * average if game.step else torch.ones_like(self.count, dtype=torch.bool)
        random = game.runtime.generator(key(game.seed, "revival", game.step))
        order = torch.rand(len(vectors), generator=random, device=vectors.device).argsort()
        fresh = vectors[order.repeat(-(-self.codes // len(order)))[: self.codes]]
        game.runtime.sync_parameters([fresh])  # all ranks take rank 0's
        probation = 2 * max(self.dead, 1e-3) * average
        self.count.copy_(torch.where(dead, probation, self.count))
        self.total.copy_(torch.where(dead[:, None], probation * fresh, self.total))
        self.codebook.copy_(self.total / self.count[:, None])
