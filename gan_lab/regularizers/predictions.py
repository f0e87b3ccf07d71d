"""Regularizers of D's logits and of its features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.core.types import per_sample
from gan_lab.registry import Share, Weight, regularizers


@regularizers.register("feature_matching")
class FeatureMatching:
    """weight |E f(x) - E f(G(z))|^2 for G, f being D's last features (Salimans et al. 2016, arXiv 1606.03498, 3.1).

    Maps of features [B, C, H, W] are matched elementwise. The means couple the batch: with micro-batches or several
    processes, each matches means of fewer rows, which are noisier.
    """

    player = "generator"
    probes: frozenset[str] = frozenset()
    every = 1  # it reads what the main phase computes
    needs = frozenset({"features"})  # of the discriminator's output

    def __init__(self, *, weight: Weight = 1.0) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        real, fake = forward.real_output.features[-1], forward.fake_output.features[-1]
        return (real.detach().float().mean(0) - fake.float().mean(0)).square().sum()


@regularizers.register("reconstruction")
class Reconstruction:
    """weight E sum |decoder(f) - T(x)| for D on real x (Liu et al. 2021, arXiv 2101.04775, eq. 2 and 4).

    D's decoders make pictures again from its maps f; T reduces or cuts the picture that D saw, augmented, to what a map
    should hold. For discriminators with decoders, such as `fastgan`. |.| is the mean absolute difference of pixels,
    where the authors' code has LPIPS, whose network must be downloaded.
    """

    player = "discriminator"
    probes: frozenset[str] = frozenset()
    every = 1  # it reads what the main phase computes
    needs = frozenset({"reconstruction"})  # of the discriminator, which reads the features of its own output

    def __init__(self, *, weight: Weight = 1.0) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        features = forward.real_output.features
        choice = forward.draw("reconstruction", kind="uniform")[: len(features[0])]
        pairs = forward.net("discriminator").reconstruct(features, choice)
        return torch.stack([per_sample((made.float() - shown).abs()) for made, shown in pairs]).sum(0)


@regularizers.register("lecam")
class LeCam(nn.Module):
    """weight (E (D(x) - a_fake)^2 + E (D(G(z)) - a_real)^2) for D (Tseng et al. 2021, arXiv 2104.03310, section 3).

    The anchors a_real and a_fake are exponential moving averages of D's mean logits, with the bias correction of Adam's
    moments (Kingma and Ba 2015, arXiv 1412.6980, section 3). They are updated once after each step, for any number of
    micro-batches. The first step has no anchors yet, and so no penalty. Logits that are not finite do not change the
    anchors.
    """

    player = "discriminator"
    probes: frozenset[str] = frozenset()
    every = 1  # it reads what the main phase computes
    anchors: Tensor  # [2]: of real and of fake logits
    steps: Tensor  # number of updates of the anchors

    def __init__(self, *, weight: Weight = 0.3, decay: Share = 0.99) -> None:
        super().__init__()
        if decay == 1:
            raise ValueError("regularizer.lecam.decay=1.0: anchors that never move; use less, such as 0.99")
        self.weight, self.decay = weight, decay
        self.register_buffer("anchors", torch.zeros(2))
        self.register_buffer("steps", torch.zeros(()))
        self._seen: dict[int, Tensor] = {}  # first row of a micro-batch -> mean logits [2]; of this step only

    def forward(self, forward: Any) -> Tensor:
        real, fake = forward.real_logits, forward.fake_logits
        self._seen[forward.rows.start] = torch.stack([real.detach().mean(), fake.detach().mean()])
        a_real, a_fake = self.anchors
        value = per_sample((real - a_fake).square()) + per_sample((fake - a_real).square())
        return value * (self.steps > 0)

    def after_step(self, forward: Any) -> None:
        mean = torch.stack(list(self._seen.values())).mean(0)
        self._seen.clear()
        forward.game.runtime.average([mean])
        # No branch for the first step or for logits that are not finite: the host must not wait for a value.
        finite = mean.isfinite().all()
        self.steps += finite
        rate = (1 - self.decay) / (1 - self.decay**self.steps).clamp(min=1 - self.decay)
        self.anchors.copy_(torch.where(finite, self.anchors.lerp(mean, rate), self.anchors))
