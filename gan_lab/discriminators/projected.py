"""Projected GAN's discriminator: small heads judge randomly mixed features of a frozen, trained network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.discriminators.frozen import eyes, fixed
from gan_lab.layers import (
    DiscriminatorConditioning,
    ImageSize,
    Initialization,
    Normalization,
    Verdict,
    norm2d,
    prepare,
    pyramid,
    sides,
)
from gan_lab.registry import Positive, discriminators

KERNEL = 4  # pixels a side that a logit of the last map sees


class Mixing(nn.Module):
    """Fixed random maps: 1 x 1 convolutions mix channels, then 3 x 3 ones mix scales, from coarse to fine.

    Sauer et al. 2021, arXiv 2111.01007, section 3.2, both with Kaiming's initialization (He et al. 2015, 1502.01852).
    """

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.channels = nn.ModuleList(nn.Conv2d(inside, width, 1) for inside in channels)
        self.scales = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        for layer in (*self.channels, *self.scales):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps [B, C, h, w] of every scale, finest first, to as many [B, width, h, w]."""
        mixed: list[Tensor] = []
        for x, channels, scales in reversed([*zip(maps, self.channels, self.scales, strict=True)]):
            h = channels(x)
            if mixed:
                h = h + interpolate(mixed[0], size=h.shape[2:], mode="bilinear", align_corners=False)
            mixed.insert(0, scales(h))
        return mixed


class Head(nn.Module):
    """A map [B, C, h, w], halved some times by strided convolutions, to logits, one for each window of 4 x 4."""

    def __init__(
        self,
        channels: int,
        halvings: int,
        num_classes: int | None,
        normalization: Normalization,
        conditioning: DiscriminatorConditioning,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers += [
                nn.Conv2d(channels, channels, 4, stride=2, padding=1, bias=normalization == "none"),
                norm2d(normalization, channels),
                nn.LeakyReLU(0.2),
            ]
        self.layers, self.last = nn.Sequential(*layers), nn.Conv2d(channels, 1, KERNEL, bias=False)
        self.seen = nn.AvgPool2d(KERNEL, stride=1)  # the features under each logit
        self.verdict = Verdict(channels, num_classes, conditioning)

    def forward(self, x: Tensor, label: Tensor | None) -> DiscriminatorOutput:
        h = self.layers(x)
        return self.verdict(self.last(h).squeeze(1), self.seen(h), label)


@discriminators.register("projected")
class ProjectedDiscriminator(nn.Module):
    """Images [B, C, H, W] to logits [B, heads, h, w], a head for each scale (Sauer et al. 2021, arXiv 2111.01007).

    `extractor` is one that ships, which sees each channel as a grey picture, or `timm/MODEL`, a network of timm by its
    name (the paper's is timm/tf_efficientnet_lite0), with `weights` from a file of safetensors instead of a download.
    Its maps are mixed at random (`Mixing`) and judged by heads of `width` channels, halved until 4 to 7 px are left.
    `auxiliary` classifies by the finest head alone. The extractor and the mixing never learn. The extractor is not in
    checkpoints, which have its hash alone. 28 px and 32 to 256 px.

    The extractor that a run is scored by should not be the one that judges: its distances would be too good. For
    fashion_mnist, whose scores are by `fashion_mnist`, the default is right. Raises ValueError for an extractor that
    cannot be had or has no stages, and where a checkpoint was trained with other weights of it.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        extractor: str = "mnist5k",
        weights: str | None = None,
        width: Positive = 64,
        normalization: Normalization = "batch",
        spectral_norm: bool = True,
        initialization: Initialization = "default",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning, self.extractor = conditioning, extractor
        pyramid(image_size)  # the sizes that the other networks take
        seeing = eyes(extractor, weights)
        with torch.no_grad():  # of one black picture: how many channels each map has, and its size
            maps = seeing.eval()(torch.zeros(1, image_channels, *sides(image_size)) - 1)
        if min(sizes := [min(x.shape[2:]) for x in maps]) < KERNEL:
            least = min(sides(image_size)) * KERNEL // min(sizes)
            raise ValueError(f"image_size={image_size}: discriminator=projected wants at least {least} px")
        self.weights_hash = seeing.weights_hash
        self.stages = fixed(seeing, saved=False)
        self.mixing = fixed(Mixing([x.shape[1] for x in maps], width), saved=True)
        conditionings = [conditioning, *["none" if conditioning == "auxiliary" else conditioning] * (len(maps) - 1)]
        self.heads = nn.ModuleList(
            Head(width, (size // KERNEL).bit_length() - 1, num_classes, normalization, told)
            for size, told in zip(sizes, conditionings, strict=True)
        )
        prepare(self.heads, initialization, spectral_norm)

    def train(self, mode: bool = True) -> ProjectedDiscriminator:
        super().train(mode)
        self.stages.eval()  # its own statistics, should it have any
        return self

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        maps = self.stages(image)
        judged = [head(x, label) for head, x in zip(self.heads, self.mixing(maps), strict=True)]
        logits = torch.stack([output.logits for output in judged], dim=1)
        return DiscriminatorOutput(logits, judged[0].class_logits, [output.features[0] for output in judged])

    def get_extra_state(self) -> Tensor:
        """The hash of the extractor's weights, uint8 [8]."""
        return torch.frombuffer(bytearray.fromhex(self.weights_hash), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        known = bytes(state.tolist()).hex()
        if known != self.weights_hash:
            raise ValueError(
                f"discriminator=projected: the checkpoint was trained with extractor {self.extractor} of hash {known}, "
                f"and this one's is {self.weights_hash}; use the version of that run, or train anew"
            )
