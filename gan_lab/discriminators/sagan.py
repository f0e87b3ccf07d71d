"""SAGAN's discriminator: spectrally normalized residual blocks with self-attention."""

from __future__ import annotations

from gan_lab.blocks.attention import attended
from gan_lab.discriminators.resnet import ResidualDiscriminator, halved, plan
from gan_lab.layers import DiscriminatorConditioning, ImageSize, Initialization, Normalization
from gan_lab.registry import Positive, discriminators

MOST = 32  # pixels of the map with attention: the best of the paper's table 1


@discriminators.register("sagan")
class SAGANDiscriminator(ResidualDiscriminator):
    """Images [B, C, H, W] to logits [B] (Zhang et al. 2019, arXiv 1805.08318, section 3).

    SNGAN's widths (see `resnet`), but blocks widen in their first convolution, and self-attention stands after the maps
    whose shorter side is in `attention`: by default the largest of at most 32 px. 39,463,618 parameters at 128 px, 3
    channels and 1,000 classes with conditioning=projection. Any size from 16 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive | None = None,
        attention: tuple[Positive, ...] | None = None,
        normalization: Normalization = "none",
        spectral_norm: bool = True,
        initialization: Initialization = "xavier",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        channels, halvings = plan(image_size, width, "sagan")
        maps = halved(image_size, len(channels), halvings)
        super().__init__(
            image_channels,
            num_classes,
            channels,
            halvings,
            wide=True,
            attention=attended(maps, attention, most=MOST, player="discriminator"),
            normalization=normalization,
            spectral_norm=spectral_norm,
            initialization=initialization,
            conditioning=conditioning,
        )
