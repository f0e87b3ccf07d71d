"""VQ-VAE's encoder: strided convolutions, then residual blocks at the size of the codes."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.convolutions import Halving
from gan_lab.layers import ImageSize, Initialization, Normalization, Residual, norm2d, prepare, sides
from gan_lab.registry import NonNegative, Positive, encoders

WIDEST = 4  # times `width`: no layer has more channels


@encoders.register("vqvae")
class VQVAEEncoder(nn.Module):
    """Pictures [B, C, H, W] to codes [B, code_channels, H / 2^halvings, W / 2^halvings], not bounded.

    Convolutions of 4 x 4 pixels with stride 2, then residual blocks (van den Oord et al. 2017, arXiv 1711.00937,
    section 4.1). The paper's have 256 channels in all layers; here they double from `width` up to 4 times. Raises
    ValueError for a size that cannot be halved so often.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        code_channels: int,
        *,
        width: Positive = 64,
        halvings: Positive = 2,
        blocks: NonNegative = 2,
        normalization: Normalization = "none",
        initialization: Initialization = "default",
    ) -> None:
        super().__init__()
        if any(side % 2**halvings for side in sides(image_size)):
            near = [max(side // 2**halvings, 1) * 2**halvings for side in sides(image_size)]
            raise ValueError(
                f"image_size={image_size}: encoder.halvings={halvings} cannot halve it so often; lower "
                f"encoder.halvings, or give {' x '.join(map(str, near))} px"
            )
        channels = [width * min(2**k, WIDEST) for k in range(halvings)]
        self.halve = nn.Sequential()
        for inside, outside in zip([image_channels, *channels], channels, strict=False):
            self.halve.extend([Halving(inside, outside), norm2d(normalization, outside), nn.ReLU()])
        widest = channels[-1]
        self.blocks = nn.Sequential(
            *(Residual(widest, widest, norm=lambda channels: norm2d(normalization, channels)) for _ in range(blocks))
        )
        self.last = nn.Conv2d(widest, code_channels, 1)
        prepare(self, initialization, spectral_norm=False)

    def forward(self, picture: Tensor) -> Tensor:
        codes: Tensor = self.last(self.blocks(self.halve(picture)).relu())
        return codes
