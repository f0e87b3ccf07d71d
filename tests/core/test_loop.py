"""The game's contracts, each proven by a toy part."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.core.hooks import Hook
from gan_lab.core.loop import Game, Order, play, step, train
from gan_lab.core.runtime import Runtime
from gan_lab.core.types import AdversarialTerm, DiscriminatorOutput, Phase, per_sample, regularized
from gan_lab.datasets.store import Store
from tests.core.toys import (
    LOSS,
    FunctionTerm,
    Pass,
    ToyTask,
    equal,
    input_gradient,
    make_game,
    networks,
    points,
    two_phases,
)


def weights(game: Game, name: str) -> list[Tensor]:
    return [p.detach().clone() for p in game.nets[name].parameters()]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1)


def test_a_phase_moves_its_player_alone_and_computes_no_other_gradient() -> None:
    game = make_game()
    before = copy.deepcopy(game.nets)
    play(game, game.phases[0])
    assert not equal(before["discriminator"].state_dict(), game.nets["discriminator"].state_dict())
    assert equal(before["generator"].state_dict(), game.nets["generator"].state_dict())
    assert all(p.grad is None for p in game.nets["generator"].parameters())


def test_a_step_by_sgd_is_the_gradient_of_the_written_objective() -> None:
    game = make_game(optimizer=sgd)
    reference = copy.deepcopy(game.nets).requires_grad_(True)
    forward = Pass(game, game.phases[0], 0, slice(0, 8))
    fake, real = reference["generator"](forward.draw("z", 3)).detach(), forward.data("sample")
    logits = reference["discriminator"](real), reference["discriminator"](fake)
    (nn.functional.softplus(-logits[0]) + nn.functional.softplus(logits[1])).mean().backward()
    play(game, game.phases[0])
    for moved, old in zip(
        game.nets["discriminator"].parameters(), reference["discriminator"].parameters(), strict=True
    ):
        torch.testing.assert_close(moved, old - 0.1 * old.grad, rtol=1e-6, atol=1e-7)


def test_scalar_row_and_map_terms_weigh_the_same() -> None:
    shapes = [lambda f: f.fake_logits.mean(), lambda f: f.fake_logits, lambda f: f.fake_logits[:, None].expand(-1, 5)]
    moved = []
    for shape in shapes:
        game = make_game(phases=[Phase("only", "generator", {"term": FunctionTerm(shape, weight=2.0)})], optimizer=sgd)
        values = play(game, game.phases[0])
        moved.append((weights(game, "generator"), values["term"][0]))
    for other, value in moved[1:]:
        torch.testing.assert_close(other, moved[0][0])
        torch.testing.assert_close(value, moved[0][1])


def test_a_lazy_term_runs_each_nth_step_scaled_by_n() -> None:
    term = FunctionTerm(input_gradient, weight=0.5, probes=("real",))
    lazy = Phase("penalty", "discriminator", {"penalty": term}, every=3)
    eager = Phase("penalty", "discriminator", {"penalty": FunctionTerm(input_gradient, 1.5, ("real",))})
    played: list[tuple[int, str]] = []

    class Watch(Hook):
        def after_play(self, game: Game, phase: Phase, values: Any) -> None:
            played.append((game.step, phase.name))

    games = [make_game(phases=[phase], optimizer=sgd) for phase in (lazy, eager)]
    for game in games:
        play(game, game.phases[0])
    assert equal(games[0].nets.state_dict(), games[1].nets.state_dict())
    game = make_game(phases=[*two_phases(), lazy], hooks=[Watch()])
    for _ in range(7):
        step(game)
    assert [at for at, name in played if name == "penalty"] == [0, 3, 6]
    assert sum(name == "generator" for _, name in played) == 7


def test_a_phase_of_penalties_alone_never_runs_the_generator() -> None:
    class Refuses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("the generator was run")

    nets = networks()
    nets["generator"] = Refuses()
    term = FunctionTerm(input_gradient, probes=("real",))
    game = make_game(ToyTask(nets, {"discriminator": ["discriminator"]}), [Phase("r1", "discriminator", {"r1": term})])
    assert play(game, game.phases[0])["r1"][0] > 0


def test_a_stage_starts_and_stops_at_its_images_and_resting_nets_are_in_eval_mode() -> None:
    nets = networks(norm=True)
    nets["encoder"] = nn.Linear(2, 3)
    players = {"generator": ["generator"], "discriminator": ["discriminator"], "encoder": ["encoder"]}
    code = FunctionTerm(lambda f: (f.net("encoder")(f.real)).square())
    phases = [
        Phase("d", "discriminator", {"a": AdversarialTerm(LOSS.discriminator)}, stop=16),
        Phase("g", "generator", {"a": AdversarialTerm(LOSS.generator)}, stop=16),
        Phase("e", "encoder", {"code": code}, start=16),
    ]
    game = make_game(ToyTask(nets, players), phases)
    encoder = weights(game, "encoder")
    train(game, 16)
    assert equal(encoder, weights(game, "encoder"))
    assert nets["generator"].training
    assert not nets["encoder"].training
    generator = copy.deepcopy(nets["generator"].state_dict())
    train(game, 32)
    assert equal(generator, nets["generator"].state_dict())
    assert not equal(encoder, weights(game, "encoder"))
    assert nets["encoder"].training
    assert not nets["generator"].training
    assert (game.step, game.images) == (4, 32)


def test_a_stage_without_phases_is_refused() -> None:
    game = make_game(phases=[Phase("d", "discriminator", {"a": AdversarialTerm(LOSS.discriminator)}, stop=8)])
    with pytest.raises(ValueError, match="no phase is active after 8 images"):
        train(game, 16)


def test_a_player_may_own_two_networks_and_a_net_without_a_player_is_frozen() -> None:
    nets = networks()
    nets["mapping"], nets["judge"] = nn.Linear(3, 3), nn.Linear(2, 1)

    class Mapped(Pass):
        @property
        def fake(self) -> Tensor:
            return self.net("generator")(self.net("mapping")(self.draw("z", 3)))

    players = {"generator": ["mapping", "generator"]}
    term = FunctionTerm(lambda f: f.net("judge")(f.fake))
    game = make_game(ToyTask(nets, players, Mapped), [Phase("g", "generator", {"judged": term})])
    before = {name: weights(game, name) for name in nets}
    train(game, 8)
    changed = {name for name in nets if not equal(before[name], weights(game, name))}
    assert changed == {"mapping", "generator"}
    assert not any(p.requires_grad for p in nets["judge"].parameters())


def test_maps_of_logits_are_averaged_and_features_reach_terms() -> None:
    class Patch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(2, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> DiscriminatorOutput:
            hidden = self.body(x).tanh()
            return DiscriminatorOutput(self.head(hidden).unflatten(1, (2, 2)), features=(hidden,))

    nets = networks()
    nets["discriminator"] = Patch()
    matching = FunctionTerm(lambda f: (f.real_output.features[0] - f.fake_output.features[0]).abs())
    phases = two_phases()
    phases[1] = Phase("generator", "generator", {**phases[1].terms, "features": matching})
    game = make_game(ToyTask(nets), phases)
    values = play(game, game.phases[0])
    assert values["adversarial"][0].shape == ()
    before = weights(game, "generator")
    assert play(game, game.phases[1])["features"][0] > 0
    assert not equal(before, weights(game, "generator"))
    torch.testing.assert_close(per_sample(torch.arange(8.0).view(2, 2, 2)), torch.tensor([1.5, 5.5]))


def test_repeats_count_images_and_see_other_rows() -> None:
    seen: list[Tensor] = []

    class Watching(Pass):
        def data(self, name: str) -> Tensor:
            rows = super().data(name)
            if self.phase.player == "discriminator":
                seen.append(rows)
            return rows

    game = make_game(ToyTask(forward_pass=Watching), two_phases(repeat=3))
    step(game)
    assert game.images == 24
    assert torch.cat(seen).unique(dim=0).shape == (24, 2)


def test_every_example_is_shown_once_an_epoch_and_batches_cross_the_border() -> None:
    order = Order(10, seed=1)
    shown = torch.cat([order.rows(position, 4) for position in range(0, 40, 4)])
    for epoch in range(4):
        assert sorted(shown[10 * epoch : 10 * epoch + 10].tolist()) == list(range(10))
    assert not torch.equal(shown[:10], shown[10:20])
    assert torch.equal(Order(10, seed=1).rows(8, 25), shown[8:33])
    assert not torch.equal(Order(10, seed=2).rows(0, 10), shown[:10])


def test_a_second_domain_has_an_order_and_epochs_of_its_own() -> None:
    """Rows of two domains that belong to no row of each other, of which one is shorter."""
    columns = {"sample": torch.arange(40.0)[:, None], "other": torch.arange(24.0)[:, None], "name": torch.arange(24)}
    data = Store(columns, domains={"b": ["other", "name"]})
    seen: dict[str, list[Tensor]] = {name: [] for name in columns}

    class Watching(Pass):
        @cached_property
        def real(self) -> Tensor:
            for name, rows in seen.items():
                rows.append(self.data(name).flatten())
            return torch.zeros(len(self), 2)

    game = make_game(ToyTask(forward_pass=Watching), [two_phases()[0]], data=data)
    train(game, 120)  # three epochs of the one, five of the other
    shown = {name: torch.cat(rows) for name, rows in seen.items()}
    assert shown["sample"].unique(return_counts=True)[1].tolist() == [3] * 40
    assert shown["other"].unique(return_counts=True)[1].tolist() == [5] * 24
    assert torch.equal(shown["other"].long(), shown["name"])  # rows of one domain stay together
    assert not torch.equal(shown["sample"][:24].argsort(), shown["other"][:24].argsort())
    alone = make_game(ToyTask(forward_pass=Watching), [two_phases()[0]], data=Store({"sample": columns["sample"]}))
    assert torch.equal(alone.orders[""].rows(0, 40), game.orders[""].rows(0, 40))  # as if there were no other


def test_an_empty_domain_is_refused_by_name() -> None:
    data = Store({"sample": torch.zeros(8, 2), "other": torch.zeros(0, 2)}, domains={"b": ["other"]})
    with pytest.raises(ValueError, match="no examples of domain b"):
        make_game(data=data)


@pytest.mark.parametrize(("world", "micro_batches"), [(1, 4), (2, 1), (2, 2)])
def test_draws_are_those_of_the_global_batch_cut_to_the_rows(world: int, micro_batches: int) -> None:
    whole = make_game()
    expected = Pass(whole, whole.phases[0], 0, slice(0, 8))
    rows_z, rows_data = [], []
    for rank in range(world):
        game = make_game()
        game.runtime.rank, game.runtime.world, game.micro_batches = rank, world, micro_batches
        for micro_batch in range(micro_batches):
            part = Pass(game, game.phases[0], 0, game.rows(micro_batch))
            rows_z.append(part.draw("z", 3))
            rows_data.append(part.data("sample"))
    assert torch.equal(torch.cat(rows_z), expected.draw("z", 3))
    assert torch.equal(torch.cat(rows_data), expected.data("sample"))


def test_draws_differ_by_stream_phase_step_turn_and_seed_and_by_nothing_else() -> None:
    def drawn(stream: str = "z", phase: int = 0, at: int = 0, turn: int = 0, seed: int = 0) -> tuple[float, ...]:
        game = make_game(seed=seed)
        game.step = at
        return tuple(Pass(game, game.phases[phase], turn, slice(0, 8)).draw(stream, 1).flatten().tolist())

    changes: list[dict[str, Any]] = [{}, {"stream": "y"}, {"phase": 1}, {"at": 1}, {"turn": 1}, {"seed": 1}]
    assert len({drawn(**change) for change in changes}) == len(changes)
    assert drawn() == drawn()
    game = make_game()
    uniform = Pass(game, game.phases[0], 0, slice(0, 8)).draw("u", 1000, kind="uniform")
    assert 0 <= uniform.min() < 0.01 < 0.99 < uniform.max() < 1


@pytest.mark.parametrize("lazy", [False, True])
def test_micro_batches_equal_one_batch_without_batch_statistics(lazy: bool) -> None:
    term = FunctionTerm(input_gradient, 0.3, ("real",))
    phases = (
        [*two_phases(), Phase("r1", "discriminator", {"r1": term}, every=2)] if lazy else two_phases(terms={"r1": term})
    )
    games = [make_game(phases=phases, optimizer=sgd, micro_batches=m) for m in (1, 4)]
    for game in games:
        train(game, 40)
    for one, parts in zip(games[0].nets.parameters(), games[1].nets.parameters(), strict=True):
        torch.testing.assert_close(parts, one, rtol=1e-6, atol=1e-6)


def test_micro_batches_warn_about_batch_statistics_and_must_divide() -> None:
    with pytest.warns(UserWarning, match="generator normalize over the batch"):
        make_game(ToyTask(networks(norm=True)), micro_batches=2)
    with pytest.raises(ValueError, match=r"batch_size=8 is not divisible by trainer\.micro_batches=3"):
        make_game(micro_batches=3)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_gradient_that_is_not_finite_changes_nothing(kind: str, fused: bool) -> None:
    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        if kind == "adam":
            return torch.optim.Adam(parameters, 1e-2, fused=fused)
        return torch.optim.SGD(parameters, 1e-2, momentum=0.9, fused=fused)

    poison = {"on": False}
    term = FunctionTerm(lambda f: f.fake_logits * (float("nan") if poison["on"] else 1.0))
    games = [make_game(phases=[Phase("g", "generator", {"t": term})], optimizer=optimizer) for _ in range(2)]
    for clean_first in (False, True):
        for i, game in enumerate(games):
            poison["on"] = i == 1
            if i == 1:
                before = copy.deepcopy(game.nets.state_dict())
                assert play(game, game.phases[0])["skipped"][0] == 1
                assert equal(before, game.nets.state_dict())
            poison["on"] = False
            assert play(game, game.phases[0])["skipped"][0] == 0
        # what follows is as if the poisoned move had not been
        assert equal(games[0].nets.state_dict(), games[1].nets.state_dict()), clean_first


class Tracking(nn.Module):
    """A term that keeps what it saw, as running means do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.probes = 1.0, frozenset[str]()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, forward: Any) -> Tensor:
        self.seen.add_(forward.real_logits.detach().mean())
        return forward.real_logits

    def after_step(self, forward: Any) -> None:
        self.seen.mul_(2)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("reuse_fakes", [False, True])
