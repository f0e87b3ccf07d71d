"""Autoencoding with an adversary: the adaptive weight, the stages, the switch, and how runs go on."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.core.loop import play, train
from gan_lab.core.runtime import Runtime
from gan_lab.run.health import RULES
from gan_lab.tasks.perceptual import PerceptualDistance, distance_of_maps
from gan_lab.tasks.switch import Switch
from tests.core.toys import equal
from tests.faults.lab import Trained
from tests.tasks.killing import kill_after
from tests.tasks.small import build, weights
from tests.tasks.toys import AUTOENCODER, QUICK, SCORED

STAGES = ["task.discriminator_start=16", "task.head_start=16"]
VQ_SMALL = ["bottleneck=vq", "bottleneck.codes=8", "bottleneck.channels=4"]
RUN = [
    *QUICK, *AUTOENCODER, *VQ_SMALL, *STAGES, *SCORED, "dataset=toy_deep", "evaluation.metrics=[psnr]",
    "trainer.images=64", "trainer.checkpoint_every=8", "trainer.keep_checkpoints=9", "tracking.log_every=8",
    "evaluation.every=24", "tracking.samples_every=0",
]  # fmt: skip


def game_of(*words: str) -> Any:
    return build(*AUTOENCODER, "degradation=null", "trainer.images=64", *words).game


def game_pass(game: Any) -> Any:
    """A pass of the phase in which the autoencoder hears the discriminator, ready to be differentiated."""
    (phase,) = [phase for phase in game.phases if phase.player == "generator" and "adversarial" in phase.terms]
    game.give_turn("generator")
    return game.task.forward_pass(game, phase, 0, slice(0, game.batch_size)), phase


# -- the adaptive weight -----------------------------------------------------------------------------------------------


def test_the_adaptive_weight_makes_both_gradients_of_the_last_weight_as_long() -> None:
    """Esser et al. 2021, eq. 7: lambda = |grad L_rec| / (|grad L_adv| + delta)."""
    game = game_of("task.pixel_weight=3")
    forward, _ = game_pass(game)
    last = game.task.last_weight
    assert last.shape == dict(game.nets["decoder"].named_parameters())["last.1.weight"].shape
    error = 3 * (forward.fake - forward.target).abs().mean()
    adversarial = nn.functional.softplus(-forward.fake_logits).mean()
    ours, theirs = (torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (error, adversarial))
    torch.testing.assert_close(forward.adaptive_weight, ours / (theirs + 1e-6))
    assert not forward.adaptive_weight.requires_grad


@pytest.mark.parametrize("reuse", [False, True])
def test_the_loop_differentiates_exactly_that_objective(reuse: bool) -> None:
    game = game_of("task.adversarial_weight=0.7", f"trainer.reuse_fakes={str(reuse).lower()}")
    forward, phase = game_pass(game)
    error = forward.pixel_error.mean() + 1e-3 * forward.made.code.penalty.mean()
    objective = error + 0.7 * forward.adaptive_weight * nn.functional.softplus(-forward.fake_logits).mean()
    parameters = game.parameters["generator"]
    expected = torch.autograd.grad(objective, parameters)
    play(game, phase)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)


def test_without_it_the_weight_is_the_chosen_one() -> None:
    game = game_of("task.adaptive_weight=false", "task.adversarial_weight=0.3")
    forward, phase = game_pass(game)
    assert phase.terms["adversarial"].weight == 0.3
    torch.testing.assert_close(
        phase.terms["adversarial"](forward).mean(), nn.functional.softplus(-forward.fake_logits).mean()
    )


# -- errors ------------------------------------------------------------------------------------------------------------


def test_the_perceptual_distance_is_that_of_unit_vectors() -> None:
    """Of vectors at an angle a, |u - v|^2 = 2 - 2 cos a."""
    ours = [torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)]
    for angle in (0.0, 0.5, 2.0):
        theirs = [5 * torch.tensor([math.cos(angle), math.sin(angle)]).view(1, 2, 1, 1)]
        assert float(distance_of_maps(ours, theirs)) == pytest.approx(2 - 2 * math.cos(angle), abs=1e-6)


def test_the_perceptual_distance_grows_with_the_damage_and_is_not_in_the_state() -> None:
    distance = PerceptualDistance("mnist5k", (1, 32, 32))
    pictures = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    found = [distance(pictures + sigma * noise, pictures).mean() for sigma in (0.0, 0.1, 0.5)]
    assert found[0] < 1e-6
    assert found[0] < found[1] < found[2]
    game = game_of("dataset.image_size=32", "task.perceptual=mnist5k", "task.perceptual_weight=2")
    assert game.task.errors["perceptual"].weight == 2
    assert set(game.stateful) >= {"task/nets", "task/switch"}
    assert not [key for part in game.state_dict()["parts"].values() for key in part if "body" in key]


# -- stages ------------------------------------------------------------------------------------------------------------


def test_the_discriminator_rests_then_learns_alone_and_then_is_heard() -> None:
    game, alone = game_of(*STAGES), game_of("task.adversarial_weight=0")
    before = weights(game.nets, ["discriminator"])
    assert [(phase.name, list(phase.terms)) for phase in game.active_phases()] == [("generator", ["pixel", "kl"])]
    train(game, 16)
    assert equal(weights(game.nets, ["discriminator"]), before)
    assert {phase.name for phase in game.active_phases()} == {"discriminator", "generator"}
    train(game, 32)
    train(alone, 32)
    names = ["encoder", "bottleneck", "decoder"]
    assert not equal(weights(game.nets, ["discriminator"]), before)
    assert equal(weights(game.nets, names), weights(alone.nets, names)), "not heard yet, to the last bit"
    assert list(game.active_phases()[-1].terms) == ["pixel", "kl", "adversarial"]
    train(game, 40)
    train(alone, 40)
    assert not equal(weights(game.nets, names), weights(alone.nets, names))
    assert game.task.selects_from == 32


def test_reused_fakes_play_the_same_game_where_nothing_is_drawn() -> None:
    """Without noise in the code, the autoencoder's fakes of one step are the same whether made once or twice."""
    kept, fresh = (game_of(*VQ_SMALL, f"trainer.reuse_fakes={word}") for word in ("true", "false"))
    for game in (kept, fresh):
        train(game, 24)
    for name, value in weights(kept.nets).items():
        torch.testing.assert_close(value, weights(fresh.nets)[name], msg=name)


