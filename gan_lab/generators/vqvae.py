"""VQ-VAE's decoder: residual blocks at the size of the codes, then transposed convolutions up to the picture."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gan_lab.convolutions import Doubling
from gan_lab.generators.sources import enlargement
from gan_lab.layers import ImageSize, Initialization, Normalization, Residual, norm2d, prepare
from gan_lab.registry import NonNegative, Positive, generators

WIDEST = 4  # times `width`: no layer has more channels


@generators.register("vqvae")
class VQVAEDecoder(nn.Module):
    """Codes [B, C, h, w] to pictures [B, image_channels, H, W] in [-1, 1].

    A 3 x 3 convolution and residual blocks, then one transposed convolution for each doubling, 4 x 4 with stride 2
    (van den Oord et al. 2017, arXiv 1711.00937, section 4.1), the mirror of `encoder=vqvae`. The paper's have 256
    channels in all layers; here they halve from at most 4 times `width` down to it. Raises ValueError for a picture
    that is not 2, 4, 8, ... times as large as its codes.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        image_size: ImageSize,
        image_channels: int,
        *,
        width: Positive = 64,
        blocks: NonNegative = 2,
        normalization: Normalization = "none",
        initialization: Initialization = "default",
    ) -> None:
        super().__init__()
        factor = enlargement(input_shape, image_size)
        doublings = factor.bit_length() - 1
        if factor < 2 or factor != 2**doublings:
            h, w = input_shape[1:]
            raise ValueError(
                f"image_size={image_size}: generator=vqvae doubles codes of {h} x {w} to {2 * h} x {2 * w}, "
                f"{4 * h} x {4 * w}, ..., not {factor} times; choose one of them"
            )
        channels = [width * min(2**k, WIDEST) for k in range(doublings)][::-1]
        widest = channels[0]
        self.first = nn.Conv2d(input_shape[0], widest, 3, padding=1)
        self.blocks = nn.Sequential(
            *(Residual(widest, widest, norm=lambda channels: norm2d(normalization, channels)) for _ in range(blocks))
        )
        self.enlarge = nn.Sequential()
        for inside, outside in pairwise(channels):
            self.enlarge.extend([nn.ReLU(), Doubling(inside, outside), norm2d(normalization, outside)])
        self.last = nn.Sequential(nn.ReLU(), Doubling(width, image_channels), nn.Tanh())
        prepare(self, initialization, spectral_norm=False)

    def forward(self, code: Tensor, label: Tensor | None = None) -> Tensor:
        picture: Tensor = self.last(self.enlarge(self.blocks(self.first(code))))
        return picture
