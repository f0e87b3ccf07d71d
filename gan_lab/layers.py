"""Blocks and options that several families share: normalization, conditioning, initialization, residual blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, one_hot
from torch.nn.utils.parametrizations import spectral_norm as normalize_spectrum

from gan_lab.core.types import DiscriminatorOutput

ImageSize = int | tuple[int, int]
Normalization = Literal["batch", "instance", "layer", "none"]
Initialization = Literal["default", "orthogonal", "xavier", "kaiming", "normal"]
GeneratorConditioning = Literal["none", "concat", "batch_norm"]
DiscriminatorConditioning = Literal["none", "projection", "auxiliary"]


# -- sizes -------------------------------------------------------------------------------------------------------------


def sides(image_size: ImageSize) -> tuple[int, int]:
    """(height, width)."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def pyramid(image_size: ImageSize, smallest: int = 4, most: int | None = None) -> tuple[tuple[int, int], int]:
    """((base height, base width), doublings): the small map from which strided layers reach an image size.

    The shorter side of the base is in [smallest, 2 smallest): 28 is 7 x 2^2, 32 is 4 x 2^3, (32, 64) is (4, 8) x 2^3.
    Raises ValueError, with sizes near it, for a size that is not an integer base doubled at least once, and for one
    that takes more than `most` doublings.

    >>> pyramid(64)
    ((4, 4), 4)
    """
    height, width = sides(image_size)
    doublings = max((min(height, width) // smallest).bit_length() - 1, 0)
    scale = 2**doublings
    if doublings < 1 or height % scale or width % scale:
        near = [size for size in range(2 * smallest, 257) if size % 2 ** ((size // smallest).bit_length() - 1) == 0]
        near = sorted(sorted(near, key=lambda size: abs(size - min(height, width)))[:4])
        raise ValueError(
            f"image_size={image_size}: strided layers cannot make this size; near it are {', '.join(map(str, near))}"
        )
    if most is not None and doublings > most:
        raise ValueError(
            f"image_size={image_size}: this architecture makes up to {smallest * 2**most} px; give a smaller size, or "
            "choose another one"
        )
    return (height // scale, width // scale), doublings


def widening(image_size: ImageSize, width: int, widest: int) -> tuple[tuple[int, int], list[int]]:
    """((base height, base width), channels of each size from the base up): `width` of them at full size.

    The number doubles at every halving, up to `widest`, or `width` where that is more. Raises ValueError as `pyramid`.

    >>> widening(64, 16, 64)
    ((4, 4), [64, 64, 64, 32, 16])
    """
    base, doublings = pyramid(image_size)
    return base, [min(width * 2**k, max(widest, width)) for k in range(doublings, -1, -1)]


# -- labels ------------------------------------------------------------------------------------------------------------


def conditioned_on(num_classes: int | None, conditioning: str, player: str) -> int | None:
    """The number of classes that a network uses: all with conditioning, else None.

    Raises ValueError for conditioning where the data have no labels.
    """
    if conditioning == "none":
        return None
    if num_classes is None:
        raise ValueError(
            f"{player}.conditioning={conditioning} needs labels, and this data set has none; "
            f"choose {player}.conditioning=none, or labelled data"
        )
    return num_classes


class Latents(nn.Module):
    """Latents [B, latent_dim], unchanged or with the label's one-hot vector appended.

    Mirza and Osindero 2014, arXiv 1411.1784, section 3.2. `size` is the number of output features.
    """

    def __init__(self, latent_dim: int, num_classes: int | None) -> None:
        super().__init__()
        self.num_classes, self.size = num_classes, latent_dim + (num_classes or 0)

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        if self.num_classes is None:
            return z
        assert label is not None
        return torch.cat([z, one_hot(label, self.num_classes).to(z.dtype)], dim=1)


class ConditionalNorm(nn.Module):
    """A normalization whose gain and bias, [B, C] each, are computed from a condition, such as the class [B]."""

    def __init__(self, norm: nn.Module, gain: nn.Module, bias: nn.Module) -> None:
        super().__init__()
        self.norm, self.gain, self.bias = norm, gain, bias

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = (table(condition).view(*x.shape[:2], *[1] * (x.dim() - 2)) for table in (self.gain, self.bias))
        return torch.addcmul(bias, self.norm(x), gain)


def norm_of_classes(norm: nn.Module, channels: int, num_classes: int) -> ConditionalNorm:
    """A normalization with a gain and a bias per class, [num_classes, C] (Dumoulin et al. 2017, 1610.07629, eq. 5).

    With batch norm, it is the class-conditional batch norm of Miyato and Koyama (2018, arXiv 1802.05637).
    """
    gain, bias = nn.Embedding(num_classes, channels), nn.Embedding(num_classes, channels)
    nn.init.ones_(gain.weight)
    nn.init.zeros_(bias.weight)
    return ConditionalNorm(norm, gain, bias)


class Stack(nn.Sequential):
    """A sequence of layers. Layers that use the label get it as a second argument."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        for layer in self:
            x = layer(x, label) if isinstance(layer, (ConditionalNorm, Residual)) else layer(x)
        return x


class Verdict(nn.Module):
    """A discriminator's output from its logits [B] or [B, H, W] and its features [B, C] or [B, C, H, W].

    `projection` adds the inner product of features and the class's embedding to each logit (Miyato and Koyama 2018,
    arXiv 1802.05637, eq. 3); `auxiliary` classifies the mean features (Odena et al. 2017, arXiv 1610.09585, section 3).
    """

    def __init__(self, channels: int, num_classes: int | None, conditioning: DiscriminatorConditioning) -> None:
        super().__init__()
        classes = conditioned_on(num_classes, conditioning, "discriminator")
        self.embedding = nn.Embedding(classes, channels) if classes and conditioning == "projection" else None
        self.classifier = nn.Linear(channels, classes) if classes and conditioning == "auxiliary" else None
        if self.embedding is not None:  # PyTorch's unit normals would be much larger than the picture's logit
            nn.init.xavier_uniform_(self.embedding.weight)

    def forward(self, logits: Tensor, features: Tensor, label: Tensor | None) -> DiscriminatorOutput:
        class_logits = None
        if self.embedding is not None:
            embedded = self.embedding(label)
            logits = logits + (features * embedded.view(*embedded.shape, *[1] * (features.dim() - 2))).sum(1)
        if self.classifier is not None:
            class_logits = self.classifier(features.flatten(2).mean(2) if features.dim() > 2 else features)
        return DiscriminatorOutput(logits, class_logits, (features,))


# -- options of any network --------------------------------------------------------------------------------------------


def norm2d(kind: Normalization, channels: int, num_classes: int | None = None, *, affine: bool = True) -> nn.Module:
    """A normalization of maps [B, C, H, W], with a gain and a bias per channel, or per channel and class, or with none.

    batch: Ioffe and Szegedy 2015, arXiv 1502.03167. instance: Ulyanov et al. 2016, arXiv 1607.08022. layer, over all of
    a sample: Ba et al. 2016, arXiv 1607.06450.
    """
    affine = affine and num_classes is None
    norm: nn.Module = {
        "batch": lambda: nn.BatchNorm2d(channels, affine=affine),
        "instance": lambda: nn.InstanceNorm2d(channels, affine=affine),
        "layer": lambda: nn.GroupNorm(1, channels, affine=affine),
        "none": nn.Identity,
    }[kind]()
    return norm if num_classes is None else norm_of_classes(norm, channels, num_classes)


def norm1d(kind: Literal["batch", "layer", "none"], features: int, num_classes: int | None = None) -> nn.Module:
    """A normalization of vectors [B, features], as `norm2d`."""
    affine = num_classes is None
    norm: nn.Module = {
        "batch": lambda: nn.BatchNorm1d(features, affine=affine),
        "layer": lambda: nn.LayerNorm(features, elementwise_affine=affine),
        "none": nn.Identity,
    }[kind]()
    return norm if num_classes is None else norm_of_classes(norm, features, num_classes)


def norm_classes(num_classes: int | None, conditioning: GeneratorConditioning, normalization: str) -> int | None:
    """The number of classes for a generator's normalizations, or None. Raises ValueError where it has no batch norm."""
    if conditioning != "batch_norm":
        return None
    if normalization != "batch":
        raise ValueError(f"generator.conditioning=batch_norm needs generator.normalization=batch, not {normalization}")
    return num_classes


def prepare(
    net: nn.Module,
    initialization: Initialization,
    spectral_norm: bool,
    gains: Mapping[nn.Module, float] | None = None,
) -> None:
    """Initialize a network's weights, and with `spectral_norm` divide each by its largest singular value.

    default: PyTorch's. orthogonal: Saxe et al. 2014, arXiv 1312.6120. xavier: Glorot and Bengio 2010, eq. 16, times
    `gains`. kaiming: He et al. 2015, arXiv 1502.01852, eq. 10, which keeps the scale through rectifiers. normal:
    N(0, 0.02), Radford et al. 2015, arXiv 1511.06434, section 4. All but the first set biases to zero.
    Spectral normalization: Miyato et al. 2018, arXiv 1802.05957, one power iteration a forward pass. Both skip
    class-conditional gains and biases.
    """
    norms = [norm for norm in net.modules() if isinstance(norm, ConditionalNorm)]
    of_classes = {table for norm in norms for table in norm.children() if isinstance(table, nn.Embedding)}
    weighted = (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd)
    for module in [m for m in net.modules() if isinstance(m, weighted) and m not in of_classes]:
        if initialization != "default":
            _initialize(module, initialization, (gains or {}).get(module, 1.0))
        if spectral_norm:
            normalize_spectrum(module)


def _initialize(module: nn.Module, initialization: Initialization, gain: float) -> None:
    weight, bias = module.weight, getattr(module, "bias", None)
    assert isinstance(weight, Tensor)
    if initialization == "orthogonal":
        nn.init.orthogonal_(weight)
    elif initialization == "xavier":
        nn.init.xavier_uniform_(weight, gain)
    elif initialization == "kaiming":
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    else:
        nn.init.normal_(weight, 0.0, 0.02)
    if bias is not None:
        nn.init.zeros_(bias)


# -- blocks ------------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + f(x); f has two 3 x 3 convolutions, each after a normalization and ReLU (He et al. 2016, arXiv 1603.05027).

    `resample="up"` doubles height and width (nearest neighbour) before the first convolution; "down" halves them
    (means) after the second, as in Miyato et al. 2018, arXiv 1802.05957, figure 8. With `bare`, for an input picture,
    there is no normalization and no ReLU before the first convolution. Where shapes differ, the shortcut is a 1 x 1
    convolution. It runs at the smaller of the two sizes, with the same result, because it commutes with resampling.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        *,
        resample: Literal["up", "down"] | None = None,
        hidden: int | None = None,
        norm: Callable[[int], nn.Module] = lambda channels: nn.Identity(),
        bare: bool = False,
    ) -> None:
        super().__init__()
        hidden = hidden or outside
        self.resample, self.bare = resample, bare
        self.first_norm = nn.Identity() if bare else norm(inside)
        self.first = nn.Conv2d(inside, hidden, 3, padding=1)
        self.second_norm = norm(hidden)
        self.second = nn.Conv2d(hidden, outside, 3, padding=1)
        self.shortcut = nn.Conv2d(inside, outside, 1) if inside != outside or resample else nn.Identity()

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        h = x if self.bare else _normalized(self.first_norm, x, label).relu()
        if self.resample == "up":
            h = interpolate(h, scale_factor=2)
        h = self.second(_normalized(self.second_norm, self.first(h), label).relu())
        if self.resample == "down":
            h, x = avg_pool2d(h, 2), avg_pool2d(x, 2)
        x = self.shortcut(x)
        return h + (interpolate(x, scale_factor=2) if self.resample == "up" else x)


def _normalized(norm: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    normalized: Tensor = norm(x, label) if isinstance(norm, ConditionalNorm) else norm(x)
    return normalized


def residual_gains(net: nn.Module) -> dict[nn.Module, float]:
    """Xavier's gains as SNGAN's authors set them: sqrt 2 in residual branches, 1 elsewhere."""
    blocks = [block for block in net.modules() if isinstance(block, Residual)]
    return {conv: math.sqrt(2) for block in blocks for conv in (block.first, block.second)}
