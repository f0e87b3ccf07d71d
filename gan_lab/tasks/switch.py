"""What happens to the reconstruction when the discriminator is switched on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

DECAY = 0.98  # per step, of the running errors


class Switch(nn.Module):
    """The running error of pixels before the game began, and since. Buffers: a run that goes on knows both.

    Each is NaN until its stage has begun.
    """

    before: Tensor
    now: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("before", "now"):
            self.register_buffer(name, torch.tensor(math.nan))

    @torch.no_grad()
    def after_step(self, forward: Any) -> None:
        error = forward.pixel_error.detach().mean()
        forward.game.runtime.average([error])
        running = self.now if "adversarial" in forward.phase.terms else self.before
        first = self.before if running is self.now else error  # a game begins with the error that it inherits
        start = torch.where(running.isnan(), torch.where(first.isnan(), error, first), running)
        running.copy_(start.lerp(error, 1 - DECAY))

    def signals(self) -> Mapping[str, float]:
        """`reconstruction`: the share by which the error has grown since the game began; nothing before it."""
        share = float(self.now / self.before) - 1
        return {} if math.isnan(share) else {"reconstruction": share}
