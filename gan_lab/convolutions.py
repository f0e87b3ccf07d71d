"""DCGAN's convolutions, computed in the fastest way on a CPU: as matrix products where these are faster.

Each layer has the parameters of the torch layer that it extends, and gives the same result up to rounding. Weights and
maps are channels-last in memory (see `trainer.channels_last`), so that most reshapes here are views. Outputs are always
channels-last. All layers can be differentiated twice. Where a matrix product is not faster, and for halving and
doubling layers on other devices, torch's own function is used. Each forward pass reads the weight only once: with
spectral normalization, every read runs a power iteration.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import conv2d, conv_transpose2d, linear, pad

from gan_lab import winograd

FEW = 3  # channels of a picture
# Where winograd.py pays: its sums cost as much as products with so many channels of the smaller map, which a CPU with
# wider registers multiplies sooner, and those of the weights as much as products with so many tiles of 2 x 2 pixels.
WIDE = 256 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 128
TILES = 64
PRODUCTS = 2**21  # multiplications in each of the nine; with fewer, the sums take what is saved, above all with threads
LARGEST = 2**25  # bytes of all tiles: glibc gives larger buffers back to the system, and asks for new pages every time


class FromPixel(nn.ConvTranspose2d):
    """A transposed convolution of a single pixel: [B, C, 1, 1] to a map [B, K, h, w] of the kernel's size."""

    def __init__(self, channels: int, outside: int, size: int | tuple[int, int], *, bias: bool = True) -> None:
        super().__init__(channels, outside, size, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight = self.weight
        channels, outside, height, width = weight.shape
        made = x.flatten(1) @ _last(weight).reshape(channels, -1)
        return _first(_biased(made.view(-1, height, width, outside), self.bias))


class ToPixel(nn.Conv2d):
    """A convolution whose kernel covers the whole map: [B, C, h, w] to [B, K, 1, 1]."""

    def __init__(self, channels: int, outside: int, size: int | tuple[int, int], *, bias: bool = True) -> None:
        super().__init__(channels, outside, size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return linear(_last(x).flatten(1), _last(self.weight).flatten(1), self.bias)[:, :, None, None]


class Halving(nn.Conv2d):
    """A 4 x 4 convolution with stride 2 and padding 1: [B, C, 2h, 2w] to [B, K, h, w].

    A grey picture is convolved as four channels at half its size: with one channel, a tensor is in both memory formats
    at once, and torch would continue in the other one. A colour picture that needs a gradient is treated in the same
    way, because torch computes input gradients slowly for few channels. Wide layers save products (see `winograd`). In
    others, where the weights have more numbers than the map, its patches are multiplied by them.
    """

    def __init__(self, channels: int, outside: int, *, bias: bool = True) -> None:
        super().__init__(channels, outside, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        weight, whole = self.weight, x.shape[2] % 2 == x.shape[3] % 2 == 0
        if x.device.type == "cpu" and whole:
            if self.in_channels == 1 or (self.in_channels <= FEW and x.requires_grad):
                return conv2d(_first(_quarters(x)), _first(_quartered(weight)), self.bias)
            if _saves(x, weight, x.shape[2] // 2, x.shape[3] // 2):
                return _first(_biased(winograd.halved(_last(x), _last(weight)), self.bias))
            if weight.numel() > x.numel():
                return (self._by_cells if torch.compiler.is_compiling() else self._by_patches)(x, weight)
        return conv2d(x, weight, self.bias, stride=2, padding=1)

    def _by_patches(self, x: Tensor, weight: Tensor) -> Tensor:
        patches = _Patches.apply(_last(pad(x, (1, 1, 1, 1))))
        return _first(linear(patches, _last(weight).flatten(1), self.bias))

    def _by_cells(self, x: Tensor, weight: Tensor) -> Tensor:
        """The same result from slices, faster with torch.compile. A patch is 2 x 2 cells of 2 x 2 pixels."""
        height, width = x.shape[2] // 2, x.shape[3] // 2
        cells = _quarters(x)
        patches = torch.cat([cells[:, i : i + height, j : j + width] for i in (0, 1) for j in (0, 1)], dim=3)
        return _first(linear(patches, _quartered(weight).flatten(1), self.bias))


class Doubling(nn.ConvTranspose2d):
    """A 4 x 4 transposed convolution with stride 2 and padding 1: [B, C, h, w] to [B, K, 2h, 2w].

    Wide layers save products (see `winograd`). In others, where the weights have more numbers than the map, or the
    output is grey in single precision, every pixel is multiplied by the kernels, and the resulting 4 x 4 patches are
    added where they overlap.
    """

    def __init__(self, channels: int, outside: int, *, bias: bool = True) -> None:
        super().__init__(channels, outside, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight, grey = self.weight, self.out_channels == 1 and x.dtype == torch.float32
        if x.device.type == "cpu" and _saves(x, weight, *x.shape[2:]):
            return _first(_biased(winograd.doubled(_last(x), _last(weight)), self.bias))
        if x.device.type == "cpu" and (weight.numel() > x.numel() or grey):
            patches = _last(x) @ _last(weight).flatten(1)
            patches = patches.unflatten(3, (4, 4, self.out_channels))  # [B, h, w, 4, 4, K]
            return _first(_biased(_overlapped(_overlapped(patches, 1), 2), self.bias))
        return conv_transpose2d(x, weight, self.bias, stride=2, padding=1)


def _saves(x: Tensor, weight: Tensor, height: int, width: int) -> bool:
    """Whether Winograd's fewer products save more than the sums that they need. The smaller map has this size."""
    if height % 2 or width % 2 or x.dtype not in (torch.float32, torch.float64):
        return False
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    tiles = len(x) * height * width // 4
    small = 9 * 4 * tiles * weight.shape[1] * x.element_size() <= LARGEST
    many = tiles >= TILES and tiles * len(weight) * weight.shape[1] >= PRODUCTS
    return small and many and len(weight) >= WIDE and weight.shape[1] >= WIDE // 2


def _biased(maps: Tensor, bias: Tensor | None) -> Tensor:
    """Maps plus the bias, in the maps' precision: in mixed precision, the bias is in single precision."""
    return maps if bias is None else maps + bias.to(maps.dtype)


def _last(x: Tensor) -> Tensor:
    """[B, C, h, w] as [B, h, w, C]."""
    return x.permute(0, 2, 3, 1)


def _first(x: Tensor) -> Tensor:
    """[B, h, w, C] as [B, C, h, w]."""
    return x.permute(0, 3, 1, 2)


def _quarters(x: Tensor) -> Tensor:
    """A map [B, C, 2h, 2w] with a border of zeros, as cells of 2 x 2 pixels: [B, h + 1, w + 1, 4C]."""
    batch, channels, height, width = x.shape
    pixels = _last(pad(x, (1, 1, 1, 1))).reshape(batch, height // 2 + 1, 2, width // 2 + 1, 2, channels)
    return pixels.transpose(2, 3).flatten(3)


def _quartered(weight: Tensor) -> Tensor:
    """Kernels [K, C, 4, 4] for the cells of `_quarters`: [K, 2, 2, 4C]."""
    outside, channels, _, _ = weight.shape
    return _last(weight).reshape(outside, 2, 2, 2, 2, channels).transpose(2, 3).flatten(3)


class _Patches(Function):
    """Pixels [B, 2h + 2, 2w + 2, C] as patches of 4 x 4 in steps of two, [B, h, w, 16C].

    It is a custom autograd function, because autograd would fill a whole map with zeros for each slice.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> Tensor:
        pixels = pixels.contiguous()
        batch, height, width, channels = pixels.shape
        image, row, pixel, _ = pixels.stride()
        shape = batch, height // 2 - 1, width // 2 - 1, 4, 4 * channels
        patches = pixels.as_strided(shape, (image, 2 * row, 2 * pixel, row, 1))
        return patches.clone(memory_format=torch.contiguous_format).flatten(3)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        made: Tensor = _Pixels.apply(gradient)
        return made


class _Pixels(Function):
    """Patches [B, h, w, 16C] added where they overlap: [B, 2h + 2, 2w + 2, C]. The adjoint of `_Patches`."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor) -> Tensor:
        batch, height, width, channels = patches.shape
        rows = patches.unflatten(3, (4, 2, channels // 8))  # two pixels side by side are one cell
        cells = patches.new_zeros(batch, height + 1, 2, width + 1, channels // 8)
        for row in range(4):
            for side in (0, 1):
                corner = cells[:, row // 2 : row // 2 + height, row % 2, side : side + width]
                corner += rows[:, :, :, row, side]
        return cells.view(batch, 2 * height + 2, 2 * width + 2, channels // 16)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        made: Tensor = _Patches.apply(gradient)
        return made


def _overlapped(patches: Tensor, dim: int) -> Tensor:
    """Patches of four pixels in steps of two, added where they overlap. `dim` is doubled; the border is cut off.

    Dimension 3 holds the four pixels of a patch, and is removed. Patch i covers the places 2i - 1 to 2i + 2.
    """
    zero, one, two, three = patches.unbind(3)
    count = zero.shape[dim]
    nothing = torch.zeros_like(zero.narrow(dim, 0, 1))
    even = one + torch.cat([nothing, three.narrow(dim, 0, count - 1)], dim)
    odd = two + torch.cat([zero.narrow(dim, 1, count - 1), nothing], dim)
    return torch.stack([even, odd], dim + 1).flatten(dim, dim + 1)
