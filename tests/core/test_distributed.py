"""Two processes that share a batch take the steps of one: no wrapper, one flat all-reduce a phase."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn

from gan_lab.core.batch_norm import share_statistics
from gan_lab.core.loop import Game, train
from gan_lab.core.ranks import difference, share
from gan_lab.core.runtime import Runtime, inference, mean_over_ranks
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
    share(game)
    assert difference(game) is None
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


# -- batch norm, and what else ranks exchange --------------------------------------------------------------------------


def norm_game(rank: int, world: int, policy: str) -> Game:
    torch.set_default_dtype(torch.float64)
    nets = networks(norm=True)
    nets["discriminator"].body.insert(1, nn.BatchNorm1d(8))  # so that a penalty is differentiated twice through it
    shared = share_statistics(nets, policy) if world > 1 else []  # type: ignore[arg-type]
    term = FunctionTerm(input_gradient, 0.3, ("real",))
    return make_game(
        ToyTask(nets),
        [*two_phases(), Phase("r1", "discriminator", {"r1": term}, every=2)],
        optimizer=lambda p: torch.optim.SGD(p, 0.1),
        data=points(dtype=torch.float64),
        runtime=Runtime(rank=rank, world=world),
        hooks=shared,
        ema=0.9,
    )


def norm_worker(rank: int, store: str, out: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found: dict[str, object] = {}
    for policy in ("synchronized", "rank"):
        game = norm_game(rank, 2, policy)
        train(game, 80)
        found[policy] = {name: value.clone() for name, value in game.nets.state_dict().items()}
        found[f"{policy} differs"] = difference(game)
    if rank == 1:
        game.nets["generator"][0].weight.data[0, 0] += 1e-12
    found["planted"] = difference(game)
    runtime = game.runtime
    found["gathered"] = runtime.gather(torch.full((2, 3), float(rank)))
    found["mean"] = mean_over_ranks(torch.tensor([rank, 1.0]))
    found["own"] = runtime.own(torch.arange(4))
    found["maximum"] = runtime.maximum(rank, -rank)
    found["shared"] = runtime.share(lambda: {"rank": rank, "tensor": torch.ones(3)})
    torch.save(found, f"{out}{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_batch_norm_over_ranks_is_that_of_one_process_and_differences_are_named(tmp_path: Path) -> None:
    try:
        multiprocessing.spawn(norm_worker, (str(tmp_path / "store"), str(tmp_path / "rank")), nprocs=2)
        game = norm_game(0, 1, "synchronized")
        train(game, 80)
    finally:
        torch.set_default_dtype(torch.float32)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(first["synchronized"], dict(game.nets.state_dict()), rtol=1e-10, atol=1e-12)
    own = first["rank"]["generator.0.weight"]
    assert not torch.allclose(own, game.nets["generator"][0].weight, atol=1e-4)  # a policy of its own
    for policy in ("synchronized", "rank"):
        assert first[f"{policy} differs"] is None
        assert all(torch.equal(value, second[policy][name]) for name, value in first[policy].items())
    assert first["planted"] == second["planted"] == "rank 1: parts/task/nets/generator.0.weight"
    assert first["gathered"].tolist() == [[0.0] * 3] * 2 + [[1.0] * 3] * 2
    assert (first["own"].tolist(), second["own"].tolist()) == ([0, 1], [2, 3])
    assert first["mean"].tolist() == second["mean"].tolist() == [0.5, 1.0]
    assert first["maximum"] == second["maximum"] == [1, 0]
    assert second["shared"]["rank"] == 0
    assert torch.equal(second["shared"]["tensor"], torch.ones(3))


@pytest.mark.parametrize("statistics", ["running", "batch", "standing"])
def test_rank_0_samples_alone_by_any_statistics(statistics: str) -> None:
    """No process group is there, so an exchange would raise."""
    nets = networks(norm=True)
    share_statistics(nets, "synchronized")
    noise = torch.randn(8, 3)
    with inference(nets, statistics, lambda nets: nets["generator"](noise)) as resting:
        assert resting["generator"](noise).shape == (8, 2)
    nets.train()
    with pytest.raises(ValueError, match="Default process group"):
        nets["generator"](noise)
