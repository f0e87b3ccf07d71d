"""SAGAN's generator: residual blocks with self-attention and spectral normalization."""

from __future__ import annotations

from gan_lab.blocks.attention import attended
from gan_lab.generators.resnet import ResidualGenerator, plan
from gan_lab.layers import GeneratorConditioning, ImageSize, Initialization, Normalization
from gan_lab.registry import Positive, generators

MOST = 32  # pixels of the map with attention: the best of the paper's table 1


@generators.register("sagan")
class SAGANGenerator(ResidualGenerator):
    """Latents [B, latent_dim] to images [B, C, H, W] in [-1, 1] (Zhang et al. 2019, arXiv 1805.08318, section 3).

    SNGAN's blocks and widths (see `resnet`) with spectral normalization, and self-attention after the maps whose
    shorter side is in `attention`: by default the largest of at most 32 px that is smaller than the picture, which is
    the paper's best at 128 px. 42,078,852 parameters at 128 px, 3 channels and 1,000 classes. 28 px and 32 to 256 px.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        latent_dim: Positive = 128,
        width: Positive | None = None,
        attention: tuple[Positive, ...] | None = None,
        normalization: Normalization = "batch",
        spectral_norm: bool = True,
        initialization: Initialization = "xavier",
        conditioning: GeneratorConditioning = "none",
    ) -> None:
        base, channels = plan(image_size, width)
        maps = [min(base) * 2**k for k in range(1, len(channels))]
        super().__init__(
            base,
            channels,
            image_channels,
            num_classes,
            latent_dim=latent_dim,
            attention=attended(maps, attention, most=min(MOST, maps[-1] // 2), player="generator"),
            normalization=normalization,
            spectral_norm=spectral_norm,
            initialization=initialization,
            conditioning=conditioning,
        )
