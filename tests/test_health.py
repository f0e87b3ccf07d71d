"""The health monitor: its signals by closed forms, its rules by planted sequences, and that it changes no bit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.registry import generators
from gan_lab.run.health import RULES, Health, Rule
from gan_lab.tasks.sample_signals import nearest_distance, overfitting, statistics_gap
from tests.core.toys import equal

TINY = [
    "train", "experiment=none", "generator=mlp", "discriminator=mlp", "dataset=mixture", "generator.width=8",
    "discriminator.width=8", "trainer.batch_size=8", "dataset.samples=256", "evaluation.metrics=[]",
    "trainer.device=cpu", "tracking.log_every=400", "tracking.samples_every=0", "trainer.checkpoint_every=0",
]  # fmt: skip
STUCK = [word.replace("=mlp", "=stuck") for word in TINY if not word.startswith(("generator.", "discriminator"))]
STUCK += ["discriminator=mlp", "discriminator.width=8"]


class Stuck(nn.Module):
    """Makes nearly one point, whatever it is asked for."""

    def __init__(self, sample_shape: tuple[int, ...], *, latent_dim: int = 2) -> None:
        super().__init__()
        self.latent_dim, self.shift = latent_dim, nn.Parameter(torch.zeros(sample_shape))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.shift + 1e-3 * z


class Lagging(nn.Module):
    """Batch norm whose running statistics hardly move."""

    def __init__(self, sample_shape: tuple[int, ...], *, latent_dim: int = 2) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.net = nn.Sequential(nn.Linear(latent_dim, 16), nn.BatchNorm1d(16, momentum=1e-4), nn.Linear(16, 2))
        nn.init.normal_(self.net[0].weight, std=4.0)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        made: Tensor = self.net(z)
        return made


@pytest.fixture(scope="module", autouse=True)
def broken_generators() -> Iterator[None]:
    """Registered for these tests alone: others try all that is registered."""
    broken = {"stuck": Stuck, "lagging": Lagging}
    for name, cls in broken.items():
        generators.register(name)(cls)
    yield
    for name in broken:
        del generators.classes[name]


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def warnings(run: Path) -> dict[str, dict[str, Any]]:
    return {warning["signal"]: warning for warning in json.loads((run / "summary.json").read_text())["health"]}


# -- signals -----------------------------------------------------------------------------------------------------------


def test_the_nearest_neighbour_of_points_on_a_lattice_is_a_step_away() -> None:
    lattice = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)) * 0.25
    assert nearest_distance(lattice) == pytest.approx(0.25)
    assert nearest_distance(torch.cat([lattice, lattice])) == 0


def test_pictures_are_compared_at_eight_pixels() -> None:
    plain = torch.stack([torch.full((3, 32, 32), float(value)) for value in (0, 1, 3)])
    checks = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1  # averages to nothing
    step = math.sqrt(3 * 8 * 8)
    assert nearest_distance(plain + checks) == pytest.approx(step * (1 + 1 + 2) / 3, rel=1e-5)


def test_four_modes_have_a_usual_median_distance_and_near_neighbours() -> None:
    torch.manual_seed(0)
    varied = torch.randn(64, 16)
    four = torch.randn(4, 16).repeat(16, 1) + 0.05 * torch.randn(64, 16)
    assert torch.pdist(four).median() / torch.pdist(varied).median() > 0.7
    assert nearest_distance(four) / nearest_distance(varied) < 0.1


def test_overfitting_is_the_share_of_the_way_from_training_data_to_fakes() -> None:
    known, fake = torch.tensor([3.0, 5.0]), torch.tensor([-4.0, -4.0])
    assert overfitting(known, known, fake) == 0
    assert overfitting(known, fake, fake) == 1
    assert overfitting(known, torch.tensor([2.0]), fake) == 0.25
    assert math.isnan(overfitting(fake, known, known))
    assert math.isnan(overfitting(known - 3.9, known, fake / 4)), "a difference of 1.1 and an error of 1 are noise"


def test_the_gap_is_a_mean_of_absolute_differences() -> None:
    assert statistics_gap(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5, 1.0]])) == 1.25


# -- rules -------------------------------------------------------------------------------------------------------------


def test_a_rule_wants_several_looks_in_a_row() -> None:
    rule = Rule("a", "A", "{}", "", threshold=0.6, critical=0.3, below=True, looks=3)
    for values, level in [
        ([], 0), ([0.1, 0.1], 0), ([0.1, 0.7, 0.1], 0), ([0.5, 0.5, 0.5], 1), ([0.1, 0.1, 0.5], 1),
        ([0.9, 0.2, 0.2, 0.2], 2), ([0.1, math.nan, 0.1], 0), ([0.1, 0.1, 0.7], 0), ([0.6, 0.6, 0.6], 0),
    ]:  # fmt: skip
        assert rule.level(values) == level, values


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.signal)
def test_every_warning_can_be_said(rule: Rule) -> None:
    assert rule.found.format(rule.threshold) != rule.found
    assert rule.title
    assert rule.advice
    assert rule.level([rule.threshold / 2 if rule.below else rule.threshold * 2] * rule.looks) >= 1
    assert rule.level([rule.threshold * 2 if rule.below else rule.threshold / 2] * rule.looks) == 0


# -- a run -------------------------------------------------------------------------------------------------------------


def test_a_collapsed_generator_is_told_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*STUCK, "trainer.images=3200", f"run_dir={run}"]) == 0
    warning = warnings(run)["collapse"]
    assert (warning["level"], warning["images"], warning["last"]) == ("critical", 2400, 3200)
    assert warning["value"] < 0.1
    on = [record["images"] for record in records(run) if record.get("health/collapse_warning") == 2]
    assert on == [2400, 2800, 3200]
    assert all(value is None or isinstance(value, (int, float)) for record in records(run) for value in record.values())
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("  health: ")]
    assert line.startswith(
        "  health: 2,400 images: critical: G repeats itself (its samples' nearest neighbours lie at 0.0"
    )
    assert line.endswith(RULES[0].advice)
    assert "health    G repeats itself, 2,400 to 3,200 images" in out


@pytest.mark.slow
def test_a_healthy_game_is_told_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = [*TINY, "experiment=ring", "loss=non_saturating", "generator.width=32", "discriminator.width=32"]
    words += ["trainer.images=4000"]
    assert main([word for word in words if word != "experiment=none"] + [f"run_dir={run}"]) == 0
    assert warnings(run) == {}
    looks = [record for record in records(run) if "health/collapse" in record]
    assert [record["images"] for record in looks] == list(range(400, 4001, 400))
    assert {"health/overpowered", "health/margin", "health/overfitting", "health/gradient_peak"} <= looks[-1].keys()
    assert "health: " not in capsys.readouterr().out


def test_batch_norm_that_does_not_follow_is_told(tmp_path: Path) -> None:
    words = [word.replace("=stuck", "=lagging") for word in STUCK]
    assert main([*words, "trainer.images=1200", f"run_dir={tmp_path / 'run'}"]) == 0
    assert warnings(tmp_path / "run").keys() == {"statistics_gap"}


def test_an_untrained_generator_is_not_called_collapsed(tmp_path: Path) -> None:
    assert main([*STUCK, "trainer.images=1200", f"run_dir={tmp_path / 'run'}"]) == 0
    assert all(record["health/collapse"] < 0.1 for record in records(tmp_path / "run") if "health/collapse" in record)
    assert warnings(tmp_path / "run") == {}


@pytest.mark.slow
def test_it_changes_no_bit_of_the_training(tmp_path: Path) -> None:
    """With batch norm, spectral norm and dropout's generators in play."""
    words = [
        *TINY, "trainer.images=256", "tracking.log_every=64", "trainer.ema=0.9", "dataset=mnist5k",
        "dataset.image_size=32", "generator=dcgan",
        "discriminator=dcgan", "discriminator.spectral_norm=true", "regularizer=[r1]", "augment=diffaugment",
    ]  # fmt: skip
    words = [word for word in words if word != "dataset.samples=256"]
    pytest.importorskip("mlxtend")
    states = []
    for health in ("true", "false"):
        run = tmp_path / health
        assert main([*words, f"tracking.health={health}", f"run_dir={run}"]) == 0
        states.append(checkpoint.load_newest(run / "checkpoints"))
    assert states[0] is not None
    assert states[1] is not None
    assert equal(states[0]["game"], states[1]["game"])
    assert states[0]["health"] is not None
    assert states[1]["health"] is None
    assert "health/statistics_gap" in records(tmp_path / "true")[-1]
    assert not any(name.startswith("health/") for record in records(tmp_path / "false") for name in record)


