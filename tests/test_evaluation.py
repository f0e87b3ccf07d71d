"""Scores while training, at the end, and after the fact; pictures of other generators."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from gan_lab.cli import main
from gan_lab.commands.evaluate import changed_config
from gan_lab.core import checkpoint
from gan_lab.tracking.run_directory import RunDirectory
from tests import toy_data
from tests.core.toys import equal

TINY = [
    "train", "experiment=none", "dataset=mnist5k", "generator=mlp", "discriminator=mlp", "generator.width=16",
    "discriminator.width=16", "generator.conditioning=concat", "discriminator.conditioning=projection",
    "trainer.batch_size=16", "trainer.images=320", "trainer.device=cpu", "tracking.wandb.mode=disabled",
    "tracking.log_every=160", "trainer.checkpoint_every=160", "trainer.keep_checkpoints=1", "trainer.ema=0.9",
]  # fmt: skip
FEW = ["evaluation.every=64", "evaluation.selection_samples=128", "evaluation.samples=256"]
FD = "fd/mnist5k-03da3a14/train"
Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ in their evaluation alone, and one of points."""
    folder = tmp_path_factory.mktemp("runs")
    assert main([*TINY, *FEW, f"run_dir={folder / 'scored'}"]) == 0
    assert main([*TINY, "evaluation.every=0", "evaluation.metrics=[]", f"run_dir={folder / 'plain'}"]) == 0
    points = ["train", "experiment=ring", "trainer.images=640", "trainer.batch_size=64", "evaluation.every=320"]
    small = ["generator.width=8", "discriminator.width=8", "tracking.wandb.mode=disabled", "evaluation.samples=100"]
    assert main([*points, *small, f"run_dir={folder / 'points'}"]) == 0
    return folder


