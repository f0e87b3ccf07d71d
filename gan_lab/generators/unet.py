"""pix2pix's generator: an encoder and a decoder, which is handed what the encoder saw at each size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lab.convolutions import Doubling, Halving
from gan_lab.generators.sources import enlarged, enlargement, padded, shown, start_as_correction
from gan_lab.layers import ImageSize, Initialization, Normalization, norm2d, prepare, sides
from gan_lab.registry import Positive, Share, generators

WIDEST = 8  # times `width`: no layer has more channels
SMALLEST = 4  # pixels: by default the shorter side of the innermost map is this to twice this
MOST = 8  # halvings by default
DROPPED = 3  # layers of the decoder with dropout, from the innermost


@generators.register("unet")
class UNetGenerator(nn.Module):
    """Pictures [B, C, h, w] to pictures [B, image_channels, H, W] (Isola et al. 2017, arXiv 1611.07004, 6.1.1).

    With `halvings=8` at 256 px it is the authors' unet_256, 54,413,955 parameters for 3 channels. By default the map is
    halved until its shorter side is 4 to 7 px. The innermost map is not normalized: where it is one pixel, instance
    norm would leave nothing of it, and neither would batch norm of a batch of one. `dropout` (the paper's is 0.5) is in
    the decoder's three innermost layers, in training only.

    A source that is smaller than the target by a whole factor is first enlarged bicubically. Outputs lie in [-1, 1]
    (tanh); with `residual`, the network adds a correction to the enlarged source's first channels, and what it returns
    is not bounded. Sources of any size are taken: they are mirrored at the bottom and right up to a multiple of
    2^halvings, and the output is cut to the source's size times the factor. Raises ValueError for a target that is no
    whole multiple of the source, and for more halvings than it has.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        image_size: ImageSize,
        image_channels: int,
        *,
        width: Positive = 64,
        halvings: Positive | None = None,
        normalization: Normalization = "batch",
        dropout: Share = 0.0,
        initialization: Initialization = "normal",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.image_channels, self.residual = image_channels, residual
        self.factor = enlargement(input_shape, image_size)
        halvings = _halvings(image_size, halvings)
        self.multiple = 2**halvings
        channels = [width * min(2**k, WIDEST) for k in range(halvings)]
        bias, innermost = normalization == "none", halvings - 1
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for k, (inside, outside) in enumerate(zip([input_shape[0], *channels], channels, strict=False)):
            layer = nn.Sequential(Halving(inside, outside, bias=bias))
            if k > 0:
                layer.insert(0, nn.LeakyReLU(0.2))
            if 0 < k < innermost:
                layer.append(norm2d(normalization, outside))
            self.encoder.append(layer)
        inside = channels[-1]
        for k, outside in enumerate(channels[-2::-1]):
            layer = nn.Sequential(nn.ReLU(), Doubling(inside, outside, bias=bias), norm2d(normalization, outside))
            if dropout > 0 and k < DROPPED:
                layer.append(nn.Dropout(dropout))
            self.decoder.append(layer)
            inside = 2 * outside  # with what the encoder had at this size
        self.last = Doubling(inside, image_channels)
        prepare(self, initialization, spectral_norm=False)
        if residual:
            start_as_correction(self.last, input_shape[0], image_channels)

    def forward(self, source: Tensor, label: Tensor | None = None) -> Tensor:
        source = enlarged(source, self.factor)
        height, width = source.shape[2:]
        h, seen = padded(source, self.multiple), []
        for layer in self.encoder:
            h = layer(h)
            seen.append(h)
        seen.pop()
        for layer in self.decoder:
            h = torch.cat([layer(h), seen.pop()], dim=1)
        output = self.last(h.relu())[:, :, :height, :width]
        return output + shown(source, self.image_channels) if self.residual else output.tanh()


def _halvings(image_size: ImageSize, wanted: int | None) -> int:
    """How often the map is halved. Raises ValueError for more than the picture has pixels for."""
    shorter = min(sides(image_size))
    if wanted is None:
        return min(max((shorter // SMALLEST).bit_length() - 1, 1), MOST)
    if 2**wanted > shorter:
        raise ValueError(
            f"generator.halvings={wanted}: a picture of {shorter} px can be halved at most "
            f"{shorter.bit_length() - 1} times; lower generator.halvings, or give at least {2**wanted} px a side"
        )
    return wanted
