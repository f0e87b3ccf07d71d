"""What experiments/README.md says that recipes reach. Minutes of training: `nox -s recipes`, not in the suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_lab.datasets.fashion_mnist import DEBIAN, FashionMNIST
from gan_lab.datasets.mnist5k import MNIST5k
from gan_lab.datasets.store import scale
from gan_lab.metrics.stacked import NearestNeighbour


def train(folder: Path, *words: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "gan_lab", "train", *words, f"run_dir={folder}", "tracking.wandb.mode=offline"]
    subprocess.run(command, check=True, cwd=folder.parent)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    scores = {name: score["value"] for name, score in summary["metrics"].items()}
    print(*words, f"{summary['seconds']:.0f} s", scores)
    return summary


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("experiment", "modes"), [("ring", 8), ("grid", 20)])
def test_mixtures_keep_their_modes(experiment: str, modes: int, seed: int, tmp_path: Path) -> None:
    summary = train(tmp_path / "run", f"experiment={experiment}", "generator=mlp", f"trainer.seed={seed}")
    assert summary["metrics"]["modes"]["value"] >= modes


def test_the_default_makes_every_digit(tmp_path: Path) -> None:
    """By nearest training neighbour each of the ten digits has 2 to 25 % of 1,000 samples."""
    train(tmp_path / "run")
    out = tmp_path / "samples.npz"
    words = ["sample", str(tmp_path / "run"), "--num", "1000", "--seed", "7", "--out", str(out)]
    subprocess.run([sys.executable, "-m", "gan_lab", *words], check=True)
    samples = torch.from_numpy(np.load(out)["images"]).flatten(1).float()
    data = MNIST5k().load("train")
    nearest = torch.cdist(samples, data.columns["sample"].flatten(1).float()).argmin(1)
    shares = torch.bincount(data.columns["label"][nearest], minlength=10) / len(samples)
    print("shares of the ten digits", [f"{share:.1%}" for share in shares.tolist()])
    assert shares.min() >= 0.02
    assert shares.max() <= 0.25


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_a_conditional_generator_makes_what_it_is_told(tmp_path: Path) -> None:
    """By nearest training neighbour at least 60 % of 2,000 samples have the class asked for; chance is 10 %."""
    train(tmp_path / "run", "experiment=sngan_projection_fashion_mnist", "trainer.threads=1")
    columns = FashionMNIST(image_size=32).load("train").columns
    known = NearestNeighbour(scale(columns["sample"][:10_000]), columns["label"][:10_000])
    right = []
    for label in range(10):
        out = tmp_path / f"{label}.npz"
        words = ["sample", str(tmp_path / "run"), "--num", "200", "--label", str(label), "--out", str(out)]
        subprocess.run([sys.executable, "-m", "gan_lab", *words], check=True)
        classes = known(scale(torch.from_numpy(np.load(out)["images"])))
        right.append((classes == label).double().mean().item())
    print("share of each class that is what it was asked to be", [f"{share:.0%}" for share in right])
    assert sum(right) / 10 >= 0.6


def test_twenty_kills_end_in_equal_bits() -> None:
    name = "tests/test_resume_run.py::test_killed_at_random_moments_a_run_ends_in_the_same_bits"
    subprocess.run([sys.executable, "-m", "pytest", "-q", name], check=True, env=os.environ | {"GAN_LAB_KILLS": "20"})