def summary(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return content


# -- while training ----------------------------------------------------------------------------------------------------


def test_evaluating_changes_nothing_in_training(folder: Path) -> None:
    states = [checkpoint.load_newest(folder / name / "checkpoints") for name in ("scored", "plain")]
    assert all(state is not None for state in states)
    assert equal(states[0]["game"], states[1]["game"])  # type: ignore[index]


def test_scores_while_training_are_marked_and_the_best_checkpoint_is_kept(folder: Path) -> None:
    run = folder / "scored"
    records = [r for r in RunDirectory(run).read_metrics() if f"selection/{FD}" in r]
    assert [record["images"] for record in records] == [64, 128, 192, 256, 320]
    best = min(records, key=lambda record: record[f"selection/{FD}"])
    assert summary(run)["best"] == {
        "images": best["images"], "metric": FD, "value": best[f"selection/{FD}"], "selection": True
    }  # fmt: skip
    assert set(checkpoint.kept(run / "checkpoints")) == {320, best["images"]}
    assert not any(name.startswith("selection/") for name in summary(run)["metrics"])


@pytest.mark.slow
def test_an_older_best_checkpoint_outlives_the_newest_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ever_worse = itertools.count(1.0)
    monkeypatch.setattr("gan_lab.metrics.measures.frechet_distance", lambda *statistics: next(ever_worse))
    words = [*TINY, *FEW, "evaluation.metrics=[fd]", f"run_dir={tmp_path / 'run'}"]
    for images in (320, 384):  # going on knows it, too
        assert main([*words, f"trainer.images={images}"]) == 0
        assert summary(tmp_path / "run")["best"] == {"images": 64, "metric": FD, "value": 1.0, "selection": True}
        assert checkpoint.kept(tmp_path / "run/checkpoints") == [images, 64]
    assert checkpoint.load_of(tmp_path / "run/checkpoints", 64)["images"] == 64


def test_the_end_is_scored_with_fresh_noise_three_times(folder: Path) -> None:
    metrics = summary(folder / "scored")["metrics"]
    entry = metrics[FD]
    assert entry["noise_seeds"] == [2, 3, 4]
    assert (entry["samples"], entry["selection"], entry["images"]) == (256, False, 320)
    assert entry["weights"] == "ema 0.9"
    assert len(set(entry["values"])) == 3
    assert "class_accuracy/mnist5k-03da3a14" in metrics
    assert "memorization/mnist5k-03da3a14/train" in metrics
    with Image.open(folder / "scored/samples/neighbours.png") as picture:
        assert picture.size == (36 + 240, 274), "eight rows: a sample, and its seven neighbours"


def test_points_have_their_own_scores_and_a_best_checkpoint(folder: Path) -> None:
    assert summary(folder / "points")["best"]["metric"] == "modes"
    assert summary(folder / "points")["metrics"].keys() == {"modes", "high_quality", "kl"}


def test_without_an_extractor_a_run_says_so_and_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy_data
    words = [*TINY[:2], "dataset=toy_pictures", "dataset.image_size=8", *TINY[3:], *FEW]
    assert main([*words, f"run_dir={tmp_path / 'run'}"]) == 0
    assert "no scores: none ships for these data" in capsys.readouterr().out
    assert summary(tmp_path / "run")["metrics"] == {}
    assert summary(tmp_path / "run")["best"] is None


# -- after the fact ----------------------------------------------------------------------------------------------------


def test_evaluating_a_run_again_says_the_same_and_leaves_it_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "scored"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    out, picture = tmp_path / "scores.json", tmp_path / "near.png"
    assert main(["evaluate", str(run), "--json", str(out), "--neighbours", str(picture)]) == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    again, then = json.loads(out.read_text())["metrics"], summary(run)["metrics"]
    assert again.keys() == then.keys()
    for name in then:
        assert again[name]["value"] == pytest.approx(then[name]["value"], rel=1e-6), name
    assert again[FD] == then[FD]
    assert picture.read_bytes() == (run / "samples/neighbours.png").read_bytes()
    said = capsys.readouterr().out
    assert re.search(rf"{FD} +[\d.]+ +± .* over 3 noise seeds  floor 0.67", said)
    assert "256 samples of noise seeds 2, 3, 4" in said


def test_the_best_checkpoint_and_any_other_can_be_scored_and_sampled(folder: Path, tmp_path: Path) -> None:
    run, out = folder / "scored", tmp_path / "scores.json"
    best = summary(run)["best"]["images"]
    words = ["evaluate", str(run), "--metrics", "fd,coverage", "--samples", "128", "--noise-seeds", "2"]
    for which in ("best", str(best)):
        assert main([*words, "--checkpoint", which, "--json", str(out)]) == 0
        entry = json.loads(out.read_text())["metrics"][FD]
        assert (entry["images"], entry["samples"], entry["noise_seeds"]) == (best, 128, [2, 3])
    assert main(["sample", str(run), "--checkpoint", "best", "--out", str(tmp_path / "best.png")]) == 0


def test_pictures_of_another_generator_get_the_scores_of_the_run_that_made_them(folder: Path, tmp_path: Path) -> None:
    """The first noise seed's samples, written as PNGs and as an array, measure as in the run."""
    run = str(folder / "scored")
    for out in ("pictures", "pictures.npz"):
        assert main(["sample", run, "--num", "256", "--seed", "2", "--out", str(tmp_path / out)]) == 0
        words = ["evaluate", str(tmp_path / out), "--dataset", "mnist5k", "--json", str(tmp_path / "scores.json")]
        assert main(words) == 0
        scores = json.loads((tmp_path / "scores.json").read_text())["metrics"]
        expected = summary(folder / "scored")["metrics"]
        assert scores[FD]["value"] == pytest.approx(expected[FD]["values"][0], rel=1e-6)
        assert scores[FD]["noise_seeds"] is None
        assert scores[FD]["source"] == str(tmp_path / out)
        coverage = "coverage/mnist5k-03da3a14/train"
        assert scores[coverage]["value"] == pytest.approx(expected[coverage]["value"])
        assert "class_accuracy/mnist5k-03da3a14" not in scores, "nobody said what they should be"


def test_a_runs_own_extractor_may_be_changed_in_one_setting() -> None:
    config = OmegaConf.create(
        {"feature_extractor": {"name": "inception-v3-compat", "weights": "old.pth", "layer": 192}}
    )
    changed = changed_config(config, ["feature_extractor.weights=new.pth"]).feature_extractor
    assert changed == {"name": "inception-v3-compat", "weights": "new.pth", "layer": 192}
    replaced = changed_config(config, ["feature_extractor=mnist5k"]).feature_extractor
    assert replaced == {"name": "mnist5k"}


def test_grey_pictures_may_be_saved_in_colour(folder: Path, tmp_path: Path) -> None:
    images = np.zeros((120, 32, 32, 1), dtype=np.uint8)
    images[:, 8:24, 8:24] = np.arange(120)[:, None, None, None]
    values = []
    for channels in (1, 3):
        np.savez(tmp_path / "p.npz", images=np.repeat(images, channels, axis=3))
        words = ["evaluate", str(tmp_path / "p.npz"), "--dataset", "mnist5k", "--json", str(tmp_path / "s.json")]
        assert main(words) == 0
        values.append(json.loads((tmp_path / "s.json").read_text())["metrics"][FD]["value"])
    assert values[0] == values[1]


def test_a_run_is_scored_with_other_held_out_pictures(folder: Path, tmp_path: Path) -> None:
    found = {}
    for held in (0, 500):
        out = tmp_path / f"{held}.json"
        words = [f"evaluation.validation={held}", "--metrics", "fd_test", "--samples", "100", "--json", str(out)]
        assert main(["evaluate", str(folder / "scored"), *words]) == 0
        (found[held],) = json.loads(out.read_text())["metrics"].values()
    assert [entry.get("validation") for entry in found.values()] == [None, 500]
    assert [entry["reference_samples"] for entry in found.values()] == [1_000, 500]
    assert found[0]["reference"] != found[500]["reference"]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refuse:
    """One line, exit code 2, and no file."""

    def check(words: list[str], *expected: str) -> str:
        capsys.readouterr()
        out = tmp_path / "out" / "scores.json"
        out.parent.mkdir(exist_ok=True)
        assert main(["evaluate", *words, "--json", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        for text in expected:
            assert text in error
        assert not list(out.parent.iterdir())
        return error

    return check


WRONG = [
    (["nowhere"], "nowhere: there is neither a run nor a folder of pictures"),
    (["{run}", "--dataset", "mnist5k"], "is a run and knows its data"),
    (["{run}", "--metrics", "fdd"], "Did you mean fd"),
    (["{run}", "--metrics", "kd", "--samples", "300"], "kd takes 2,000 samples at least"),
    (["{npz}", "--dataset", "mnist5k", "--metrics", "class_accuracy"], "nobody asked for classes"),
    (["{run}", "--samples", "0"], "--samples 0: it must be at least 1"),
    (["{run}", "--checkpoint", "7"], "has newest, best, 320"),
    (["{run}", "--checkpoint", "newst"], "has newest, best, 320"),
    (["{plain}", "--checkpoint", "best"], "it was not scored while it trained"),
    (["{run}", "feature_extractor=inceptoin"], "Did you mean inception-v3-compat"),
    (
        ["{run}", "feature_extractor=inception-v3-compat", "feature_extractor.layer=7"],
        "Choose from: 192, 2048",
    ),
    (["{run}", "feature_extractor=vgg16", "feature_extractor.weights=none.pth"], "there is no such file"),
    (["{run}", "dataset.image_size=64"], "makes samples of 1 x 32 x 32, and these data have other ones"),
    (["{run}", "trainer.images=8"], "evaluate takes feature_extractor"),
    (["{run}", "--neighbours", "near.jpg"], "give a .png"),
    (["{points}", "--metrics", "fd"], "fd cannot be measured: these samples are points"),
    (["{npz}"], "say what to compare with: --dataset NAME"),
    (["{npz}", "--dataset", "mnist"], "Did you mean mnist5k"),
    (["{npz}", "--dataset", "mnist5k", "--samples", "99"], "holds 20 pictures"),
    (["{npz}", "--dataset", "mnist5k", "--metrics", "fd"], "fd takes 65 samples at least"),
    (["{npz}", "--dataset", "mnist5k", "--checkpoint", "best"], "--checkpoint and --noise-seeds are for runs"),
    (["{npz}", "--dataset", "mnist5k", "dataset.image_size=28"], "pictures of 32 x 32 pixels"),
    (["{colour}", "--dataset", "mnist5k"], "holds colour pictures; dataset=mnist5k is grey"),
    (["{floats}", "--dataset", "mnist5k"], "wanted is uint8"),
    (["{nan}", "--dataset", "mnist5k"], "images are float32"),
    (["{cut}", "--dataset", "mnist5k"], "is no .npz with the key images"),
    (["{npz}", "--dataset", "mixture"], "--dataset mixture has points"),
    (["{deep}", "--dataset", "mnist5k"], "16 bits"),
    (["{run}", "--neighbours", "{run}/near.png"], "is a run, and stays as it is"),
    (["{text}", "--dataset", "mnist5k"], "is no .npz with the key images"),
    (["{empty}", "--dataset", "mnist5k"], "holds no pictures"),
    (["{jpeg}", "--dataset", "mnist5k"], "lossy files change every distance; save PNGs, or insist with --force"),
    (["{sizes}", "--dataset", "mnist5k"], "make them equal"),
    (["{broken}", "--dataset", "mnist5k"], "a.png cannot be taken"),
    (["{clear}", "--dataset", "mnist5k"], "transparent"),
]


@pytest.fixture(scope="module")
def things(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("things")
    grey = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 1), dtype=np.uint8)
    np.savez(place / "npz.npz", images=grey)
    np.savez(place / "colour.npz", images=np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8))
    np.savez(place / "floats.npz", images=grey / 255)
    np.savez(place / "nan.npz", images=np.full((20, 32, 32, 1), np.nan, dtype=np.float32))
    (place / "text.npz").write_text("text")
    (place / "cut.npz").write_bytes((place / "npz.npz").read_bytes()[:3000])
    (place / "deep").mkdir()
    deep = np.random.default_rng(0).integers(0, 65536, (32, 32), dtype=np.uint16)
    Image.fromarray(deep).save(place / "deep/a.png")
    for name in ("empty", "jpeg", "sizes", "broken", "clear"):
        (place / name).mkdir()
    Image.fromarray(grey[0, ..., 0]).save(place / "jpeg/a.jpg")
    Image.fromarray(grey[0, ..., 0]).save(place / "sizes/a.png")
    Image.fromarray(grey[0, :28, :28, 0]).save(place / "sizes/b.png")
    (place / "broken/a.png").write_bytes((place / "sizes/a.png").read_bytes()[:-300])
    Image.fromarray(np.zeros((32, 32, 4), dtype=np.uint8)).save(place / "clear/a.png")
    found = {path.stem: path for path in place.iterdir()}
    return found | {"run": folder / "scored", "plain": folder / "plain", "points": folder / "points"}


@pytest.mark.parametrize(("words", "message"), WRONG, ids=lambda value: " ".join(value)[:60])
def test_what_cannot_be_evaluated_is_refused(
    words: list[str], message: str, things: dict[str, Path], refuse: Refuse
) -> None:
    names = {name: str(path) for name, path in things.items()}
    refuse([word.format(**names) for word in words], message)


def test_lossy_pictures_are_taken_by_force_and_that_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "jpeg").mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (100, 32, 32), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / f"jpeg/{i:03d}.jpg")
    words = ["evaluate", str(tmp_path / "jpeg"), "--dataset", "mnist5k", "--force", "--json", str(tmp_path / "s.json")]
    assert main(words) == 0
    assert json.loads((tmp_path / "s.json").read_text())["metrics"][FD]["quantization"] == "uint8, lossy files"


