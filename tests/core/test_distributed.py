"""Two processes that share a batch take the steps of one: no wrapper, one flat all-reduce a phase."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from gan_lab.core.loop import Game, train
from gan_lab.core.runtime import Runtime
from gan_lab.core.types import Phase
from tests.core.toys import FunctionTerm, ToyTask, input_gradient, make_game, networks, points, two_phases


def game_of(rank: int, world: int) -> Game:
    torch.set_default_dtype(torch.float64)
    term = FunctionTerm(input_gradient, 0.3, ("real",))
    return make_game(
        ToyTask(networks(seed=rank)),  # rank 0's weights are everybody's
        [*two_phases(), Phase("r1", "discriminator", {"r1": term}, every=2)],
        optimizer=lambda p: torch.optim.SGD(p, 0.1),
        data=points(dtype=torch.float64),
        runtime=Runtime(rank=rank, world=world),
        micro_batches=2,
    )


def worker(rank: int, store: str, out: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    game = game_of(rank, 2)
    train(game, 80)
    torch.save(game.nets.state_dict(), f"{out}{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    try:
        multiprocessing.spawn(worker, (str(tmp_path / "store"), str(tmp_path / "rank")), nprocs=2)
        game = game_of(0, 1)
        train(game, 80)
    finally:
        torch.set_default_dtype(torch.float32)
    for rank in (0, 1):
        state = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        torch.testing.assert_close(state, dict(game.nets.state_dict()), rtol=1e-12, atol=1e-12)
