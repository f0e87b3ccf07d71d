"""What is saved is enough: a run that was stopped anywhere goes on to the same bits."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_lab.core import checkpoint
from gan_lab.core.forward_pass import ForwardPass
from gan_lab.core.hooks import LearningRate
from gan_lab.core.loop import Game, train
from gan_lab.core.types import Phase
from gan_lab.schedules import Cosine
from tests.core.toys import FunctionTerm, ToyTask, equal, input_gradient, make_game, networks, two_phases


class Drift(nn.Module):
    """A stateful term: pulls D's weights towards their own running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.probes = 0.1, frozenset[str]()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, forward: Any) -> Tensor:
        logits = forward.real_logits
        with torch.no_grad():
            self.mean.lerp_(logits.mean(), 0.1)
        return (logits - self.mean).square()


class Controller:
    """A stateful action after the step, as ADA's is."""

    def __init__(self) -> None:
        self.strength = 0.0

    def __call__(self, forward: ForwardPass) -> None:
        self.strength += 0.01 * forward.real_logits.sign().mean().item()  # type: ignore[attr-defined]
        for parameter in forward.game.parameters["discriminator"]:
            parameter.data.mul_(1 - 0.01 * self.strength)

    def state_dict(self) -> dict[str, float]:
        return {"strength": self.strength}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.strength = state["strength"]


def penalty(**kind: Any) -> FunctionTerm:
    return FunctionTerm(input_gradient, 0.2, ("real",), **kind)


def rich_game() -> Game:
    phases = two_phases(terms={"drift": Drift()}, after=(Controller(),), repeat=2)
    phases.insert(1, Phase("r1", "discriminator", {"r1": penalty()}, every=3))
    game = make_game(ToyTask(networks(norm=True, dropout=0.3)), phases, ema=0.9)
    game.hooks.insert(0, LearningRate(game.optimizers, Cosine(400)))
    return game


def staged_game() -> Game:
    phases = [Phase(p.name, p.player, p.terms, stop=p_stop) for p, p_stop in zip(two_phases(), (80, None), strict=True)]
    return make_game(ToyTask(networks(norm=True)), phases, ema=0.99)


GAMES: dict[str, Callable[[], Game]] = {
    "batch norm, dropout, lazy penalty, n_critic, EMA, schedule, stateful term and action": rich_game,
    "eager penalty": lambda: make_game(phases=two_phases(terms={"r1": penalty()}), ema=0.5),
    "reused fakes": lambda: make_game(ToyTask(networks(norm=True)), reuse_fakes=True),
    "momentum": lambda: make_game(optimizer=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, fused=True)),
    "across a stage": staged_game,
    "micro-batches": lambda: make_game(ToyTask(networks(dropout=0.5)), micro_batches=2),
}


@pytest.mark.parametrize("name", GAMES)
def test_resuming_ends_in_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = GAMES[name]()
    train(whole, 160)
    part = GAMES[name]()
    for stop in (16, 72, 160):
        train(part, stop)
        checkpoint.save({"images": part.images, "game": part.state_dict()}, tmp_path)
        part = GAMES[name]()
        torch.manual_seed(stop)  # whatever else a new process does differently
        state = checkpoint.load_newest(tmp_path)
        assert state is not None
        part.load_state_dict(state["game"])
    assert equal(whole.state_dict(), part.state_dict())


def test_every_item_of_the_state_is_needed(tmp_path: Path) -> None:
    whole = rich_game()
    train(whole, 160)
    first = rich_game()
    train(first, 64)
    saved = first.state_dict()
    items = [
        ("step",),
        ("images",),
        *(("parts", name) for name in saved["parts"]),
        *(("optimizers", p) for p in saved["optimizers"]),
    ]
    for *outer, name in items:
        fresh = rich_game()
        state = fresh.state_dict()
        for key in saved:
            if isinstance(saved[key], dict):
                state[key] = {k: v for k, v in saved[key].items() if [key, k] != [*outer, name]} | {
                    k: v for k, v in state[key].items() if [key, k] == [*outer, name]
                }
            elif [key] != [*outer, name]:
                state[key] = saved[key]
        fresh.load_state_dict(state)
        train(fresh, 160)
        assert not equal(whole.state_dict(), fresh.state_dict()), f"{name} may be dropped unnoticed"
    assert {"task/nets", "term/discriminator/drift", "after/discriminator/0", "hook/EMA"} == set(saved["parts"])


