"""Averages, schedules, periods and logs."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_lab.core.hooks import EMA, Diverged, Do, LearningRate, Log
from gan_lab.core.loop import Game, step, train
from gan_lab.core.types import Phase
from gan_lab.schedules import Constant, Cosine
from tests.core.toys import FunctionTerm, ToyTask, equal, make_game, networks, two_phases


def test_the_average_ramps_up_and_copies_buffers() -> None:
    game = make_game(ToyTask(networks(norm=True)), ema=0.6)
    (average,) = (hook for hook in game.hooks if isinstance(hook, EMA))
    expected = [p.detach().clone() for p in game.nets.parameters()]
    for count in range(1, 13):
        train(game, 8 * count)
        decay = min(0.6, (1 + count) / (10 + count))
        expected = [decay * e + (1 - decay) * p.detach() for e, p in zip(expected, game.nets.parameters(), strict=True)]
    torch.testing.assert_close(list(average.average.parameters()), expected)
    assert equal(dict(average.average.named_buffers()), dict(game.nets.named_buffers()))
    assert not any(p.requires_grad for p in average.average.parameters())


@pytest.mark.parametrize("decay", [-0.1, 0.0, 1.0, 2.0])
def test_an_average_that_cannot_work_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"trainer\.ema"):
        EMA(networks(), decay)


def test_the_schedule_multiplies_each_players_own_rate() -> None:
    game = make_game()
    game.optimizers["generator"].param_groups[0]["lr"] = 0.4  # before the hook looks: the base rate
    game.hooks.insert(0, LearningRate(game.optimizers, Cosine(80, final=0.1)))
    train(game, 48)  # the last step began at 40 images: half way, the factor is (1 + final) / 2
    rates = [game.optimizers[player].param_groups[0]["lr"] for player in ("generator", "discriminator")]
    assert rates == pytest.approx([0.4 * 0.55, 0.01 * 0.55])


def test_schedules_have_their_ends_where_they_say() -> None:
    cosine = Cosine(1000, final=0.2)
    assert [cosine(0), cosine(500), cosine(1000), cosine(5000)] == pytest.approx([1, 0.6, 0.2, 0.2])
    assert cosine.depends_on_duration
    fixed = Cosine(1000, images=100)
    assert fixed(100) == pytest.approx(0)
    assert not fixed.depends_on_duration
    assert Constant()(10**9) == 1


def test_a_period_fires_once_whenever_it_has_passed() -> None:
    fired: list[int] = []
    game = make_game(hooks=[Do(20, lambda game: fired.append(game.images)), Do(0, lambda game: fired.append(-1))])
    train(game, 88)
    assert fired == [24, 40, 64, 80]


def test_a_record_holds_the_means_since_the_last_one() -> None:
    records: list[dict[str, Any]] = []
    logged, watched = make_game(hooks=[Log(16, records.append)]), make_game()
    losses: list[float] = []

    class Watch(Do):
        def after_play(self, game: Game, phase: Phase, values: Any) -> None:
            if phase.name == "generator":
                losses.append(values["adversarial"][0].item())

    watched.add(Watch(0, lambda game: None))
    for game in (logged, watched):
        train(game, 48)
    assert [record["images"] for record in records] == [16, 32, 48]
    means = [sum(losses[i : i + 2]) / 2 for i in (0, 2, 4)]
    assert [record["generator/adversarial"] for record in records] == pytest.approx(means)
    assert {"discriminator/gradient_norm", "performance/images_per_second", "step"} <= records[0].keys()
    assert not any("skipped" in name for name in records[0])


def test_time_between_windows_is_not_training() -> None:
    records: list[dict[str, Any]] = []
    game = make_game(hooks=[Log(1000, records.append, also=(40,)), Do(40, lambda game: time.sleep(0.5))])
    train(game, 160)
    assert len(records) == 4
    assert all(record["performance/images_per_second"] > 40 / 0.4 for record in records)


def test_learning_rates_stay_halved_whatever_the_schedule_and_after_resuming() -> None:
    game = make_game()
    rates = LearningRate(game.optimizers, Cosine(80, final=0.1))
    game.hooks.insert(0, rates)
    whole = [group["lr"] for optimizer in game.optimizers.values() for group in optimizer.param_groups]
    rates.halvings = 2
    step(game)
    halved = [group["lr"] for optimizer in game.optimizers.values() for group in optimizer.param_groups]
    assert halved == pytest.approx([rate / 4 for rate in whole])
    again = LearningRate(game.optimizers, Cosine(80, final=0.1))
    again.load_state_dict(rates.state_dict())
    assert again.halvings == 2


def test_a_window_in_two_parts_has_the_means_of_one() -> None:
    logs: list[list[dict[str, Any]]] = [[], []]
    for parts, records in zip((1, 2), logs, strict=True):
        game = make_game()
        log = Log(32, records.append)
        game.add(log)
        train(game, 16)
        if parts == 2:
            memory = log.memory()
            log.restart(0)
            log.recall(memory, torch.device("cpu"))
        train(game, 32)
    timed = "performance/images_per_second"
    assert [{k: v for k, v in r.items() if k != timed} for r in logs[0]] == [
        {k: v for k, v in r.items() if k != timed} for r in logs[1]
    ]
    assert len(logs[0]) == 1


def test_up_to_where_it_was_sound_is_where_a_window_ended_without_a_skipped_update() -> None:
    game = make_game()
    log = Log(16, lambda record: None)
    game.add(log)
    train(game, 32)
    assert log.sound == 32
    log._values = {"a/skipped": [torch.tensor(0.0), torch.tensor(1.0)]}
    log._start = (0.0, 32)
    game.images = 48
    log.flush(game)
    assert log.sound == 32


def test_a_window_without_a_finite_gradient_is_divergence() -> None:
    bad = FunctionTerm(lambda f: f.fake_logits * float("inf"))
    records: list[dict[str, Any]] = []
    game = make_game(phases=[*two_phases(), Phase("bad", "generator", {"bad": bad})], hooks=[Log(24, records.append)])
    with pytest.raises(Diverged, match="no finite gradient in bad"):
        train(game, 100)
    assert records[0]["bad/skipped"] == 1
    assert game.images == 24


@pytest.mark.parametrize("every", [8, 16, 1000])
def test_a_single_bad_move_of_a_lazy_phase_is_no_divergence(every: int) -> None:
    """Though other periods cut windows so short that it is all that one holds, and the last one, too."""
    steps: list[int] = []

    def bad_once(forward: Any) -> Tensor:
        steps.append(forward.game.step)
        return forward.fake_logits * (float("nan") if forward.game.step == 8 else 1.0)

    lazy = Phase("lazy", "discriminator", {"bad": FunctionTerm(bad_once)}, every=4)
    records: list[dict[str, Any]] = []
    log = Log(every, records.append, also=[8, 72])
    game = make_game(phases=[*two_phases(), lazy], hooks=[log])
    train(game, 80)
    log.flush(game, end=True)
    assert any(record.get("lazy/skipped") == 1 for record in records)
    assert steps == [0, 4, 8]


def test_a_hook_with_state_is_saved_under_its_name() -> None:
    game = make_game(ema=0.9)
    assert "hook/EMA" in game.state_dict()["parts"]
    average = copy.deepcopy(game.state_dict()["parts"]["hook/EMA"])
    train(game, 16)
    assert not equal(average, game.state_dict()["parts"]["hook/EMA"])
    assert torch.is_tensor(next(iter(average.values())))