def test_a_run_that_makes_nothing_finite_is_refused(folder: Path, tmp_path: Path, refuse: Refuse) -> None:
    shutil.copytree(folder / "scored", tmp_path / "run")
    state = checkpoint.load_newest(tmp_path / "run/checkpoints")
    assert state is not None
    for value in state["game"]["parts"]["hook/EMA"].values():
        value.fill_(torch.nan)
    shutil.rmtree(tmp_path / "run/checkpoints")
    checkpoint.save(state, tmp_path / "run/checkpoints")
    refuse([str(tmp_path / "run")], "numbers that are not finite: it has diverged")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluation.metrics=[kd]", "evaluation.samples=256"], "evaluation.samples=256: kd takes 2,000"),
        (["evaluation.metrics=[fd]", "evaluation.selection_samples=9"], "evaluation.selection_samples=9: fd takes 65"),
        (["evaluation.select_by=memorization"], "neither better nor worse"),
        (["evaluation.select_by=fdd", "evaluation.every=0"], "Did you mean fd"),
        (["evaluation.metrics=[fid]"], "belongs to feature_extractor=inception-v3-compat"),
        (["evaluation.metrics=[fd]", "feature_extractor=none"], "fd cannot be measured: feature_extractor=none"),
        (["feature_extractor=fashion_mnist", "dataset.image_size=24"], "square grey pictures of 28 px or more"),
    ],
)
def test_a_run_that_could_not_be_scored_is_refused_before_it_trains(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, *words, f"run_dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