# -- the switch --------------------------------------------------------------------------------------------------------


def stepped(switch: Switch, error: float, playing: bool) -> None:
    phase = SimpleNamespace(terms={"adversarial": None} if playing else {})
    game = SimpleNamespace(runtime=Runtime(threads=1))
    switch.after_step(SimpleNamespace(pixel_error=torch.full((4,), error), phase=phase, game=game))


def test_the_switch_says_how_much_worse_the_reconstruction_is_since_the_game_began() -> None:
    switch = Switch()
    assert switch.signals() == {}
    for _ in range(10):
        stepped(switch, 0.2, playing=False)
    assert switch.signals() == {}
    stepped(switch, 0.2, playing=True)
    assert switch.signals()["reconstruction"] == pytest.approx(0, abs=1e-6)
    for _ in range(500):
        stepped(switch, 0.3, playing=True)
    assert switch.signals()["reconstruction"] == pytest.approx(0.5, abs=1e-3)


def test_a_spoilt_reconstruction_raises_its_warning_and_a_steady_one_does_not() -> None:
    (rule,) = [rule for rule in RULES if rule.signal == "reconstruction"]
    assert rule.level([-0.1, 0.0, 0.1]) == 0
    assert rule.level([0.1, 0.3, 0.4, 0.5]) == 1
    assert rule.level([1.5, 1.2, 2.0]) == 2
    assert "30%" in rule.found.format(0.3)


# -- going on ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages that nobody interrupts."""
    folder = tmp_path_factory.mktemp("stages") / "whole"
    assert main(["train", *RUN, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that were killed after a checkpoint of the errors alone, of D's head start, and of the game."""
    folder = tmp_path_factory.mktemp("killed")
    kill_after((8, 24, 48), RUN, folder)
    return folder


def state_of(run: Path) -> dict[str, Any]:
    state = checkpoint.load_newest(run / "checkpoints")
    assert state is not None
    game: dict[str, Any] = state["game"]
    return game


@pytest.mark.parametrize("images", [8, 24, 48])
def test_a_run_that_is_killed_in_any_stage_ends_as_if_nothing_had_been(images: int, killed: Path, whole: Path) -> None:
    folder = killed / str(images)
    assert Trained(folder).newest == images
    assert main(["train", *RUN, f"run_dir={folder}"]) == 0
    assert Trained(folder).differs(whole) == ""
    assert equal(state_of(folder), state_of(whole))


def gone_on() -> Any:
    """A game that was saved in its game stage, built anew, loaded and trained to its end."""
    first, again = game_of(*VQ_SMALL, *STAGES), game_of(*VQ_SMALL, *STAGES)
    train(first, 40)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    train(again, 64)
    return again


@pytest.mark.parametrize("forgotten", ["nothing", "codebook", "count", "total", "mean", "square", "before", "now"])
def test_each_buffer_that_a_checkpoint_left_out_would_change_the_end(
    forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation check of the test above: codebook, its statistics, those of latents, and the switch."""
    whole = game_of(*VQ_SMALL, *STAGES)
    train(whole, 64)
    register = nn.Module.register_buffer

    def forgetful(self: nn.Module, name: str, value: Tensor, persistent: bool = True) -> None:
        register(self, name, value, persistent and name != forgotten)

    monkeypatch.setattr(nn.Module, "register_buffer", forgetful)
    game = gone_on()
    ended = [[*weights(g.nets).items(), *g.task.switch.named_buffers(), *g.task.bottleneck.named_buffers()]
             for g in (game, whole)]  # fmt: skip
    known = dict(ended[0])
    differ = {name for name, value in ended[1] if not torch.equal(value, known.get(name, value))}
    assert bool(differ) == (forgotten != "nothing"), differ
    moves_weights = forgotten in ("codebook", "count", "total")
    assert any(name.startswith("encoder.") for name in differ) == moves_weights


def test_curves_go_on_through_the_switch(whole: Path) -> None:
    records = [r for r in Trained(whole).records if "selection/psnr" not in r]
    assert all({"generator/pixel", "generator/codebook_use", "generator/perplexity"} <= r.keys() for r in records)
    heard = [r["images"] for r in records if "generator/adaptive_weight" in r]
    assert heard == [40, 48, 56, 64]
    judged = [r["images"] for r in records if "discriminator/adversarial" in r]
    assert judged == [24, 32, 40, 48, 56, 64]
