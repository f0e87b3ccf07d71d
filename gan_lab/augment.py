"""What the discriminator sees: augmentations of its inputs, real and fake alike, differentiable for the generator."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.layers import ImageSize
from gan_lab.registry import Share, augmentations


@augmentations.register("none")
class Identity:
    """D sees the images themselves."""

    def __call__(self, forward: ForwardPass, images: Tensor, stream: str) -> Tensor:
        return images


@augmentations.register("flip")
class Flip:
    """Mirrors images [B, C, H, W] left to right with probability `p`, real and fake ones by draws of their own.

    It asks for an image size so that points, which have none, are refused.
    """

    def __init__(self, image_size: ImageSize, *, p: Share = 0.5) -> None:
        self.p = p

    def __call__(self, forward: ForwardPass, images: Tensor, stream: str) -> Tensor:
        mirrored = forward.draw(f"flip/{stream}", 1, 1, 1, kind="uniform") < self.p
        return torch.where(mirrored, images.flip(3), images)
