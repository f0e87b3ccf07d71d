"""Two stages of paired translation: the distance alone, then the game; how each goes on, and what is selected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.core.loop import train
from tests.core.toys import equal
from tests.faults.lab import Trained
from tests.tasks.killing import kill_after
from tests.tasks.small import build, phase_of, weights
from tests.tasks.toys import QUICK, SCORED, TRANSLATION

STAGES = ["task.pixel_images=32", "regularizer=[r1]", "regularizer.r1.every=2", "discriminator.normalization=batch"]
RUN = [
    *QUICK, *TRANSLATION, *SCORED, *STAGES, "degradation=denoising", "evaluation.metrics=[psnr]", "trainer.images=64",
    "trainer.checkpoint_every=16", "trainer.keep_checkpoints=9", "tracking.log_every=16", "evaluation.every=24",
    "tracking.samples_every=0",
]  # fmt: skip


def names(game: Any) -> list[str]:
    return [phase.name for phase in game.active_phases()]


def test_in_the_pixel_stage_the_discriminator_rests_and_then_it_plays() -> None:
    game = build(*STAGES, "trainer.images=64").game
    before = weights(game.nets)
    assert names(game) == ["pixels"]
    train(game, 32)
    resting, generator = (weights(game.nets, [name]) for name in ("discriminator", "generator"))
    assert all(torch.equal(value, before[name]) for name, value in resting.items()), "running statistics, too"
    assert not game.optimizers["discriminator"].state
    assert not any(torch.equal(value, before[name]) for name, value in generator.items() if name.endswith("weight"))
    assert names(game) == ["discriminator", "discriminator_r1", "generator"]
    train(game, 48)
    assert not any(
        torch.equal(value, resting[name])
        for name, value in weights(game.nets, ["discriminator"]).items()
        if name.endswith("weight")
    )


def test_without_a_pixel_stage_there_is_none() -> None:
    assert [phase.name for phase in build().game.phases] == ["discriminator", "generator"]


def test_the_pixel_stage_is_of_weight_one_and_the_game_of_the_chosen() -> None:
    game = build(*STAGES, "task.pixel_weight=7").game
    assert phase_of(game, "pixels").terms["pixel"].weight == 1
    assert phase_of(game, "generator").terms["pixel"].weight == 7
    assert phase_of(game, "discriminator").terms["adversarial"].weight == 0.5
    assert list(phase_of(game, "pixels").terms) == ["pixel"]


@pytest.mark.parametrize(
    "stages",
    [
        "task.pixel_images=0",
        "task.pixel_images=32",
    ],
)  # fmt: skip
def test_the_correction_for_lazy_phases_is_that_of_the_stage_that_has_them(stages: str) -> None:
    """Four steps of G in the game are with one lazy one: c = 4 / 5 (StyleGAN2, appendix B)."""
    lazy = ["regularizer=[orthogonal]", "regularizer.orthogonal.player=generator", "regularizer.orthogonal.every=4"]
    game = build(stages, *lazy, "trainer.lazy_correction=true", "optimizer.generator.learning_rate=0.01").game
    assert game.optimizers["generator"].param_groups[0]["lr"] == pytest.approx(0.01 * 4 / 5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both stages that nobody interrupts."""
    folder = tmp_path_factory.mktemp("stages") / "whole"
    assert main(["train", *RUN, f"run_dir={folder}"]) == 0
    return folder


def test_records_are_of_the_phases_that_played(whole: Path) -> None:
    records = {record["images"]: record for record in Trained(whole).records if "selection/psnr" not in record}
    played = {images: {name.split("/")[0] for name in record if "/" in name} for images, record in records.items()}
    others = {"performance", "learning_rate", "health"}
    assert played[16] - others == {"pixels"}
    assert played[48] - others == {"discriminator", "discriminator_r1", "generator"}
    assert records[16].keys() >= {"pixels/pixel", "pixels/gradient_norm"}
    assert records[48].keys() >= {"generator/adversarial", "generator/pixel", "discriminator/real_logits"}
    assert not {name for name in records[16] if name.startswith("pixels/adversarial")}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs that were killed after the first checkpoint of the pixel stage, 16, and of the game, 48."""
    folder = tmp_path_factory.mktemp("killed")
    kill_after((16, 48), RUN, folder)
    return folder


@pytest.mark.parametrize("images", [16, 48])
def test_a_run_that_is_killed_in_either_stage_ends_as_if_nothing_had_been(
    images: int, killed: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = killed / str(images)
    assert Trained(folder).newest == images
    assert main(["train", *RUN, f"run_dir={folder}"]) == 0
    assert f"goes on from {images} images" in capsys.readouterr().out
    assert Trained(folder).differs(whole) == ""
    state, other = (checkpoint.load_newest(run / "checkpoints") for run in (folder, whole))
    assert state is not None
    assert other is not None
    assert equal(state["game"], other["game"])


# -- selection ---------------------------------------------------------------------------------------------------------

# A corrected copy of the input is near the truth from the start, and a game without the distance leaves it.
WORSE = [
    "generator.residual=true", "task.pixel_weight=0", "optimizer.generator.learning_rate=0.05", "degradation.sigma=5",
    "optimizer.discriminator.learning_rate=0.05", "trainer.ema=0",
]  # fmt: skip


def scores_of(folder: Path) -> tuple[dict[int, float], dict[str, Any]]:
    records = Trained(folder).records
    return {r["images"]: r["selection/psnr"] for r in records if "selection/psnr" in r}, Trained(folder).summary["best"]


def test_the_best_checkpoint_is_one_of_the_game_although_an_earlier_score_was_higher(tmp_path: Path) -> None:
    assert main(["train", *RUN, *WORSE, f"run_dir={tmp_path / 'run'}"]) == 0
    scores, best = scores_of(tmp_path / "run")
    assert max(scores, key=lambda images: scores[images]) < 32, "the test's own premise"
    assert best["images"] in scores
    assert best["images"] > 32
    assert best["images"] in checkpoint.kept(tmp_path / "run" / "checkpoints")


def test_a_score_at_the_end_of_the_pixel_stage_is_not_the_games(tmp_path: Path) -> None:
    """After exactly `pixel_images` images no move of the game was made."""
    assert main(["train", *RUN, *WORSE, "evaluation.every=16", f"run_dir={tmp_path / 'run'}"]) == 0
    scores, best = scores_of(tmp_path / "run")
    assert 32 in scores
    assert best["images"] > 32


def test_a_run_that_ends_in_its_pixel_stage_still_has_a_best_checkpoint(tmp_path: Path) -> None:
    words = [*RUN, "task.pixel_images=640", "trainer.images=48"]
    assert main(["train", *words, f"run_dir={tmp_path / 'run'}"]) == 0
    scores, best = scores_of(tmp_path / "run")
    assert best["images"] == max(scores, key=lambda images: scores[images])
