"""A pool of pictures that a generator made earlier, for its discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PicturePool(nn.Module):
    """Half of the pictures that D sees were made by earlier generators (Shrivastava et al. 2017, 1612.07828, 2.3).

    As CycleGAN's authors have it (Zhu et al. 2017, arXiv 1703.10593, section 4): the first `size` pictures are kept and
    passed on. From then on a new picture is passed on with probability 1/2; else it takes the place of a random kept
    one, and that is passed on. Rows go through the pool one after the other, so micro-batches, in their order, give
    what a whole batch gives. Its buffers are in every checkpoint.
    """

    pictures: Tensor  # [size, C, H, W]
    held: Tensor  # int64 []: how many there are

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("pictures", torch.zeros(size, *shape))
        self.register_buffer("held", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, made: Tensor, draws: Tensor, *, keep: bool = True) -> Tensor:
        """Pictures [B, C, H, W] for D in place of those just made, by uniform draws [B, 2].

        With `keep` false the pool stays as it is.
        """
        size, passed = len(self.pictures), []
        pictures, held = (self.pictures, self.held) if keep else (self.pictures.clone(), self.held.clone())
        for new, (coin, place) in zip(made.to(pictures.dtype).split(1), draws, strict=True):
            full = held == size  # no branch on it: the host must not wait for a value
            at = torch.where(full, (place * size).long(), held)[None]
            old = pictures.index_select(0, at)
            exchanged = full & (coin < 0.5)
            pictures.index_copy_(0, at, torch.where(exchanged | ~full, new, old))
            passed.append(torch.where(exchanged, old, new))
            held += ~full
        return torch.cat(passed).to(made.dtype)
