"""BigGAN's generators: each block's normalizations are modulated by latents and a shared embedding of the class."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_lab.blocks.attention import SelfAttention, attended
from gan_lab.blocks.bottleneck import Bottleneck
from gan_lab.layers import (
    ConditionalNorm,
    GeneratorConditioning,
    ImageSize,
    Initialization,
    Normalization,
    Residual,
    conditioned_on,
    norm2d,
    norm_classes,
    prepare,
    pyramid,
)
from gan_lab.registry import Positive, generators

# Channels of the base and after each doubling, times `width`, by the number of doublings: the authors' tables.
TIMES = {
    1: (4, 4), 2: (4, 4, 4), 3: (4, 4, 4, 4),
    4: (16, 16, 8, 4, 2), 5: (16, 16, 8, 4, 2, 1), 6: (16, 16, 8, 8, 4, 2, 1),
}  # fmt: skip
MOST = 64  # pixels of the map with attention
Norm = Callable[[int], nn.Module]


class Gain(nn.Linear):
    """1 + W c."""

    def forward(self, condition: Tensor) -> Tensor:
        return 1 + super().forward(condition)


class ModulatedGenerator(nn.Module):
    """A linear layer, then blocks, each with a condition [B, n] for its normalizations.

    A condition is a part of the latents, followed by the class's embedding with conditioning=batch_norm. The linear
    layer sees a part of the latents, too; with conditioning=concat, it is the only one that gets the embedding. A
    subclass says with which blocks it doubles a map, and how it divides the latents.
    """

    always_embedded: ClassVar[bool]  # whether the linear layer gets the embedding with conditioning=batch_norm, too

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: int,
        width: int,
        embedding_dim: int,
        attention: tuple[int, ...] | None,
        normalization: Normalization,
        spectral_norm: bool,
        initialization: Initialization,
        conditioning: GeneratorConditioning,
    ) -> None:
        super().__init__()
        self.latent_dim, self.conditioning = latent_dim, conditioning
        classes = conditioned_on(num_classes, conditioning, "generator")
        norm_classes(classes, conditioning, normalization)  # refuses batch_norm without batch norm
        base, doublings = pyramid(image_size, most=max(TIMES))
        channels = [width * times for times in TIMES[doublings]]
        maps = [min(base) << k for k in range(1, doublings + 1)]
        after = attended(maps, attention, most=min(MOST, maps[-1] // 2), player="generator")
        embedded = embedding_dim if classes else 0
        self.doublings = doublings
        first, *rest = (part.shape[1] for part in self.split(torch.empty(1, latent_dim)))
        if not all(rest):
            raise ValueError(
                f"generator.latent_dim={latent_dim}: each block takes a part of the latents; give at least "
                f"{len(rest) + 1} at image_size={image_size}"
            )
        sizes = (size + (embedded if conditioning == "batch_norm" else 0) for size in rest)

        def norm(channels: int, condition: int) -> ConditionalNorm:
            tables = [kind(condition, channels, bias=False) for kind in (Gain, nn.Linear)]
            return ConditionalNorm(norm2d(normalization, channels, affine=False), *tables)

        sees_class = conditioning == "concat" or self.always_embedded
        self.input = nn.Linear(first + (embedded if sees_class else 0), channels[0] * math.prod(base))
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for k, (a, b) in enumerate(pairwise(channels)):
            for make in self.stage(a, b):
                self.blocks.append(make(functools.partial(norm, condition=next(sizes))))
            if k in after:
                self.attention[str(len(self.blocks) - 1)] = SelfAttention(b)
        self.output = nn.Sequential(
            norm2d(normalization, channels[-1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[-1], image_channels, 3, padding=1),
            nn.Tanh(),
        )
        self.unflatten = nn.Unflatten(1, (channels[0], *base))
        prepare(self, initialization, spectral_norm)
        # Not normalized by its spectrum: the authors found that it cripples the generator.
        self.embedding = nn.Embedding(classes, embedding_dim) if classes else None
        if self.embedding is not None:
            prepare(self.embedding, initialization, spectral_norm=False)

    def split(self, z: Tensor) -> Sequence[Tensor]:
        """The parts of the latents: the linear layer's, then one for each block."""
        raise NotImplementedError

    def stage(self, inside: int, outside: int) -> Sequence[Callable[[Norm], nn.Module]]:
        """What makes the blocks of one doubling, from their normalization by channels."""
        raise NotImplementedError

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        first, *conditions = self.split(z)
        if self.embedding is not None:
            embedded = self.embedding(label)
            if self.conditioning == "concat" or self.always_embedded:
                first = torch.cat([first, embedded], dim=1)
            if self.conditioning == "batch_norm":
                conditions = [torch.cat([condition, embedded], dim=1) for condition in conditions]
        h = self.unflatten(self.input(first))
        for i, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            h = block(h, condition)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
        made: Tensor = self.output(h)
        return made


