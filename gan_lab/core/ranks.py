"""A game that several processes play, each a rank: their states begin equal, and are checked to stay so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.core.loop import Game

WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by an element's bytes


def share(game: Game) -> None:
    """Give every rank rank 0's state. All ranks call it before the first step, and after rank 0 has loaded another."""
    if game.runtime.world > 1:
        state = game.runtime.share(game.state_dict)
        if game.runtime.rank:
            game.load_state_dict(state)


def difference(game: Game) -> str | None:
    """Where a rank's state is not rank 0's, bit for bit, as `rank 1: parts/task/nets/...`; None where all are equal.

    All ranks call it, and get the same answer. They exchange a number for each tensor, the sum of its bits, so a change
    of any one element is seen.
    """
    if game.runtime.world == 1:
        return None
    state = game.state_dict()
    tensors = {**dict(_tensors(state["parts"], "parts")), **dict(_tensors(state["optimizers"], "optimizers"))}
    sums = torch.stack([_sum_of_bits(tensor).to(game.runtime.device) for tensor in tensors.values()])
    every = game.runtime.gather(sums[None])
    differing = (every != every[0]).nonzero().tolist()
    if not differing:
        return None
    rank, index = differing[0]
    return f"rank {rank}: {list(tensors)[index]}"


def _tensors(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a nested state by their paths."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{name}/{key}")
    elif isinstance(state, (list, tuple)):
        for i, value in enumerate(state):
            yield from _tensors(value, f"{name}/{i}")


def _sum_of_bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(WORDS[tensor.element_size()]).sum(dtype=torch.int64)