def test_a_batch_that_is_not_finite_leaves_no_trace_in_any_buffer(
    reuse_fakes: bool, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch statistics, singular vectors, a term's running mean: one NaN would stay in them for ever."""
    monkeypatch.setattr(Runtime, "asynchronous", asynchronous)  # a CPU's way, and a GPU's
    nets = networks(norm=True)
    body: Any = nets["discriminator"].body
    body[0] = nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(body[0]), nn.BatchNorm1d(8))
    term = Tracking()
    phases = two_phases(terms={"tracking": term}, after=(term.after_step,))
    game = make_game(ToyTask(nets), phases, reuse_fakes=reuse_fakes)
    step(game)
    before = copy.deepcopy((dict(game.nets.named_buffers()), term.seen))
    game.data.columns["sample"].mul_(float("nan"))  # type: ignore[attr-defined]
    assert play(game, game.phases[0])["skipped"][0] == 1
    assert equal(before, (dict(game.nets.named_buffers()), term.seen))
    assert all(value.isfinite().all() for value in game.nets.state_dict().values())


def test_gradient_norm_is_that_of_the_player() -> None:
    game = make_game(optimizer=sgd)
    norm = play(game, game.phases[1])["gradient_norm"][0]
    expected = torch.cat([p.grad.flatten() for p in game.nets["generator"].parameters()]).norm()
    torch.testing.assert_close(norm, expected)