@generators.register("biggan")
class BigGANGenerator(ModulatedGenerator):
    """Latents [B, latent_dim] to images [B, C, H, W] in [-1, 1] (Brock et al. 2019, arXiv 1809.11096, appendix B).

    The latents are divided evenly: the linear layer gets the first part, each block one of the others, from which its
    batch norms' gains and biases are computed; with conditioning=batch_norm, from the class's shared embedding as well.
    Widths are the authors' tables times `width`, the same for all blocks up to 56 px. Self-attention stands after the
    maps whose shorter side is in `attention`, by default the largest of at most 64 px that is smaller than the picture.
    70,433,988 parameters at 128 px, 3 channels and 1,000 classes. 28 px and 32 to 256 px.
    """

    always_embedded = False

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: Positive = 120,
        width: Positive = 96,
        embedding_dim: Positive = 128,
        attention: tuple[Positive, ...] | None = None,
        normalization: Normalization = "batch",
        spectral_norm: bool = True,
        initialization: Initialization = "orthogonal",
        conditioning: GeneratorConditioning = "none",
    ) -> None:
        super().__init__(
            image_size,
            image_channels,
            num_classes,
            latent_dim=latent_dim,
            width=width,
            embedding_dim=embedding_dim,
            attention=attention,
            normalization=normalization,
            spectral_norm=spectral_norm,
            initialization=initialization,
            conditioning=conditioning,
        )

    def split(self, z: Tensor) -> Sequence[Tensor]:
        return z.tensor_split(self.doublings + 1, dim=1)

    def stage(self, inside: int, outside: int) -> Sequence[Callable[[Norm], nn.Module]]:
        return [lambda norm: Residual(inside, outside, resample="up", norm=norm)]


@generators.register("biggan_deep")
class BigGANDeepGenerator(ModulatedGenerator):
    """BigGAN-deep: two bottlenecks for each doubling (Brock et al. 2019, arXiv 1809.11096, appendix B, table 7).

    The latents are not divided: with the class's embedding, they go to the linear layer and to every block. Otherwise
    as `biggan`. 50,244,484 parameters at 128 px, 3 channels and 1,000 classes.
    """

    always_embedded = True

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: Positive = 128,
        width: Positive = 128,
        embedding_dim: Positive = 128,
        attention: tuple[Positive, ...] | None = None,
        normalization: Normalization = "batch",
        spectral_norm: bool = True,
        initialization: Initialization = "orthogonal",
        conditioning: GeneratorConditioning = "none",
    ) -> None:
        super().__init__(
            image_size,
            image_channels,
            num_classes,
            latent_dim=latent_dim,
            width=width,
            embedding_dim=embedding_dim,
            attention=attention,
            normalization=normalization,
            spectral_norm=spectral_norm,
            initialization=initialization,
            conditioning=conditioning,
        )

    def split(self, z: Tensor) -> Sequence[Tensor]:
        return [z] * (2 * self.doublings + 1)

    def stage(self, inside: int, outside: int) -> Sequence[Callable[[Norm], nn.Module]]:
        return [
            lambda norm: Bottleneck(inside, inside, norm=norm),
            lambda norm: Bottleneck(inside, outside, resample="up", norm=norm),
        ]
