"""CycleGAN's generator: down by four, residual blocks, and up again."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.generators.sources import padded, shown, start_as_correction
from gan_lab.layers import ImageSize, Initialization, Normalization, norm2d, prepare, sides
from gan_lab.registry import Positive, generators

MULTIPLE = 4  # pixels: the map is halved twice


@generators.register("resnet_translator")
class ResNetTranslator(nn.Module):
    """Pictures [B, C, H, W] to pictures of their size (Zhu et al. 2017, arXiv 1703.10593, appendix 7.2).

    As Johnson et al. (2016, arXiv 1603.08155): every convolution but the transposed ones reflects the border. With
    `blocks=9`, the authors' for 256 px, it has 11,378,179 parameters for 3 channels, with 6, theirs for 128 px,
    7,837,699. Instance norm has no gains and biases of its own, as theirs; other normalizations have.

    Outputs lie in [-1, 1] (tanh); with `residual`, the network adds a correction to its input, and what it returns is
    not bounded. Pictures of any size above 4 px are taken: they are mirrored at the bottom and right up to a multiple
    of 4 pixels, and the output is cut. Raises ValueError for targets of another size than their sources.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        image_size: ImageSize,
        image_channels: int,
        *,
        width: Positive = 64,
        blocks: Positive = 9,
        normalization: Normalization = "instance",
        initialization: Initialization = "normal",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if sides(image_size) != tuple(input_shape[1:]):
            h, w = input_shape[1:]
            raise ValueError(
                f"image_size={image_size}: resnet_translator keeps the size of its source, {h} x {w}; to enlarge, "
                "choose generator=srresnet or unet"
            )
        self.image_channels, self.residual = image_channels, residual
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(input_shape[0], width, 7)]
        layers += [_normalized(normalization, width), nn.ReLU()]
        for inside in (width, 2 * width):
            layers += [nn.Conv2d(inside, 2 * inside, 3, stride=2, padding=1), _normalized(normalization, 2 * inside)]
            layers += [nn.ReLU()]
        layers += [Block(4 * width, normalization) for _ in range(blocks)]
        for outside in (2 * width, width):
            layers += [nn.ConvTranspose2d(2 * outside, outside, 3, stride=2, padding=1, output_padding=1)]
            layers += [_normalized(normalization, outside), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ReflectionPad2d(3))
        self.last = nn.Conv2d(width, image_channels, 7)
        prepare(self, initialization, spectral_norm=False)
        if residual:
            start_as_correction(self.last, input_shape[0], image_channels)

    def forward(self, source: Tensor, label: Tensor | None = None) -> Tensor:
        height, width = source.shape[2:]
        output: Tensor = self.last(self.layers(padded(source, MULTIPLE)))[:, :, :height, :width]
        return output + shown(source, self.image_channels) if self.residual else output.tanh()


class Block(nn.Module):
    """x + f(x), f with two normalized 3 x 3 convolutions of a reflected border, and a ReLU between them."""

    def __init__(self, channels: int, normalization: Normalization) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _normalized(normalization, channels), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _normalized(normalization, channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.layers(x)
        return output


def _normalized(kind: Normalization, channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels) if kind == "instance" else norm2d(kind, channels)
