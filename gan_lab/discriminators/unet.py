"""U-Net GAN's discriminator: an encoder that judges the picture, a decoder that judges every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.layers import (
    DiscriminatorConditioning,
    ImageSize,
    Initialization,
    Normalization,
    Residual,
    Verdict,
    norm2d,
    prepare,
    pyramid,
)
from gan_lab.registry import Positive, discriminators

WIDEST = 16  # times `width`: no block has more channels


@discriminators.register("unet")
class UNetDiscriminator(nn.Module):
    """Images [B, C, H, W] to logits [B, 2, H, W] (Schoenfeld et al. 2020, arXiv 2002.12655, section 3.1, table 4).

    The first map repeats the encoder's one logit; the second has the decoder's logit for each pixel. The average of an
    elementwise loss is then half of the paper's L_enc + L_dec (eq. 3 and 4); Adam's steps do not depend on a constant
    factor. Blocks are BigGAN's without attention; `width` channels at half the image size, doubled at every halving up
    to 16 times. 28 px and 32 to 128 px. Encoder and decoder have their own class embeddings, as in the paper.
    """

    rowwise = True

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int | None,
        *,
        width: Positive = 64,
        normalization: Normalization = "none",
        spectral_norm: bool = True,
        initialization: Initialization = "orthogonal",
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        _, halvings = pyramid(image_size)
        channels = [width * min(2**k, WIDEST) for k in range(halvings)]

        def norm(channels: int) -> nn.Module:
            return norm2d(normalization, channels)

        self.encoder = nn.ModuleList(
            Residual(a, b, resample="down", norm=norm, bare=k == 0)
            for k, (a, b) in enumerate(zip([image_channels, *channels], channels, strict=False))
        )
        self.encoder_last = nn.Linear(channels[-1], 1)
        self.encoder_verdict = Verdict(channels[-1], num_classes, conditioning)
        outside = [*channels[-2::-1], channels[0]]
        inside = [channels[-1], *(2 * c for c in outside[:-1])]  # with the encoder's map of the same size
        self.decoder = nn.ModuleList(
            Residual(a, b, resample="up", norm=norm) for a, b in zip(inside, outside, strict=True)
        )
        self.decoder_last = nn.Conv2d(channels[0], 1, 1)
        # Only the encoder has an auxiliary classifier.
        self.decoder_verdict = Verdict(
            channels[0], num_classes, "projection" if conditioning == "projection" else "none"
        )
        prepare(self, initialization, spectral_norm)

    def forward(self, image: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        h, seen = image, []
        for block in self.encoder:
            h = block(h)
            seen.append(h)
        features = seen.pop().relu().sum((2, 3))
        whole = self.encoder_verdict(self.encoder_last(features).squeeze(1), features, label)
        for i, block in enumerate(self.decoder):
            h = block(torch.cat([h, seen.pop()], dim=1) if i else h)
        pixels = self.decoder_verdict(self.decoder_last(h).squeeze(1), h, label).logits
        logits = torch.stack([whole.logits[:, None, None].expand_as(pixels), pixels], dim=1)
        return whole._replace(logits=logits)
