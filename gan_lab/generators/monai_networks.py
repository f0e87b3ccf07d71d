"""Networks of MONAI for segmentation and restoration, which wants the extra `medical`: here they make pictures."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from gan_lab.generators.sources import enlarged, enlargement, padded
from gan_lab.layers import ImageSize, sides
from gan_lab.registry import Depth, Positive, Share, generators


class OfMONAI(nn.Module):
    """A network of MONAI on pictures [B, C, h, w] of any size, which are mirrored up to a multiple of 2^`halvings`.

    Outputs [B, image_channels, H, W] lie in [-1, 1]: tanh of half of what the network makes, so that (1 + output) / 2
    is its sigmoid. A source that is smaller by a whole factor is first enlarged bicubically.
    """

    def __init__(self, name: str, input_shape: tuple[int, int, int], image_size: ImageSize, halvings: int) -> None:
        super().__init__()
        self.factor, self.multiple = enlargement(input_shape, image_size), 2**halvings
        if self.multiple > (shorter := min(sides(image_size))):
            raise ValueError(
                f"generator={name}: a picture of {shorter} px can be halved at most {shorter.bit_length() - 1} times, "
                f"not {halvings}; choose fewer, or larger pictures"
            )
        self.network: nn.Module

    def forward(self, source: Tensor, label: Tensor | None = None) -> Tensor:
        source = enlarged(source, self.factor)
        height, width = source.shape[2:]
        output: Tensor = self.network(padded(source, self.multiple))[:, :, :height, :width]
        return (output / 2).tanh()


def _nets(name: str) -> Any:
    try:
        import monai.networks.nets
    except ImportError as error:
        raise ValueError(f'generator={name} needs MONAI: pip install "hydra-gan-lab[medical]"') from error
    return monai.networks.nets


@generators.register("monai_unet")
class MONAIUNet(OfMONAI):
    """MONAI's residual U-Net (Kerfoot et al. 2019, doi 10.1007/978-3-030-12029-0_40).

    `width` channels, doubled by each of `halvings`; `units` residual units a level, 0 for plain convolutions.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        image_size: ImageSize,
        image_channels: int,
        *,
        width: Positive = 16,
        halvings: Depth = 3,
        units: Literal[0, 1, 2, 3] = 2,
        normalization: Literal["batch", "instance"] = "batch",
        dropout: Share = 0.0,
    ) -> None:
        super().__init__("monai_unet", input_shape, image_size, halvings)
        self.network = _nets("monai_unet").UNet(
            spatial_dims=2, in_channels=input_shape[0], out_channels=image_channels,
            channels=[width * 2**k for k in range(halvings + 1)], strides=[2] * halvings, num_res_units=units,
            norm=normalization, dropout=dropout,
        )  # fmt: skip


@generators.register("segresnet")
class SegResNet(OfMONAI):
    """MONAI's SegResNet (Myronenko 2018, arXiv 1810.11654), without its autoencoder.

    `width` channels, doubled by each of three halvings, in residual blocks with group norm.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        image_size: ImageSize,
        image_channels: int,
        *,
        width: Literal[8, 16, 32, 64] = 8,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__("segresnet", input_shape, image_size, 3)
        self.network = _nets("segresnet").SegResNet(
            spatial_dims=2, in_channels=input_shape[0], out_channels=image_channels, init_filters=width,
            dropout_prob=dropout or None,
        )  # fmt: skip
