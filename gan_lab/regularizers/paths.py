"""Path length regularization: equal steps of the style should change the picture by equal amounts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.registry import Positive, Share, Weight, regularizers


@regularizers.register("path_length")
class PathLength(nn.Module):
    """weight E (|J^T y| - a)^2 for G, J the Jacobian of the picture by the style, y normal (Karras et al. 2020, eq. 4).

    arXiv 1912.04958, section 3.2. y is divided by the square root of the number of pixels, and a is a moving average of
    the lengths, which moves by `decay` after each step; it begins at 0. Where each layer has its own style, a length is
    the root of the layers' mean square (as in the authors' code). For a generator without styles, it is by the latent.

    The authors apply it every fourth step (`path_length_lazy`), to half a batch, because it costs much time and memory;
    here it is of the whole batch.
    """

    player = "generator"
    probes = frozenset({"style"})  # no tensor of the pass, but as for these: eager, in full precision
    needs = frozenset({"latent"})
    mean: Tensor

    def __init__(self, *, weight: Weight = 2.0, decay: Share = 0.01, every: Positive = 1) -> None:
        super().__init__()
        self.weight, self.decay, self.every = weight, decay, every
        self.register_buffer("mean", torch.zeros(()))
        self._seen: dict[int, Tensor] = {}  # first row of a micro-batch -> mean length; of this step only

    def forward(self, forward: Any) -> Tensor:
        lengths = path_lengths(forward.net("generator"), forward.latent, forward.fake_label, forward.draw)
        self._seen[forward.rows.start] = lengths.detach().mean()
        return (lengths - self.mean).square()

    def after_step(self, forward: Any) -> None:
        mean = torch.stack(list(self._seen.values())).mean()
        self._seen.clear()
        forward.game.runtime.average([mean])
        moved = self.mean.lerp(mean.to(self.mean.dtype), self.decay)
        self.mean.copy_(torch.where(mean.isfinite(), moved, self.mean))


def path_lengths(generator: Any, latent: Tensor, label: Tensor | None, draw: Callable[..., Tensor]) -> Tensor:
    """|J^T y| [B] of latents [B, latent_dim]. `draw` gives y, as `ForwardPass.draw`."""
    if hasattr(generator, "styles"):
        style = generator.styles(latent, label)
        picture = generator.synthesis(style)
    else:
        style = latent.detach().requires_grad_()
        picture = generator(style, label)
    noise = draw("path_length", *picture.shape[1:]).to(picture.dtype)
    pixels = math.prod(picture.shape[2:])
    (gradient,) = torch.autograd.grad((picture * noise).sum() / math.sqrt(pixels), style, create_graph=True)
    lengths: Tensor = gradient.square().sum(-1)
    return (lengths.mean(1) if lengths.dim() > 1 else lengths).sqrt()
