"""No augmentation, and mirroring."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.layers import ImageSize
from gan_lab.registry import Share, augmentations


@augmentations.register("none")
class Identity:
    """No augmentation: D gets the images themselves."""

    def __call__(self, forward: ForwardPass, images: Tensor, stream: str) -> Tensor:
        return images


@augmentations.register("flip")
class Flip:
    """Mirrors images [B, C, H, W] left to right with probability `p`, with separate draws for real and fake images.

    The parameter `image_size` is only there so that data of points, which have none, are refused.
    """

    def __init__(self, image_size: ImageSize, *, p: Share = 0.5) -> None:
        self.p = p

    def __call__(self, forward: ForwardPass, images: Tensor, stream: str) -> Tensor:
        mirrored = forward.draw(f"flip/{stream}", 1, 1, 1, kind="uniform") < self.p
        return torch.where(mirrored, images.flip(3), images)
