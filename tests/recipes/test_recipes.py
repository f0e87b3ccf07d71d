"""What experiments/README.md says that recipes reach. Minutes of training: `nox -s recipes`, not in the suite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gan_lab.datasets.cache import cache_folder
from gan_lab.datasets.emoji import MAKERS, VERSION
from gan_lab.datasets.fashion_mnist import DEBIAN

EMOJI = [cache_folder() / "downloads" / f"emoji-datasource-{maker}-{VERSION}.tgz" for maker, _ in MAKERS.values()]


def train(folder: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "gan_lab", "train", *words, f"run_dir={folder}", "tracking.wandb.mode=offline"]
    subprocess.run(command, check=True, cwd=folder.parent)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    scores = {name: score["value"] for name, score in summary["metrics"].items()}
    print(*words, f"{summary['seconds']:.0f} s", scores)
    return summary


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("experiment", "modes"), [("ring", 8), ("grid", 20)])
def test_mixtures_keep_their_modes(experiment: str, modes: int, seed: int, tmp_path: Path) -> None:
    summary = train(tmp_path / "run", f"experiment={experiment}", "generator=mlp", f"trainer.seed={seed}")
    assert summary["metrics"]["modes"]["value"] >= modes


def score(summary: dict[str, Any], word: str) -> dict[str, Any]:
    return next(entry for name, entry in summary["metrics"].items() if name.startswith(f"{word}/"))


def test_the_default_makes_every_digit(tmp_path: Path) -> None:
    summary = train(tmp_path / "run")
    assert score(summary, "fd")["value"] <= 1.2
    assert score(summary, "coverage")["value"] >= 0.6
    shares = score(summary, "class_histogram")["shares"]
    assert min(shares) >= 0.02
    assert max(shares) <= 0.25
    assert score(summary, "memorization")["copies"] <= 0.02


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_a_conditional_generator_makes_what_it_is_told(tmp_path: Path) -> None:
    summary = train(tmp_path / "run", "experiment=sngan_projection_fashion_mnist", "trainer.threads=1")
    assert score(summary, "class_accuracy")["value"] >= 0.65


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
@pytest.mark.parametrize(("minutes", "distance", "coverage"), [(1, 4.0, 0.5), (5, 1.0, 0.78), (10, 0.7, 0.83)])
def test_minutes_make_good_clothes(minutes: int, distance: float, coverage: float, tmp_path: Path) -> None:
    summary = train(tmp_path / "run", f"experiment=fashion_mnist_{minutes}min")
    assert score(summary, "fd")["value"] <= distance
    assert score(summary, "coverage")["value"] >= coverage
    assert score(summary, "memorization")["value"] >= 0.5


@pytest.mark.skipif(not all(file.is_file() for file in EMOJI), reason="the npm packages of emoji are not there")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_emoji_come_nearer_to_the_other_makers_both_ways(seed: int, tmp_path: Path) -> None:
    summary = train(tmp_path / "run", "experiment=cyclegan_emoji", f"trainer.seed={seed}", "trainer.threads=1")
    value = {name: score["value"] for name, score in summary["metrics"].items()}
    for way in ("", "_b_to_a"):  # a copy of the input has the same distance to the truth either way
        assert value[f"psnr{way}"] >= value["psnr_bar"] + 0.4
        assert value[f"ssim{way}"] > value["ssim_bar"]
        assert value[f"l1{way}"] < value["l1_bar"]