def test_actions_run_after_the_step_with_the_pass() -> None:
    seen: list[tuple[str, float]] = []

    def clip(forward: ForwardPass) -> None:
        for parameter in forward.game.parameters["discriminator"]:
            parameter.data.clamp_(-0.01, 0.01)
        seen.append((forward.phase.name, forward.real.mean().item()))  # type: ignore[attr-defined]

    game = make_game(phases=two_phases(after=(clip,)))
    train(game, 16)
    assert [name for name, _ in seen] == ["discriminator"] * 2
    assert max(p.abs().max() for p in game.parameters["discriminator"]) <= 0.01


def test_reused_fakes_are_made_once_a_step_with_their_graph() -> None:
    calls: list[bool] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(3, 2)

        def forward(self, z: Tensor) -> Tensor:
            calls.append(torch.is_grad_enabled())
            return self.body(z)

    for reuse, expected in ((True, 1), (False, 2)):
        nets = networks()
        nets["generator"] = Counting()
        game = make_game(ToyTask(nets), reuse_fakes=reuse)
        before = weights(game, "generator")
        calls.clear()
        step(game)
        assert len(calls) == expected
        assert not equal(before, weights(game, "generator"))
        step(game)  # what the moved generator made is dropped, not reused


def test_regularizers_find_their_place() -> None:
    eager = FunctionTerm(input_gradient, 1.0, ("real",), player="discriminator", every=1)
    lazy = FunctionTerm(input_gradient, 1.0, ("real",), player="discriminator", every=4)
    phases = regularized(two_phases(), {"eager": eager, "lazy": lazy})
    assert [phase.name for phase in phases] == ["discriminator", "discriminator_lazy", "generator"]
    assert set(phases[0].terms) == {"adversarial", "eager"}
    assert phases[0].probes == {"real"}
    assert (phases[1].every, set(phases[1].terms)) == (4, {"lazy"})
    for taken in ({"adversarial": eager}, {"adversarial": lazy}, {"a_b": lazy, "a": Parts(b=lazy)}):
        with pytest.raises(ValueError, match="the discriminator has a term of that name already"):
            regularized(two_phases(), taken)
    lazy.player = "encoder"
    with pytest.raises(ValueError, match="wants a player encoder; here play: discriminator, generator"):
        regularized(two_phases(), {"lazy": lazy})