def test_a_checkpoint_of_other_parts_is_refused() -> None:
    game = make_game()
    with pytest.raises(ValueError, match="hook/EMA"):
        game.load_state_dict(make_game(ema=0.9).state_dict())


# -- the directory -----------------------------------------------------------------------------------------------------


def state_at(images: int) -> dict[str, Any]:
    return {"images": images, "tensor": torch.arange(3.0) + images, "text": "plain"}


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for images in (10, 20, 30, 40):
        path = checkpoint.save(state_at(images), tmp_path, keep=2)
    assert path.name == "000000000040"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000000030", "000000000040"]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["bytes"] == (path / "state.pt").stat().st_size
    assert equal(torch.load(path / "state.pt", weights_only=True), state_at(40))
    checkpoint.save(state_at(40), tmp_path)
    assert equal(checkpoint.load_newest(tmp_path), state_at(40))


@pytest.mark.parametrize("damage", ["cut", "a byte less", "empty", "one bit", "no manifest", "half a manifest", "odd"])
def test_a_damaged_checkpoint_is_named_and_passed_over(damage: str, tmp_path: Path) -> None:
    for images in (10, 20):
        path = checkpoint.save(state_at(images), tmp_path)
    payload, manifest = path / "state.pt", path / "manifest.json"
    content = bytearray(payload.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
        payload.write_bytes(content)
    elif damage in ("cut", "a byte less", "empty"):
        left = {"cut": len(content) // 2, "a byte less": len(content) - 1, "empty": 0}[damage]
        payload.write_bytes(content[:left])
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "half a manifest":
        manifest.write_text(manifest.read_text()[:20])
    else:
        manifest.write_text("[1, 2]")
    with pytest.warns(UserWarning, match="000000000020 is damaged and passed over"):
        assert equal(checkpoint.load_newest(tmp_path), state_at(10))


def test_training_never_starts_again_where_all_checkpoints_are_damaged(tmp_path: Path) -> None:
    assert checkpoint.load_newest(tmp_path / "none") is None
    (checkpoint.save(state_at(10), tmp_path) / "state.pt").write_bytes(b"")
    with pytest.raises(checkpoint.DamagedCheckpoints, match="every checkpoint"):
        checkpoint.load_newest(tmp_path)


def with_schema(path: Path, schema: int) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"schema": schema}))


def test_a_newer_versions_checkpoint_is_refused_by_name_and_not_passed_over(tmp_path: Path) -> None:
    for images in (10, 20):
        path = checkpoint.save(state_at(images), tmp_path)
    with_schema(path, 99)
    for read in (lambda: checkpoint.load_newest(tmp_path), lambda: checkpoint.load_of(tmp_path, 20)):
        with pytest.raises(checkpoint.UnknownSchema, match=r"000000000020 has schema 99.*reads 1 to 2"):
            read()


def test_an_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    game = make_game()
    game.add(LearningRate(game.optimizers, Cosine(400)))
    state = game.state_dict()
    del state["parts"]["hook/LearningRate"]  # which schema 1 did not have
    with_schema(checkpoint.save({"images": 10, "game": state}, tmp_path), 1)
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    game.load_state_dict(found["game"])
    assert found["game"]["parts"]["hook/LearningRate"] == {"halvings": 0}


def test_checkpoints_of_a_time_that_is_taken_back_are_removed(tmp_path: Path) -> None:
    for images in (10, 20, 30):
        checkpoint.save(state_at(images), tmp_path, keep=3)
    checkpoint.drop_after(tmp_path, 20)
    assert checkpoint.kept(tmp_path) == [20, 10]


def test_a_save_that_fails_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    """A file's limit of 100 kB stands for a full disk."""
    checkpoint.save(state_at(10), tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            checkpoint.save(state_at(20) | {"large": torch.zeros(50_000)}, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert [p.name for p in tmp_path.iterdir()] == ["000000000010"]
    checkpoint.save(state_at(20) | {"large": torch.zeros(50_000)}, tmp_path)
    assert checkpoint.kept(tmp_path) == [20, 10]


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path: Path) -> None:
    for strange in (np.float64(1.0), tmp_path, torch.torch_version.TorchVersion("2.0")):
        with pytest.raises(TypeError, match=r"state\['part'\] holds a"):
            checkpoint.save(state_at(10) | {"part": [strange]}, tmp_path)
    assert not list(tmp_path.iterdir())