@pytest.mark.slow
def test_a_run_that_goes_on_warns_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    assert main([*STUCK, "trainer.images=3200", f"run_dir={tmp_path / 'whole'}"]) == 0
    for images in (1600, 2400, 3200):
        assert main([*STUCK, f"trainer.images={images}", f"run_dir={tmp_path / 'parts'}"]) == 0
    assert warnings(tmp_path / "parts") == warnings(tmp_path / "whole") != {}
    health = [
        [{k: v for k, v in r.items() if k.startswith("health/")} for r in records(tmp_path / run)]
        for run in ("whole", "parts")
    ]
    assert health[0] == health[1]


@pytest.mark.slow
def test_it_can_be_switched_on_and_off_between_two_parts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for images, health in ((400, "false"), (800, "true"), (1200, "false")):
        assert main([*TINY, f"trainer.images={images}", f"tracking.health={health}", f"run_dir={run}"]) == 0
    assert [record["images"] for record in records(run) if "health/collapse" in record] == [800]


@pytest.mark.parametrize("loss", ["wasserstein", "relativistic"])
def test_logits_without_a_boundary_have_no_accuracy_to_judge(loss: str, tmp_path: Path) -> None:
    assert main([*TINY, f"loss={loss}", "trainer.images=800", f"run_dir={tmp_path / 'run'}"]) == 0
    last = [record for record in records(tmp_path / "run") if "health/collapse" in record][-1]
    assert "health/overpowered" not in last
    assert "health/gradient_peak" in last


def test_a_gradient_that_is_none_hides_no_later_peak_and_no_vanishing() -> None:
    watch = Health.__new__(Health)
    watch._norms, watch._seen, watch._first, watch._usual, watch._margins = {}, {}, {}, {}, []
    signals = []
    for norms in ([1, 2, math.nan, 2], [1, 1000, 1], [1e-9, 1e-9, math.inf], [math.nan]):
        watch._norms = {"generator": [torch.tensor(float(norm)) for norm in norms]}
        signals.append(watch._of_training())
    assert [s.get("gradient_peak") for s in signals] == pytest.approx([1, 1000 / 1.5, 1e-9, None])
    assert [s.get("gradient_share") for s in signals] == pytest.approx([1, 0.5, 5e-10, None])


def test_numbers_that_are_none_raise_nothing_and_stop_nothing(tmp_path: Path) -> None:
    words = [*TINY, "trainer.images=256", "optimizer.generator.learning_rate=1e30", "optimizer.generator=sgd"]
    assert main([*words, f"run_dir={tmp_path / 'run'}"]) in (0, 1)
    assert (tmp_path / "run/summary.json").exists()