class Parts:
    """A regularizer that is no term itself."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts


class Anchor(nn.Module):
    """State that two terms share: how often each was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("asked", torch.zeros(2))


class Asking(nn.Module):
    every, probes, weight = 1, frozenset[str](), 1.0

    def __init__(self, anchor: Anchor, player: str, at: int) -> None:
        super().__init__()
        self.anchor, self.player, self.at = anchor, player, at

    def forward(self, forward: Any) -> Tensor:
        self.anchor.asked[self.at] += 1
        return forward.fake_logits * self.anchor.asked[self.at]


def asking() -> Parts:
    anchor = Anchor()
    return Parts(d=Asking(anchor, "discriminator", 0), g=Asking(anchor, "generator", 1))


def test_parts_of_a_regularizer_go_to_their_players_and_share_their_state() -> None:
    phases = regularized(two_phases(repeat=2), {"both": asking(), "outer": Parts(inner=asking())})
    assert [list(phase.terms) for phase in phases] == [
        ["adversarial", "both_d", "outer_inner_d"],
        ["adversarial", "both_g", "outer_inner_g"],
    ]
    regularizers = [{"both": asking()} for _ in range(2)]
    whole, part = (make_game(phases=regularized(two_phases(repeat=2), chosen)) for chosen in regularizers)
    train(whole, 64)
    train(part, 32)
    again = make_game(phases=regularized(two_phases(repeat=2), {"both": asking()}))
    again.load_state_dict(part.state_dict())
    train(again, 64)
    assert equal(again.state_dict(), whole.state_dict())
    assert regularizers[0]["both"].parts["g"].anchor.asked.tolist() == [8, 4]


