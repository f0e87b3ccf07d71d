"""Instance noise: what the discriminator sees begins blurred and becomes sharp."""

from __future__ import annotations

from torch import Tensor

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.registry import Positive, Rate, augmentations


@augmentations.register("instance_noise")
class InstanceNoise:
    """Adds Gaussian noise to samples [B, ...], real and fake, whose deviation falls from `std` to 0 over `images`.

    The distributions then overlap from the start (Sønderby et al. 2017, arXiv 1610.04490, section 3.1; Arjovsky and
    Bottou 2017, arXiv 1701.04862, section 3). The fall is linear in the real images shown, and the samples' own units
    are the unit of `std`: pixels lie in [-1, 1].
    """

    def __init__(self, *, std: Rate = 0.5, images: Positive = 100_000) -> None:
        self.std, self.images = std, images

    def __call__(self, forward: ForwardPass, samples: Tensor, stream: str) -> Tensor:
        std = self.std * (1 - forward.game.images / self.images)
        return samples + std * forward.draw(f"instance_noise/{stream}", *samples.shape[1:]) if std > 0 else samples
