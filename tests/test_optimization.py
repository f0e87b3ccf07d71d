"""What changes with time, Adam's correction for lazy phases, frozen layers, and another run's weights."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from gan_lab import registry
from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.core.hooks import Hook
from gan_lab.core.loop import Game, train
from gan_lab.run.assembly import Assembly, assemble
from gan_lab.run.warm_start import initialize_from
from gan_lab.schedules import Constant, Cosine, Linear
from gan_lab.tasks.generation import freeze_first_layers
from tests.core.toys import equal
from tests.helpers import compose

RING = [
    "experiment=none", "generator=mlp", "discriminator=mlp", "dataset=mixture", "dataset.samples=64",
    "generator.width=8", "discriminator.width=8", "trainer.batch_size=8", "trainer.images=80", "trainer.device=cpu",
]  # fmt: skip


def build(*overrides: str) -> Assembly:
    return assemble(compose(*RING, *overrides))


class Watch(Hook):
    """What the optimizers and terms are set to in each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.betas: list[float] = []
        self.weights: list[float] = []

    def before_step(self, game: Game) -> None:
        group = game.optimizers["discriminator"].param_groups[0]
        self.rates.append(group["lr"])
        self.betas += [group["betas"][1]] if "betas" in group else []
        self.weights += [term.weight for p in game.phases for name, term in p.terms.items() if name == "r1"]


def watched(*overrides: str) -> Watch:
    assembly, watch = build(*overrides), Watch()
    assembly.game.add(watch)
    train(assembly.game, assembly.trainer.images)
    return watch


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_schedules_are_their_formulas() -> None:
    images = [0, 250, 500, 1000, 2000]
    assert [Constant()(i) for i in images] == [1] * 5
    assert [Linear(1000)(i) for i in images] == pytest.approx([1, 0.75, 0.5, 0, 0])
    assert [Linear(1000, final=0.2)(i) for i in images] == pytest.approx([1, 0.8, 0.6, 0.2, 0.2])
    assert [Linear(1000, start=500)(i) for i in images] == pytest.approx([1, 1, 1, 0, 0])
    assert [Linear(10, images=2000)(i) for i in images] == pytest.approx([1, 0.875, 0.75, 0.5, 0])
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * min(i / 1000, 1))) / 2 for i in images]
    assert [Cosine(1000, final=0.1)(i) for i in images] == pytest.approx(cosine)
    warmed = [value * share for value, share in zip(cosine, (1 / 500, 251 / 500, 1, 1, 1), strict=True)]
    assert [Cosine(1000, final=0.1, warmup=0.499)(i) for i in images] == pytest.approx(warmed)


def test_only_a_schedule_without_its_own_end_depends_on_the_duration() -> None:
    assert Linear(1000).depends_on_duration
    assert Cosine(1000, start=3).depends_on_duration
    assert not Linear(1000, images=500).depends_on_duration
    assert not Constant.depends_on_duration


def test_a_schedule_that_begins_behind_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="start=1000: the run has no more than 1000 images"):
        Linear(1000, start=1000)


def test_learning_rate_beta2_and_strength_follow_their_schedules() -> None:
    seen = watched(
        "optimizer.discriminator.learning_rate=0.01", "schedule/learning_rate=linear",
        "optimizer.discriminator.beta2=0.9", "optimizer.generator.beta2=0.9",
        "schedule/beta2=linear", "schedule.beta2.final=0.1",
        "regularizer=[r1]", "regularizer.r1.gamma=2.0", "schedule/regularizer=linear",
        "schedule.regularizer.images=40",
    )  # fmt: skip
    shares = [step / 10 for step in range(10)]
    assert seen.rates == pytest.approx([0.01 * (1 - share) for share in shares])
    # R3GAN's way from 0.9 to 0.99 is linear in beta2, and so in 1 - beta2
    assert seen.betas == pytest.approx([0.9 + 0.09 * share for share in shares])
    assert seen.weights == pytest.approx([1 - min(2 * share, 1) for share in shares])


def test_a_schedule_of_strength_reaches_lazy_and_many_player_regularizers() -> None:
    assembly = build("regularizer=[r1,zcr]", "regularizer.r1.every=4", "schedule/regularizer=linear")
    names = {n for phase in assembly.game.phases for n in phase.terms} - {"adversarial"}
    before = {n: t.weight for phase in assembly.game.phases for n, t in phase.terms.items()}
    train(assembly.game, 48)  # six steps: the last began at 40 of 80 images
    after = {n: t.weight for phase in assembly.game.phases for n, t in phase.terms.items()}
    assert len(names) == 3
    for name in names:
        assert after[name] == pytest.approx(before[name] / 2)
    assert after["adversarial"] == before["adversarial"] == 1