def test_an_action_follows_the_steps_of_its_term_and_one_without_a_term_every_step_of_its_player() -> None:
    followed: list[tuple[str, str]] = []

    class Action:
        player = "discriminator"

        def __init__(self, name: str) -> None:
            self.name = name

        def after_step(self, forward: ForwardPass) -> None:
            followed.append((forward.phase.name, self.name))

    class Term(Action):
        probes, weight = frozenset[str](), 1.0

        def __init__(self, name: str, every: int) -> None:
            super().__init__(name)
            self.every = every

        def __call__(self, forward: Any) -> Tensor:
            return forward.fake_logits

    chosen = {"alone": Action("alone"), "eager": Term("eager", 1), "lazy": Term("lazy", 2)}
    game = make_game(phases=regularized(two_phases(), chosen))
    main = [("discriminator", "eager"), ("discriminator", "alone")]
    for due in (True, False):
        followed.clear()
        step(game)
        lazy = [("discriminator_lazy", "lazy"), ("discriminator_lazy", "alone")]
        assert followed == main + (lazy if due else [])


def test_a_lazy_regularizer_takes_as_many_turns_as_its_players_main_phase() -> None:
    """Or it would be weaker than an eager one, n_critic times."""
    strength = {}

    class Sum(Hook):
        def after_play(self, game: Game, phase: Phase, values: Any) -> None:
            strength[every] = strength.get(every, 0) + ("penalty" in phase.terms) * phase.every

    for every in (1, 4):
        term = FunctionTerm(input_gradient, 1.0, ("real",), player="discriminator", every=every)
        game = make_game(phases=regularized(two_phases(repeat=5), {"penalty": term}), hooks=[Sum()])
        for _ in range(8):
            step(game)
        assert game.images == 8 * 5 * 8
    assert strength == {1: 40, 4: 40}


