"""StyleGAN2's discriminator: residual blocks, and the spread of a few samples as one more channel."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.generators.modulated import EPSILON, EqualizedConv, EqualizedLinear, Mapping, activated
from gan_lab.generators.stylegan2 import PIXELS, WIDEST
from gan_lab.layers import DiscriminatorConditioning, ImageSize, Verdict, conditioned_on, sides, widening
from gan_lab.registry import Depth, Positive, discriminators


def with_deviation(x: Tensor, group: int) -> Tensor:
    """Maps [B, C, H, W] with one more channel: how much the samples of a group deviate, [B, C + 1, H, W].

    The standard deviation over the group, its mean over channels and pixels (Karras et al. 2018, arXiv 1710.10196,
    section 3). Groups are as large as `group` allows with all of one size; samples of a group lie apart in the batch.
    """
    count = len(x)
    size = next(size for size in range(min(group, count), 0, -1) if count % size == 0)
    members = x.reshape(size, count // size, *x.shape[1:])
    variance = (members - members.mean(0)).square().mean(0)  # several times as fast as `var` over the first dimension
    deviation = (variance + EPSILON).sqrt().mean((1, 2, 3))
    return torch.cat([x, deviation.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)


class Block(nn.Module):
    """Two 3 x 3 convolutions, the second one halving the map: [B, C, 2H, 2W] to [B, K, H, W]."""

    def __init__(self, inside: int, outside: int, *, residual: bool) -> None:
        super().__init__()
        self.first = EqualizedConv(inside, inside, 3)
        self.second = EqualizedConv(inside, outside, 3, halving=True)
        self.shortcut = EqualizedConv(inside, outside, 1, bias=False, halving=True) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        maps = activated(self.second(activated(self.first(x))))
        return maps if self.shortcut is None else (maps + self.shortcut(x)) * math.sqrt(0.5)


@discriminators.register("stylegan2")
class StyleGAN2Discriminator(nn.Module):
    """Pictures [B, C, H, W] to logits [B] (Karras et al. 2020, arXiv 1912.04958, section 4.1).

    `width` channels at full size, by default as many as the paper's config F has, doubled at every halving, up to 512.
    28,864,129 parameters at 256 px with 3 channels. 28 px, and 32 px and more. `residual=false` leaves the shortcuts
    out, as StyleGAN2-ADA does for CIFAR-10 (Karras et al. 2020, arXiv 2006.06676). `deviation_group` is how many
    samples at most have their deviation as a channel.

    With `projection`, the logit is an inner product with the class's embedding, mapped as G's styles are, as in
    StyleGAN2-ADA. The features are those of the layer before the last.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive | None = None,
        residual: bool = True,
        deviation_group: Positive = 4,
        mapping_layers: Depth = 8,
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning, self.group = conditioning, deviation_group
        classes = conditioned_on(num_classes, conditioning, "discriminator")
        width = width or min(PIXELS // min(sides(image_size)), WIDEST)
        (height, breadth), channels = widening(image_size, width, WIDEST)
        last = channels[0]
        self.input = EqualizedConv(image_channels, channels[-1], 1)
        self.blocks = nn.Sequential(*(Block(a, b, residual=residual) for a, b in pairwise(reversed(channels))))
        self.conv = EqualizedConv(last + 1, last, 3)
        self.dense = EqualizedLinear(last * height * breadth, last)
        projects = conditioning == "projection"
        self.output = EqualizedLinear(last, last if projects else 1)
        self.classes = Mapping(0, classes, last, mapping_layers) if projects else None
        self.verdict = Verdict(last, num_classes, "none" if projects else conditioning)

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        maps = self.blocks(activated(self.input(image)))
        maps = activated(self.conv(with_deviation(maps, self.group)))
        features = activated(self.dense(maps.flatten(1)))
        output: Tensor = self.output(features)
        if self.classes is None:
            logits = output.squeeze(1)
        else:
            logits = (output * self.classes(None, label)).sum(1) / math.sqrt(output.shape[1])
        return self.verdict(logits, features, label)
