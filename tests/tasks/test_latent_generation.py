"""The second stage: latents of a trained autoencoder, which is frozen, decoded for samples and scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_lab.cli import main
from gan_lab.core.loop import train
from gan_lab.run.assembly import assemble
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.latent_generation import SPREAD
from tests.helpers import compose
from tests.tasks.small import weights
from tests.tasks.test_every_task import content
from tests.tasks.test_refusals import refused
from tests.tasks.toys import AUTOENCODER, PATCHES, QUICK

FROZEN = ["encoder", "bottleneck", "decoder"]
FSQ = ["bottleneck=fsq", "bottleneck.levels=[4,3]"]
LATENT = [*QUICK, "task=latent_generation", "generator=mlp", "generator.width=8", "discriminator=mlp"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder of digits, scored."""
    words = [word for word in AUTOENCODER if not word.startswith("bottleneck")]
    path = tmp_path_factory.mktemp("first") / "run"
    scored = ["evaluation.every=0", "evaluation.samples=1000", "evaluation.metrics=[fd,psnr]"]
    words += [*FSQ, "dataset=mnist5k", "trainer.images=320", *scored]
    assert main(["train", *QUICK, *words, f"run_dir={path}"]) == 0
    return path


def game_of(first: Path, *words: str) -> Any:
    config = compose(*LATENT, f"task.autoencoder={first}", "dataset=mnist5k", "evaluation.metrics=[]", *words)
    return assemble(config).game


def test_the_autoencoder_is_frozen_and_its_averaged_weights_are_taken(first: Path) -> None:
    game, trained = game_of(first), TrainedRun(first, "cpu").nets
    train(game, 16)
    for name in FROZEN:
        for key, value in trained[name].state_dict().items():
            assert torch.equal(game.nets[name].state_dict()[key], value), f"{name}.{key}"
    assert game.nets["generator"].sample_shape == (2, 8, 8)


def test_the_seed_alone_decides_what_the_generator_starts_with(first: Path) -> None:
    a, b, other = (weights(game_of(first, f"trainer.seed={seed}").nets, ["generator"]) for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], other[name]) for name in a if name.endswith("weight"))


def test_latents_fill_the_range_of_tanh_and_decode_to_the_reconstruction(first: Path) -> None:
    game = game_of(first)
    task = game.task
    pictures = game.data.fetch("sample", torch.arange(256), "cpu")
    latents = task.encode(pictures)
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    assert mean.abs().max() < 1 / SPREAD
    assert ((deviation * SPREAD > 0.5) & (deviation * SPREAD < 2)).all()
    torch.testing.assert_close(task.decode(latents), task.reconstruct(pictures))
    trained = TrainedRun(first, "cpu")
    code = trained.task.code(trained.nets.eval(), pictures)
    torch.testing.assert_close(task.reconstruct(pictures), trained.nets["decoder"](code.latent))


def test_samples_are_decoded_quantized_latents(first: Path) -> None:
    task = game_of(first).task
    z, _ = task.latents(5, seed=0)
    samples = task.generate(task.nets, z, None)
    assert samples.shape == (5, 1, 32, 32)
    codes = task.nets["generator"](z) * task._range[1] + task._range[0]
    levels = task.first.bottleneck.snap(codes)
    assert set((levels[:, 0] * 2).unique().tolist()) <= {-2, -1, 0, 1}
    torch.testing.assert_close(samples, task.nets["decoder"](levels))


def test_the_distance_of_reconstructions_is_that_which_the_first_stage_reached(first: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    scored = ["evaluation.every=0", "evaluation.samples=100", "evaluation.noise_seeds=1", "evaluation.metrics=[rfd,fd]"]
    words = [*LATENT, f"task.autoencoder={first}", "dataset=mnist5k", "trainer.images=16", *scored]
    assert main(["train", *words, f"run_dir={run}"]) == 0
    theirs, ours = (json.loads((path / "summary.json").read_text())["metrics"] for path in (first, run))
    name = next(name for name in theirs if name.startswith("fd/"))
    assert ours[f"r{name}"]["value"] == pytest.approx(theirs[name]["value"], rel=1e-6)


def test_what_becomes_of_the_first_stage_later_changes_no_sample(first: Path, tmp_path: Path) -> None:
    moved, run = tmp_path / "first", tmp_path / "run"
    shutil.copytree(first, moved)
    words = [*LATENT, f"task.autoencoder={moved}", "dataset=mnist5k", "trainer.images=16", "evaluation.metrics=[]"]
    assert main(["train", *words, f"run_dir={run}"]) == 0
    sampled = [tmp_path / "before.npz", tmp_path / "after.npz"]
    assert main(["sample", str(run), "--num", "5", "--out", str(sampled[0])]) == 0
    (newest,) = (moved / "checkpoints").glob("*")
    state = torch.load(newest / "state.pt", weights_only=True)
    averages = state["game"]["parts"]["hook/EMA"]
    averages["decoder.first.weight"] += 1.0
    shutil.rmtree(newest)
    from gan_lab.core import checkpoint

    checkpoint.save(state, moved / "checkpoints")
    assert main(["sample", str(run), "--num", "5", "--out", str(sampled[1])]) == 0
    assert content(sampled[0]) == content(sampled[1])


def test_an_autoencoder_that_does_not_fit_is_refused_in_one_line(
    first: Path, workdir: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["train", *LATENT, "dataset=mnist5k", "run_dir=run"]
    refused(words, capfd, "task=latent_generation needs task.autoencoder=RUN")
    refused([*words, "task.autoencoder=nowhere"], capfd, "task.autoencoder: nowhere is no run directory")
    refused(
        [*words, f"task.autoencoder={first}", "dataset.image_size=28"], capfd,
        "is of pictures of 1 x 32 x 32, and the data's are 1 x 28 x 28", "choose its data set and size",
    )  # fmt: skip
    other = tmp_path / "other"
    generation = ["task=generation", "generator=mlp", "generator.width=4", *PATCHES, "dataset=mnist5k"]
    quick = ["trainer.images=8", "evaluation.metrics=[]", "evaluation.every=0"]
    assert main(["train", *QUICK, *generation, *quick, f"run_dir={other}"]) == 0
    refused([*words, f"task.autoencoder={other}"], capfd, "is a run of another task; give one of task=autoencoding")
