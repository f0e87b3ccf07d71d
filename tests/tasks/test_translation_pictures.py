"""Paired translation of pictures of any size, channels and depth; its scores, and what they are comparable with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.cli import main
from gan_lab.core.loop import train
from gan_lab.core.runtime import inference
from gan_lab.metrics.restoration import psnr
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.contract import joined
from tests.tasks.small import build, passed, task_of
from tests.tasks.toys import PATCHES, QUICK, SCORED, SRRESNET, TRANSLATION, UNET

WIDE = "dataset.image_size=[24,40]"
KINDS = [
    ("grey of 8 bits", "dataset.image_channels=1 dataset.dtype=uint8"),
    ("colour of 16 bits", "dataset.image_channels=3 dataset.dtype=uint16 degradation.levels=65536"),
    ("four channels, float", "dataset.image_channels=4 dataset.dtype=float32 degradation.levels=null"),
]
GENERATORS = {"unet": UNET, "srresnet": SRRESNET}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("words", [words for _, words in KINDS], ids=[kind for kind, _ in KINDS])
def test_wide_pictures_of_any_depth_are_translated(words: str, generator: str) -> None:
    assembly = build(*GENERATORS[generator], WIDE, *words.split())
    game, task = assembly.game, task_of(assembly)
    channels = assembly.dataset.sample_shape[0]
    forward = passed(game, "discriminator")
    assert forward.source.shape == (8, channels, 12, 20)
    assert forward.fake.shape == forward.target.shape == (8, channels, 24, 40)
    assert forward.target.min() >= -1
    assert forward.target.max() <= 1
    train(game, 16)
    with inference(assembly.sampled_nets, "running") as nets:
        examples = joined(task.examples(nets, 5, 0, assembly.example_data))
    assert all(column.isfinite().all() for column in examples.values())
    assert task.sheet(examples, None).content.shape[2] == (1 if channels == 1 else 3)


def test_pictures_of_16_bits_keep_them() -> None:
    """The target that the networks see has more levels than 8 bits have."""
    game = build("dataset.dtype=uint16", "degradation.levels=65536").game
    forward = passed(game, "discriminator")
    for pictures in (forward.target, forward.source):
        steps = (pictures + 1) * 32767.5
        torch.testing.assert_close(steps, steps.round(), atol=0.02, rtol=0)
        assert ((steps / 257 - (steps / 257).round()).abs() > 0.1).any()


def test_an_array_of_samples_keeps_what_the_networks_make(tmp_path: Path) -> None:
    """So does gan-lab apply: 16 bits in, 16 bits out."""
    run = trained(tmp_path / "run", "dataset.dtype=uint16", "evaluation.metrics=[]", "degradation.levels=65536")
    assert main(["sample", str(run), "--num", "5", "--out", str(tmp_path / "a.npz")]) == 0
    target = torch.from_numpy(np.load(tmp_path / "a.npz")["target"].astype(np.float64))
    exact = TrainedRun(run, "cpu").examples(5, 0)["target"].permute(0, 2, 3, 1).double()
    scale = 255 if target.max() <= 255 else 65535
    torch.testing.assert_close(target / scale * 2 - 1, exact, atol=1e-4, rtol=0)


PAIRED = [
    ("as large", ["dataset.factor=1"], (1, 16, 16)),
    ("smaller", ["dataset.factor=2", "dataset.image_channels=3"], (3, 8, 8)),
    ("grey to colour", ["dataset.factor=1", "dataset.image_channels=3", "dataset.source_channels=1"], (1, 16, 16)),
    ("colour to grey", ["dataset.factor=2", "dataset.source_channels=3", "dataset.dtype=float32"], (3, 8, 8)),
    ("two bands to colour", ["dataset.factor=1", "dataset.image_channels=3", "dataset.source_channels=2"], (2, 16, 16)),
]  # fmt: skip


@pytest.mark.parametrize(("what", "words", "source"), PAIRED)
def test_pairs_are_taken_as_they_come(what: str, words: list[str], source: tuple[int, ...]) -> None:
    assembly = build("degradation=null", *words)
    task, store = task_of(assembly), assembly.dataset.load("test")
    train(assembly.game, 16)
    with inference(assembly.sampled_nets, "running") as nets:
        examples = joined(task.examples(nets, 12, 0, assembly.example_data))
    assert examples["source"].shape == (12, *source)
    known = store.fetch("target", torch.arange(12)).flatten(1)
    rows = torch.cdist(examples["target"].flatten(1), known).argmin(1)
    assert sorted(rows.tolist()) == list(range(12)), "held-out pairs, each once"
    torch.testing.assert_close(examples["source"], store.fetch("source", rows))
    bar, solved = task.bar(examples)
    assert bar == ("input" if source[1] == 16 else "bicubic")
    assert solved.shape == examples["target"].shape
    assert task.sheet(examples, None).content.ndim == 3


def write_pairs(folder: Path, side: str, save: Callable[[Path, np.ndarray], None], size: int) -> None:
    random = np.random.default_rng(0)
    (folder / side).mkdir(parents=True)
    for i in range(20):
        picture = random.random((4, 4)).repeat(size // 4, 0).repeat(size // 4, 1)
        save(folder / side / f"{i:02d}", picture)


def save_png(path: Path, picture: np.ndarray) -> None:
    Image.fromarray((picture * 65535).astype(np.uint16)).save(path.with_suffix(".png"))


def save_npy(path: Path, picture: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), (picture * 3000).astype(np.float32))


@pytest.mark.parametrize(
    ("save", "words"),
    [(save_png, []), (save_npy, ["dataset.value_range=[0,3000]"])],
    ids=["PNG of 16 bits", "NumPy, with a range"],
)
def test_folders_of_pairs_are_translated(
    save: Callable[[Path, np.ndarray], None], words: list[str], tmp_path: Path
) -> None:
    write_pairs(tmp_path / "data", "source", save, 8)
    write_pairs(tmp_path / "data", "target", save, 16)
    grey = ["dataset.source_channels=1", "dataset.image_channels=1"]
    pairs = ["dataset=pairs", f"dataset.path={tmp_path / 'data'}", *grey, *words]
    run = [*QUICK, "task=translation", *SRRESNET, *PATCHES, *pairs, *SCORED, "trainer.images=16"]
    assert main(["train", *run, "evaluation.every=0", f"run_dir={tmp_path / 'run'}"]) == 0
    scores = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert scores["psnr"]["samples"] == 2, "a tenth of 20 pairs is held out"
    assert scores["psnr_bar"]["bar"] == "bicubic"
    assert scores["psnr"]["conditions"] == ""


# -- scores ------------------------------------------------------------------------------------------------------------

NAMES = ("psnr", "ssim", "psnr_y", "sharpness")


def trained(folder: Path, *words: str) -> Path:
    run = [*QUICK, *TRANSLATION, *SCORED, "trainer.images=16", "evaluation.every=0", *words]
    assert main(["train", *run, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that differ in what they restore, or in the task."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "factor 2": trained(folder / "two"),
        "factor 4": trained(folder / "four", "degradation.factor=4"),
        "noise": trained(folder / "noise", "degradation=denoising"),
        "other data": trained(folder / "data", "dataset.variant=1"),
        "other seed": trained(folder / "seed", "trainer.seed=1"),
    }


def scores(run: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((run / "summary.json").read_text())["metrics"]
    return found


def test_all_measures_of_a_restoration_are_there_with_their_bars(runs: dict[str, Path]) -> None:
    for run, bar in (("factor 2", "bicubic"), ("noise", "input")):
        found = scores(runs[run])
        assert found.keys() == {*NAMES, *(f"{name}_bar" for name in NAMES)}
        assert {found[f"{name}_bar"]["bar"] for name in NAMES} == {bar}
        assert found["psnr"]["noise_seeds"] == [2], "examples depend on the data alone: one seed is enough"
        assert found["psnr"]["samples"] == 12


def test_a_score_is_of_the_pictures_as_a_file_would_hold_them(runs: dict[str, Path]) -> None:
    examples = TrainedRun(runs["noise"], "cpu").examples(12, seed=2)
    rounded = ((examples["sample"].clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    expected = psnr(rounded, examples["target"]).mean().item()
    assert scores(runs["noise"])["psnr"]["value"] == pytest.approx(expected, rel=1e-6)
    bar = psnr(examples["source"], examples["target"]).mean().item()
    assert scores(runs["noise"])["psnr_bar"]["value"] == pytest.approx(bar, rel=1e-6)
    assert bar == pytest.approx(20.17, abs=0.3), "noise of 25 of 255"


def test_scores_say_what_they_were_made_from_and_under_which_conditions(runs: dict[str, Path]) -> None:
    made_from = {name: scores(run)["psnr"]["made_from"] for name, run in runs.items()}
    assert made_from["factor 2"] == made_from["factor 4"] == made_from["noise"] != made_from["other data"]
    conditions = {name: scores(run)["psnr"]["conditions"] for name, run in runs.items()}
    assert len({conditions[name] for name in ("factor 2", "factor 4", "noise")}) == 3
    assert "factor=4" in conditions["factor 4"]
    assert "sigma=25" in conditions["noise"]


@pytest.mark.parametrize(
    ("other", "field"), [("factor 4", "conditions"), ("noise", "conditions"), ("other data", "dataset")]
)
def test_what_restores_something_else_is_not_ranked(
    other: str, field: str, runs: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert main(["compare", str(runs["factor 2"]), str(runs[other])]) == 2
    error = capfd.readouterr().err
    assert error.startswith("gan-lab: psnr of these runs cannot be ranked")
    assert error.count("\n") == 1
    assert field in error


def test_two_seeds_of_one_restoration_are_ranked(runs: dict[str, Path]) -> None:
    assert main(["compare", str(runs["factor 2"]), str(runs["other seed"])]) == 0


@pytest.mark.parametrize(
    ("file", "before", "after", "field"),
    [
        ("config.yaml", "name: translation", "name: generation", "its task differs"),
        ("summary.json", '"made_from": "', '"made_from": "0', "its made_from differs"),
    ],
)
def test_scores_of_another_task_or_of_other_pictures_are_not_ranked(
    file: str, before: str, after: str, field: str, runs: dict[str, Path], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """As if a score of the same name were of another task, or of a folder whose files have changed."""
    for name in ("config.yaml", "summary.json", "metrics.jsonl"):
        (tmp_path / name).write_text((runs["factor 2"] / name).read_text())
    assert before in (tmp_path / file).read_text()
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(before, after))
    capfd.readouterr()
    assert main(["compare", str(runs["other seed"]), str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert field in error
    assert error.count("\n") == 1
