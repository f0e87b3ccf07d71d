"""A data set of random pictures of any size, registered for tests that must not need a real one."""

from __future__ import annotations

import torch

from gan_lab.datasets.store import Store, height_width
from gan_lab.registry import Positive, datasets


@datasets.register("toy_pictures")
class ToyPictures:
    """Smooth random blobs, uint8, the same ones each time; two classes."""

    num_classes = 2

    def __init__(
        self, *, image_size: Positive | tuple[Positive, Positive] = 32, image_channels: Positive = 1, num: Positive = 96
    ) -> None:
        self.sample_shape, self.num = (image_channels, *height_width(image_size)), num

    def load(self, split: str = "train") -> Store:
        random = torch.Generator().manual_seed(0)
        channels, *size = self.sample_shape
        coarse = torch.rand(self.num, channels, 4, 4, generator=random)
        images = torch.nn.functional.interpolate(coarse, size, mode="bilinear").mul(255).to(torch.uint8)
        label = torch.arange(self.num) % 2
        return Store({"sample": images.permute(0, 2, 3, 1).contiguous(), "label": label})
