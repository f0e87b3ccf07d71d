"""BigGAN-deep's residual blocks, of the generator and of the discriminator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from gan_lab.layers import ConditionalNorm

RATIO = 4  # the wider side's channels over those of the two 3 x 3 convolutions


class Bottleneck(nn.Module):
    """x + f(x); f has convolutions of 1, 3, 3 and 1 pixels, each after a normalization and ReLU.

    Brock et al. 2019, arXiv 1809.11096, figure 16. `resample="up"` doubles height and width (nearest neighbour) before
    the first 3 x 3 convolution, "down" halves them (means) before the last 1 x 1. The shortcut keeps the first channels
    where the output has fewer, and adds those of a 1 x 1 convolution where it has more.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        *,
        resample: Literal["up", "down"] | None = None,
        norm: Callable[[int], nn.Module] = lambda channels: nn.Identity(),
    ) -> None:
        super().__init__()
        hidden = max(max(inside, outside) // RATIO, 1)
        self.resample, self.outside = resample, outside
        widths, kernels = (inside, hidden, hidden, hidden, outside), (1, 3, 3, 1)
        self.norms = nn.ModuleList(norm(channels) for channels in widths[:-1])
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, kernel, padding=kernel // 2)
            for a, b, kernel in zip(widths, widths[1:], kernels, strict=False)
        )
        self.more = nn.Conv2d(inside, outside - inside, 1) if outside > inside else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        h = x
        for i, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            h = (norm(h, condition) if isinstance(norm, ConditionalNorm) else norm(h)).relu()
            if self.resample == "up" and i == 1:
                h = interpolate(h, scale_factor=2)
            elif self.resample == "down" and i == 3:
                h = avg_pool2d(h, 2)
            h = layer(h)
        return h + self._shortcut(x)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            x = avg_pool2d(x, 2)
        if self.more is not None:
            x = torch.cat([x, self.more(x)], dim=1)
        x = x[:, : self.outside]
        return interpolate(x, scale_factor=2) if self.resample == "up" else x
