"""Packing: a discriminator that judges several samples at once, so that it sees how little they differ."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.tasks.contract import Parts, picture_values


def check_divides(rows: int, packing: int) -> None:
    """Raise ValueError where so many samples make no whole packs."""
    if rows % packing:
        raise ValueError(
            f"task.packing={packing}: {rows} samples are judged at once, which {packing} does not divide; choose "
            "another trainer.batch_size or trainer.micro_batches"
        )


def packed(samples: Tensor, packing: int) -> Tensor:
    """Samples [B, C, ...] joined along the channels, each with those that follow it: [B / packing, packing C, ...].

    Points [B, n] are joined to [B / packing, packing n]. Raises ValueError where `packing` does not divide B.
    """
    check_divides(len(samples), packing)
    return samples.unflatten(0, (-1, packing)).flatten(1, 2)


class Packed(nn.Module):
    """Samples [B, ...] to logits [B / packing]: D(x_1, ..., x_m) (Lin et al. 2018, arXiv 1712.04086, section 2.1).

    `judge` sees them joined along the channels. It is told no class, because a pack has several.
    """

    conditioning = "none"

    def __init__(self, judge: nn.Module, packing: int) -> None:
        super().__init__()
        self.judge, self.packing = judge, packing
        if hasattr(judge, "reconstruct"):
            self.reconstruct = judge.reconstruct

    def forward(self, samples: Tensor, label: Tensor | None = None) -> Tensor | DiscriminatorOutput:
        output: Tensor | DiscriminatorOutput = self.judge(packed(samples, self.packing), None)
        return output


def packing_discriminator(parts: Parts, sample_shape: tuple[int, ...], packing: int) -> nn.Module:
    """The discriminator that the config chooses, for packs of samples; without packing (1), as it is.

    Raises ValueError for one that is told the class.
    """
    if packing == 1:
        plain: nn.Module = parts.discriminator()
        return plain
    shape = (packing * sample_shape[0], *sample_shape[1:])
    judge = parts.discriminator(sample_shape=shape, **(picture_values(shape) if len(shape) == 3 else {}))
    if getattr(judge, "conditioning", "none") != "none":
        raise ValueError(
            f"task.packing={packing} joins samples of several classes; choose discriminator.conditioning=none, or "
            "task.packing=1"
        )
    return Packed(judge, packing)
