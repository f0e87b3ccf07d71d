"""Regularizers of the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan_lab.core.runtime import full_precision
from gan_lab.registry import Positive, Rate, Weight, regularizers


@regularizers.register("weight_clip")
class WeightClip:
    """Clips D's parameters to [-bound, bound] after each of its steps (Arjovsky et al. 2017, arXiv 1701.07875, alg. 1).

    It is not a term, so it has no weight for a schedule.
    """

    player = "discriminator"
    of_weights = True  # not of what a discriminator judges: a player with several networks has it once

    def __init__(self, *, bound: Rate = 0.01) -> None:
        self.bound = bound

    @torch.no_grad()
    def after_step(self, forward: Any) -> None:
        parameters = forward.game.parameters[self.player]
        torch._foreach_clamp_min_(parameters, -self.bound)
        torch._foreach_clamp_max_(parameters, self.bound)


@regularizers.register("orthogonal")
class Orthogonal:
    """weight sum |W^T W * (1 - I)|_F^2 over a player's weight matrices (Brock et al. 2019, arXiv 1809.11096, eq. 3).

    A column of W has the weights of one output, with kernels flattened, so filters become more orthogonal, and their
    lengths are free. It uses all weights of two or more dimensions that the player learns, except embeddings; with
    spectral normalization, the weights before it.
    """

    probes: frozenset[str] = frozenset()
    of_weights = True

    def __init__(
        self,
        *,
        weight: Weight = 1e-4,
        player: Literal["generator", "discriminator"] = "generator",
        every: Positive = 1,
    ) -> None:
        self.weight, self.player, self.every = weight, player, every

    def __call__(self, forward: Any) -> Tensor:
        learned = {id(parameter) for parameter in forward.game.parameters[self.player]}
        nets = [forward.game.nets[name] for name in forward.game.task.players[self.player]]
        filters = [matrix for net in nets for matrix in filter_matrices(net, learned)]
        if not filters:
            raise ValueError(f"regularizer orthogonal: the {self.player} learns no weight of two or more dimensions")
        with full_precision(filters[0].device.type):
            return torch.stack([overlap(rows) for rows in filters]).sum()


def filter_matrices(net: nn.Module, learned: set[int]) -> Iterator[Tensor]:
    """Weights as matrices [outputs, inputs], without embeddings and without parameters whose id is not in `learned`."""
    embedded, transposed = (
        {id(p) for module in net.modules() if isinstance(module, kind) for p in module.parameters()}
        for kind in ((nn.Embedding, nn.EmbeddingBag), nn.modules.conv._ConvTransposeNd)
    )
    for parameter in net.parameters():
        if parameter.dim() > 1 and id(parameter) in learned - embedded:
            yield (parameter.transpose(0, 1) if id(parameter) in transposed else parameter).flatten(1)


def overlap(rows: Tensor) -> Tensor:
    """The squared inner products of all pairs of different rows [N, M], summed."""
    if rows.shape[0] <= rows.shape[1]:
        return 2 * (rows @ rows.T).triu(1).square().sum()
    # |W^T W|_F = |W W^T|_F: of the two Gram matrices take the smaller, and subtract the diagonal of the larger.
    return (rows.T @ rows).square().sum() - rows.square().sum(1).square().sum()
