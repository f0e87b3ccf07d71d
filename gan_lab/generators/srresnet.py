"""SRResNet: residual blocks at the source's size, then pixel shuffles up to the target's."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.generators.sources import enlarged, enlargement, shown, start_as_correction
from gan_lab.layers import ImageSize, Initialization, Normalization, norm2d, prepare
from gan_lab.registry import Depth, Positive, generators

FACTORS = (1, 2, 4, 8)


@generators.register("srresnet")
class SRResNetGenerator(nn.Module):
    """Pictures [B, C, h, w] to pictures [B, image_channels, H, W] (Ledig et al. 2017, arXiv 1609.04802, figure 4).

    H / h = W / w is 1 (denoising, inpainting), 2, 4 or 8: a pixel shuffle for each doubling. 1,549,462 parameters for
    3 channels at 4 times. Outputs are not bounded: the last layer is linear.

    `residual` adds the bicubically enlarged source, which the paper does not, and starts the last layer near zero: an
    untrained network is then nearly bicubic interpolation, and learns details from the first step, where the paper's
    must first learn to copy the picture: a small one was 4 dB behind after 400 steps. `normalization=none`, as in EDSR
    (Lim et al. 2017, arXiv 1707.02921, section 3.1), learns more in minutes. Sources of any size are taken. Raises
    ValueError for other factors.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        image_size: ImageSize,
        image_channels: int,
        *,
        width: Positive = 64,
        blocks: Depth = 16,
        normalization: Normalization = "batch",
        initialization: Initialization = "default",
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.image_channels, self.residual = image_channels, residual
        self.factor = enlargement(input_shape, image_size)
        if self.factor not in FACTORS:
            h, w = input_shape[1:]
            sizes = ", ".join(f"{k * h} x {k * w}" for k in FACTORS)
            raise ValueError(
                f"image_size={image_size}: srresnet enlarges a source of {h} x {w} px to {sizes} px, not "
                f"{self.factor} times; choose one of them"
            )
        self.first = nn.Sequential(nn.Conv2d(input_shape[0], width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(
            *(Block(width, normalization) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1),
            norm2d(normalization, width),
        )
        self.enlarge = nn.Sequential()
        for _ in range(FACTORS.index(self.factor)):
            self.enlarge.extend([nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()])
        self.last = nn.Conv2d(width, image_channels, 9, padding=4)
        prepare(self, initialization, spectral_norm=False)
        if residual:
            start_as_correction(self.last, input_shape[0], image_channels)

    def forward(self, source: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.first(source)
        output: Tensor = self.last(self.enlarge(h + self.blocks(h)))
        return output + shown(enlarged(source, self.factor), self.image_channels) if self.residual else output


class Block(nn.Module):
    """x + f(x), f with two 3 x 3 convolutions, each before a normalization, and a PReLU between them (figure 4)."""

    def __init__(self, channels: int, normalization: Normalization) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            norm2d(normalization, channels),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            norm2d(normalization, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.layers(x)
        return output