def test_beta2_of_an_optimizer_without_one_is_refused() -> None:
    with pytest.raises(ValueError, match="generator's optimizer RMSprop has no beta2"):
        build("optimizer/generator=rmsprop", "schedule/beta2=linear")


def test_a_run_with_every_schedule_resumes_bit_for_bit() -> None:
    words = ["schedule/learning_rate=cosine", "schedule/beta2=linear", "schedule.beta2.final=0.1",
             "schedule/regularizer=cosine", "regularizer=[r1,lecam]", "trainer.lazy_correction=true",
             "regularizer.r1.every=3", "optimizer/generator=adamw", "trainer.ema=0.9"]  # fmt: skip
    whole, part = build(*words), build(*words)
    train(whole.game, 80)
    train(part.game, 40)
    state = copy.deepcopy(part.game.state_dict())
    part = build(*words)
    part.game.load_state_dict(state)
    train(part.game, 80)
    assert equal(whole.game.state_dict(), part.game.state_dict())


# -- optimizers --------------------------------------------------------------------------------------------------------


def one_step(name: str, gradient: float, **options: float) -> float:
    """Where a weight of 1 lies after one step along a gradient."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = registry.optimizers.classes[name]([weight], **options)
    weight.grad = torch.full_like(weight, gradient)
    optimizer.step()
    return weight.item()


def test_adamw_decays_the_weight_and_not_the_gradient() -> None:
    expected = 1 * (1 - 0.1 * 0.5) - 0.1  # the first step of Adam is the rate, whatever the gradient
    assert one_step("adamw", 3.0, learning_rate=0.1, weight_decay=0.5, epsilon=1e-12) == pytest.approx(expected)


def test_rmsprop_divides_by_the_root_of_the_mean_square() -> None:
    expected = 1 - 0.1 * 3 / math.sqrt((1 - 0.9) * 9)
    assert one_step("rmsprop", 3.0, learning_rate=0.1, decay=0.9, epsilon=1e-12) == pytest.approx(expected)


# -- lazy phases -------------------------------------------------------------------------------------------------------


def test_lazy_correction_is_that_of_the_paper() -> None:
    """Karras et al. 2020, appendix B: c = k / (k + 1) for a regularizer every k steps; G's optimizer stays."""
    words = ["regularizer=[r1]", "regularizer.r1.every=16", "optimizer.discriminator.beta1=0.5"]
    plain, corrected = build(*words), build(*words, "trainer.lazy_correction=true")
    c = 16 / 17
    before, after = (a.game.optimizers["discriminator"].param_groups[0] for a in (plain, corrected))
    assert after["lr"] == pytest.approx(before["lr"] * c)
    assert after["betas"] == pytest.approx((0.5**c, 0.999**c))
    generators = [a.game.optimizers["generator"].param_groups[0] for a in (plain, corrected)]
    assert generators[0]["lr"] == generators[1]["lr"]


def test_lazy_correction_counts_every_extra_step_and_n_critic() -> None:
    words = ["regularizer=[r1,r2]", "regularizer.r1.every=4", "regularizer.r2.every=2", "task.n_critic=3"]
    plain, corrected = build(*words), build(*words, "trainer.lazy_correction=true")
    rates = [a.game.optimizers["discriminator"].param_groups[0]["lr"] for a in (plain, corrected)]
    assert rates[1] / rates[0] == pytest.approx(3 / (3 + 3 / 4 + 3 / 2))


def test_eager_regularizers_need_no_correction() -> None:
    plain, corrected = build("regularizer=[r1]"), build("regularizer=[r1]", "trainer.lazy_correction=true")
    assert [a.game.optimizers["discriminator"].param_groups[0]["lr"] for a in (plain, corrected)] == [2e-4, 2e-4]


def test_an_optimizer_without_betas_cannot_be_corrected() -> None:
    words = [
        "regularizer=[r1]",
        "regularizer.r1.every=4",
        "optimizer/discriminator=sgd",
        "trainer.lazy_correction=true",
    ]
    with pytest.raises(ValueError, match=r"no betas to correct; take adam or adamw"):
        build(*words)


