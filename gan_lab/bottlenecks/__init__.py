"""Bottlenecks: what lies between an encoder and a decoder. The registry imports every module here.

A bottleneck turns an encoder's output into latents of few bits, and says what that costs. It is one class: see
`Bottleneck`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Draw = Callable[..., Tensor]  # random numbers [B, *shape] for a stream's name, keyed by position: `ForwardPass.draw`
DECAY = 0.99  # per step, of running statistics


class Code(NamedTuple):
    """The code of a batch of pictures."""

    latent: Tensor  # [B, C, h, w]: what the decoder gets
    continuous: Tensor  # [B, C, h, w]: the latent before it is quantized, which a second stage learns
    bits: Tensor  # [B]: the length of the code of each picture
    penalty: Tensor | None = None  # [B]: a summand of the objective, before `Bottleneck.weight`
    indices: Tensor | None = None  # int64 [B, h, w]: entries of the codebook, where there is one


class Bottleneck(nn.Module, ABC):
    """From an encoder's output [B, inside, h, w] to a `Code` with latents [B, outside, h, w].

    Its statistics are buffers: they are in checkpoints, and a step that is skipped leaves them alone. They move after
    the step (`after_step`) and not in the forward pass, because the discriminator's phase makes codes, too.
    """

    mean: Tensor  # [outside], running, of continuous latents
    square: Tensor  # [outside], likewise, of their squares

    def __init__(
        self, inside: int, outside: int, *, penalty: str = "", weight: float = 0.0, size: int | None = None
    ) -> None:
        super().__init__()
        self.inside, self.outside = inside, outside
        self.penalty, self.weight = penalty, weight  # the penalty's name, "" where there is none
        self.size = size  # entries of the codebook; None without one
        self.register_buffer("mean", torch.zeros(outside))
        self.register_buffer("square", torch.ones(outside))
        self._noted: list[Code] = []

    @abstractmethod
    def forward(self, encoded: Tensor, draw: Draw | None = None) -> Code:
        """The code. Without `draw` there is no noise in it."""

    @abstractmethod
    def snap(self, continuous: Tensor) -> Tensor:
        """The decoder's input [B, outside, h, w] for continuous latents that somebody else has made."""

    @property
    def deviation(self) -> Tensor:
        """The running standard deviation of each channel of continuous latents, [outside]."""
        return (self.square - self.mean.square()).clamp(min=1e-8).sqrt()

    def note(self, code: Code) -> None:
        """Keep the code of a micro-batch for `after_step`."""
        self._noted.append(Code(*(None if part is None else part.detach() for part in code)))  # type: ignore[arg-type]

    @torch.no_grad()
    def after_step(self, forward: Any) -> None:
        """Move the statistics by the codes of the whole step: all of its micro-batches, and all ranks."""
        noted, self._noted = self._noted, []
        vectors = torch.cat([code.continuous.float().movedim(1, -1).flatten(0, -2) for code in noted])
        moments = [vectors.mean(0), vectors.square().mean(0)]
        forward.game.runtime.average(moments)
        rate = max(1 / (forward.game.step + 1), 1 - DECAY)  # at first the mean of all steps
        self.mean.lerp_(moments[0], rate)
        self.square.lerp_(moments[1], rate)
        self.update(vectors, noted, forward.game)

    @torch.no_grad()
    def observe(self, code: Code) -> dict[str, Tensor]:
        """To record: `bits` a picture and, of the batch, `codebook_use` in [0, 1] and `perplexity`, up to `size`."""
        seen = {"bits": code.bits}
        if code.indices is not None and self.size is not None:
            share = torch.bincount(code.indices.flatten(), minlength=self.size) / code.indices.numel()
            seen |= {"codebook_use": (share > 0).float().mean(), "perplexity": torch.special.entr(share).sum().exp()}
        return seen

    def update(self, vectors: Tensor, codes: Sequence[Code], game: Any) -> None:
        """Move further statistics by the vectors [N, outside] of a step, and its codes."""
