"""The health monitor's thresholds against real runs: planted failures raise their warnings, healthy runs raise none.

Prints each signal's range, which docs/comparing.md quotes. Minutes to half an hour on a CPU: part of `nox -s recipes`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_lab.cli import main
from gan_lab.run.assembly import data_set
from gan_lab.run.health import RULES
from tests.helpers import compose

HEALTHY = {
    "ring": "experiment=ring",
    "mnist5k": "experiment=dcgan_mnist5k",
    "lsgan": "experiment=lsgan_fashion_mnist",
    "wgan_gp": "experiment=wgan_gp_fashion_mnist trainer.images=16_000",
    "vqgan": "experiment=vqgan_fashion_mnist",
    "klgan": "experiment=klgan_fashion_mnist",
    "sngan_projection": "experiment=sngan_projection_fashion_mnist trainer.images=24_000",
}

# What is broken on purpose, and the warnings that it must raise. What else it raises is printed.
BROKEN = {
    "overpowering D under minimax": (
        "experiment=lsgan_fashion_mnist loss=minimax trainer.images=16_000 "
        "optimizer.generator.learning_rate=1e-5 optimizer.discriminator.learning_rate=2e-3",
        {"overpowered", "gradient_share"},
    ),
    "learning rates x 50": (
        "experiment=lsgan_fashion_mnist trainer.images=16_000 "
        "optimizer.generator.learning_rate=5e-2 optimizer.discriminator.learning_rate=5e-2",
        {"gradient_peak"},
    ),
    "learning rates x 50, digits": (
        "experiment=dcgan_mnist5k trainer.images=16_000 "
        "optimizer.generator.learning_rate=1e-1 optimizer.discriminator.learning_rate=1e-1",
        {"gradient_peak"},
    ),
    "collapsed G": (
        "experiment=lsgan_fashion_mnist generator=mlp loss=non_saturating trainer.images=16_000",
        {"collapse"},
    ),
    "D on 200 pictures": (
        "experiment=lsgan_fashion_mnist dataset=image_folder dataset.path=few/train dataset.test_path=few/test "
        "dataset.image_size=32 dataset.image_channels=1 trainer.images=32_000",
        {"overfitting"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place to train in, with 200 pictures of clothes to learn from and 400 others."""
    path = tmp_path_factory.mktemp("health")
    clothes = data_set(compose("dataset=fashion_mnist"))
    for split, count in (("train", 200), ("test", 400)):
        (path / "few" / split).mkdir(parents=True)
        for i, pixels in enumerate(clothes.load(split).columns["sample"][::7][:count].numpy()):
            Image.fromarray(pixels.squeeze()).save(path / "few" / split / f"{i}.png")
    return path


def train(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> list[dict[str, Any]]:
    """Train, print the signals' ranges, and return the warnings."""
    monkeypatch.chdir(folder)
    run = name.replace(" ", "_").replace(",", "")
    assert main(["train", *words.split(), "evaluation.metrics=[]", "trainer.threads=1", f"run_dir={run}"]) == 0
    records = [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
    print(f"\n{name}: gan-lab train {words}")
    for rule in RULES:
        values = [r[f"health/{rule.signal}"] for r in records if r.get(f"health/{rule.signal}") is not None]
        if values:
            low, middle, high = np.percentile(values, [0, 50, 100])
            mildest, worst = (max, min) if rule.below else (min, max)
            held = [mildest(values[i : i + rule.looks]) for i in range(len(values) - rule.looks + 1)]
            kept = worst(held, default=float("nan"))
            print(f"  {rule.signal:15} {low:9.3g} {middle:9.3g} {high:9.3g}  held: {kept:9.3g}")
    warnings: list[dict[str, Any]] = json.loads((folder / run / "summary.json").read_text())["health"]
    print(f"  warnings: {', '.join(w['signal'] + ' from ' + str(w['images']) for w in warnings) or 'none'}")
    return warnings


@pytest.mark.parametrize("name", BROKEN)
def test_a_planted_failure_raises_its_warning(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, signals = BROKEN[name]
    assert signals <= {warning["signal"] for warning in train(folder, monkeypatch, name, words)}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_raises_none(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(folder, monkeypatch, name, HEALTHY[name]) == []