# -- frozen layers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spectral_norm", ["false", "true"])
def test_frozen_layers_stay_and_the_rest_moves(spectral_norm: str) -> None:
    assembly = build("task.freeze_discriminator=2", f"discriminator.spectral_norm={spectral_norm}")
    net = assembly.game.nets["discriminator"]
    before = {name: p.clone() for name, p in net.named_parameters()}
    train(assembly.game, 80)
    still = {name.split(".")[1] for name, p in net.named_parameters() if torch.equal(p, before[name])}
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert still == {"0", "3"}  # the first two of hidden.0, hidden.3, hidden.6, output
    assert len(moved) == 4


def test_norms_between_frozen_layers_are_frozen_and_those_behind_are_not() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    freeze_first_layers(net, 2)
    assert [any(p.requires_grad for p in layer.parameters()) for layer in net] == [False] * 4 + [True]
    with pytest.raises(ValueError, match="has 3 layers with weights, and one at least must learn"):
        freeze_first_layers(net, 3)


# -- another run's weights ---------------------------------------------------------------------------------------------


@pytest.fixture
def source(workdir: Path) -> Path:
    assert main(["train", *RING, "trainer.ema=0.5", "tracking.wandb.mode=disabled", "run_dir=source"]) == 0
    return workdir / "source"


def test_a_run_begins_with_another_runs_weights_and_their_average(source: Path) -> None:
    state = checkpoint.load_newest(source / "checkpoints")
    assert state is not None
    words = ["loss=hinge", "trainer.ema=0.5", f"init_from={source}"]
    assembly = build(*words)
    initialize_from(assembly, str(source))
    parts = state["game"]["parts"]
    assert equal(assembly.game.nets.state_dict(), parts["task/nets"])
    assert assembly.ema is not None
    assert equal(assembly.ema.state_dict(), parts["hook/EMA"])
    assert not equal(assembly.ema.average["generator"].state_dict(), assembly.game.nets["generator"].state_dict())
    assert assembly.game.step == 0
    assert "generator 8 of 8 tensors" in assembly.notes[-1]


def test_what_does_not_fit_stays_random_and_is_named(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*RING, "discriminator.conditioning=projection", "generator.conditioning=concat", "init_from=source"]
    assert main(["train", *words, "run_dir=tuned", "tracking.wandb.mode=disabled"]) == 0
    said = capsys.readouterr().out
    assert "generator 7 of 8 tensors (not hidden.0.weight)" in said
    assert "discriminator 8 of 9 tensors (not verdict.embedding.weight)" in said


def test_a_fine_tuned_run_goes_on_with_its_own_weights_after_the_source_is_gone(source: Path) -> None:
    import shutil

    words = ["train", *RING, "init_from=source", "run_dir=tuned", "tracking.wandb.mode=disabled"]
    assert main([*words, "trainer.images=40"]) == 0
    shutil.rmtree(source)
    assert main(words) == 0
    state = checkpoint.load_newest(Path("tuned/checkpoints"))
    assert state is not None
    assert state["images"] == 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["init_from=nowhere"], "init_from=nowhere: there is no run with a checkpoint"),
        (["init_from=source", "generator.width=9"], "no weight of its generator fits"),
        (["init_from=source", "discriminator.depth=4", "task.freeze_discriminator=4"], "frozen, and these do not fit"),
    ],
)
def test_weights_that_cannot_be_had_are_refused_before_anything_is_written(
    words: list[str], message: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["train", *RING, *words, "run_dir=tuned"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("tuned").exists()


# -- Adam --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_our_adam_is_torchs(kind: str) -> None:
    """Bitwise: missing gradients, skipped steps, other rates, and going on from a saved state included."""
    torch.manual_seed(0)
    make = registry.optimizers.classes[kind]
    theirs_of = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    nets = [nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    ours = make(list(nets[0].parameters()), weight_decay=0.1, beta1=0.3)
    theirs = theirs_of(nets[1].parameters(), 2e-4, (0.3, 0.999), 1e-8, 0.1, fused=True)
    for step in range(12):
        x = torch.randn(5, 3)
        for net, optimizer in zip(nets, (ours, theirs), strict=True):
            optimizer.zero_grad()
            (net if step % 5 else net[0])(x).pow(2).sum().backward()
            optimizer.found_inf = torch.tensor(float(step == 7))
            optimizer.param_groups[0]["lr"] = 1e-3 * (step + 1)
            optimizer.step()
        if step == 8:
            ours.load_state_dict(copy.deepcopy(ours.state_dict()))
    for mine, wanted in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(mine, wanted)
    for mine, wanted in zip(ours.state.values(), theirs.state.values(), strict=True):
        assert all(torch.equal(mine[name], wanted[name]) for name in wanted)