def test_a_phase_with_probes_is_eager_and_in_full_precision_others_are_compiled_and_low() -> None:
    seen: dict[str, tuple[bool, torch.dtype]] = {}

    class Watching(Pass):
        def judge(self, x: Tensor) -> DiscriminatorOutput:
            output = super().judge(x)
            eager = self.net("discriminator") is self.game.nets["discriminator"]
            seen[self.phase.name] = eager, output.logits.dtype
            return output

    term = FunctionTerm(input_gradient, probes=("real",))
    phases = [*two_phases(), Phase("r1", "discriminator", {"r1": term})]
    game = make_game(ToyTask(forward_pass=Watching), phases, runtime=Runtime(precision="bf16"))
    game.compiled = {name: torch.compile(net, backend="eager") for name, net in game.nets.items()}
    step(game)
    assert seen == {
        "discriminator": (False, torch.bfloat16),
        "generator": (False, torch.bfloat16),
        "r1": (True, torch.float32),
    }


def test_compiled_networks_train_the_same_parameters() -> None:
    plain, compiled = make_game(optimizer=sgd), make_game(optimizer=sgd)
    compiled.compiled = {name: torch.compile(net, backend="aot_eager") for name, net in compiled.nets.items()}
    for game in (plain, compiled):
        train(game, 24)
    for a, b in zip(plain.nets.parameters(), compiled.nets.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_bf16_follows_fp32_within_its_precision() -> None:
    games = [make_game(optimizer=sgd, runtime=Runtime(precision=precision)) for precision in ("fp32", "bf16")]
    for game in games:
        train(game, 80)
    for a, b in zip(games[0].nets.parameters(), games[1].nets.parameters(), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.02)
    assert not equal(games[0].nets.state_dict(), games[1].nets.state_dict())


def test_a_step_needs_no_look_at_a_value() -> None:
    """The meta device has no values: a hidden synchronization or a tensor left on another device raises."""
    nets = networks(norm=True, dropout=0.2)
    term = FunctionTerm(input_gradient, probes=("real",))
    game = make_game(
        ToyTask(nets.to("meta")),
        [*two_phases(), Phase("r1", "discriminator", {"r1": term}, every=2)],
        optimizer=lambda p: torch.optim.Adam(p, 1e-2),
        runtime=Runtime(torch.device("meta")),
        ema=0.9,
        reuse_fakes=True,
    )
    train(game, 24)
    assert game.step == 3


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="no examples"):
        make_game(data=points(0))
