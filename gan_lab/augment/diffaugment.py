"""DiffAugment: colours, shifts and holes, drawn alike from the first step to the last."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gan_lab.augment.pixels import round_half, take, whole
from gan_lab.core.forward_pass import ForwardPass
from gan_lab.layers import ImageSize
from gan_lab.registry import augmentations


@augmentations.register("diffaugment")
class DiffAugment:
    """Differentiable augmentation of images [B, C, H, W] in [-1, 1] (Zhao et al. 2020, arXiv 2006.10738, section 3).

    The policy's parts are applied in order, with separate draws for real and fake images:
    color: brightness shifted by up to 0.5, saturation scaled by 0 to 2, contrast by 0.5 to 1.5;
    translation: by up to an eighth of the image in each direction, filled with zeros (mid-grey);
    cutout: a window of half the image's height and width is set to zero.
    Raises ValueError where the policy is empty.
    """

    def __init__(
        self,
        image_size: ImageSize,
        *,
        policy: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation", "cutout"),
    ) -> None:
        if not policy:
            raise ValueError("augment.policy=[]: it names nothing; choose augment=none to augment nothing")
        self.policy = policy

    def __call__(self, forward: ForwardPass, images: Tensor, stream: str) -> Tensor:
        parts = [PARTS[name] for name in self.policy]
        numbers = forward.draw(f"diffaugment/{stream}", sum(count for _, count in parts), kind="uniform")
        for part, count in parts:
            images, numbers = part(images, numbers[:, :count]), numbers[:, count:]
        return images


def color(images: Tensor, uniform: Tensor) -> Tensor:
    """Change brightness, saturation and contrast, in this order, by uniform numbers [B, 3].

    All three are affine in the image, its mean over channels and its overall mean, so together they are one sum: with
    brightness b, saturation s and contrast c,  c s x + c (1 - s) grey + (1 - c) mean + b.
    """
    images = images.to(torch.promote_types(images.dtype, uniform.dtype))  # a rounded bf16 mean would shift whole images
    brightness, saturation, contrast = uniform.to(images.dtype).T.reshape(3, -1, 1, 1, 1)
    b, s, c = brightness - 0.5, saturation * 2, contrast + 0.5
    grey = images.mean(1, keepdim=True)
    rest = grey * (c * (1 - s)) + ((1 - c) * grey.mean((2, 3), keepdim=True) + b)
    return torch.addcmul(rest, images, c * s)


def translation(images: Tensor, uniform: Tensor) -> Tensor:
    """Shift by whole pixels, up to an eighth of the image, by uniform numbers [B, 2]. The gap is filled with zeros."""
    (rows, row_inside), (columns, column_inside) = (
        _shifted(size, whole(uniform[:, i], -round_half(size / 8), round_half(size / 8)))
        for i, size in enumerate(images.shape[2:])
    )
    return take(images, rows, columns) * (row_inside[:, None, :, None] & column_inside[:, None, None, :])


def _shifted(size: int, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The source of each place [B, size] of a shifted line, clipped to the line, and whether it was inside."""
    source = torch.arange(size, device=shift.device) - shift[:, None]
    clipped = source.clamp(0, size - 1)
    return clipped, source == clipped


def cutout(images: Tensor, uniform: Tensor) -> Tensor:
    """Zeros in a window of half the height and width, placed by uniform numbers [B, 2]; its center is in the image."""
    rows, columns = (_window(size, round_half(size / 2), uniform[:, i]) for i, size in enumerate(images.shape[2:]))
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _window(size: int, length: int, uniform: Tensor) -> Tensor:
    """Whether each place [B, size] of a line is in a window. A window of even length is centered between two places."""
    start = whole(uniform, 0, size - length % 2) - length // 2
    place = torch.arange(size, device=uniform.device) - start[:, None]
    return (place >= 0) & (place < length)


PARTS = {
    "color": (color, 3),
    "translation": (translation, 2),
    "cutout": (cutout, 2),
}  # name -> (function, how many uniform numbers it takes)
