"""The kind of game of docs/extending.md, word for word, as a stranger's file outside the project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from gan_lab.core import checkpoint
from tests.core.toys import equal

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/extending.md").read_text().split("## Add a kind of game in one file")[1].split("\n## ")[0]
QUICK = (
    "dataset.image_size=16 trainer.images=640 evaluation.every=320 evaluation.samples=64 trainer.checkpoint_every=320 "
    "evaluation.selection_samples=64 tracking.samples=4 trainer.threads=1 trainer.device=cpu "
    "tracking.wandb.mode=disabled"
)
ONE = f"train experiment=none task=autoencoder discriminator=mlp task.width=32 trainer.ema=0.9 {QUICK} run_dir="
MORE = [
    f"{ONE}whole", f"{ONE}parted trainer.images=320", f"{ONE}parted", "evaluate whole --json scores.json",
    "sample whole --num 5 --out a.npz", "sample whole --num 5 --out sheet.png", "list metrics",
    f"{ONE}own_optimizer optimizer/autoencoder=sgd trainer.images=64",
]  # fmt: skip
SCRIPT = """
import shlex, sys
from gan_lab.cli import main

for line in sys.argv[1:]:
    code = main(shlex.split(line))
    print(code, line, file=sys.stderr)
    if code:
        sys.exit(code)
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, flags=re.S | re.M)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stranger's file and what its commands have made, each of which ended with 0.

    One process runs them all: to start one takes seconds.
    """
    folder = tmp_path_factory.mktemp("stranger")
    (source,) = blocks("python")
    assert 40 <= len([line for line in source.splitlines() if line.strip()]) <= 75
    (folder / "autoencoder.py").write_text(source)
    (commands,) = blocks("bash")
    export, *lines = commands.replace("\\\n", " ").splitlines()
    variable, plugin = export.removeprefix("export ").split("=")
    lines = [line.removeprefix("gan-lab ").replace("sweep_dir=", f"{QUICK} sweep_dir=") for line in lines]
    environment = os.environ | {variable: plugin, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *lines, *MORE], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


def test_the_sweep_finishes_and_is_ranked(folder: Path) -> None:
    said = (folder / "said").read_text()
    assert "2 of 2 jobs finished" in said
    assert "by psnr (higher is better)" in said
    assert {"loss=hinge", "loss=non_saturating"} <= set(re.findall(r"loss=\w+", (folder / "codes.html").read_text()))
    assert "code_deviation" in said.splitlines(), "its own measure is listed"


def test_it_goes_on_to_the_same_bits(folder: Path) -> None:
    states = [checkpoint.load_newest(folder / name / "checkpoints") for name in ("parted", "whole")]
    assert equal(*(state["game"] for state in states if state is not None))
    assert "goes on from 320 images" in (folder / "said").read_text()


def test_it_is_scored_by_its_own_measure_and_selected_by_its_first(folder: Path) -> None:
    summary = json.loads((folder / "whole" / "summary.json").read_text())
    assert summary["metrics"].keys() == {"psnr", "code_deviation"}
    assert summary["best"]["metric"] == "psnr"
    again = json.loads((folder / "scores.json").read_text())["metrics"]
    for name, entry in summary["metrics"].items():
        assert again[name]["value"] == pytest.approx(entry["value"], rel=1e-6)


def test_it_learns_what_it_says(folder: Path) -> None:
    """Its distance falls; the player, which is no generator, has moved by the generator's optimizer."""
    lines = [json.loads(line) for line in (folder / "whole" / "metrics.jsonl").read_text().splitlines()]
    scores = [line["selection/psnr"] for line in lines if "selection/psnr" in line]
    assert scores[-1] > scores[0]
    assert any("learning_rate/autoencoder" in line for line in lines)


def test_its_examples_are_all_of_its_columns(folder: Path) -> None:
    arrays = np.load(folder / "a.npz")
    assert arrays["images"].shape == arrays["target"].shape == (5, 16, 16, 1)
    assert (arrays["code"].shape, arrays["code"].dtype) == ((5, 8), np.float32)
    assert (folder / "sheet.png").read_bytes()[:4] == b"\x89PNG"


def test_its_player_can_be_given_an_optimizer_of_its_own(folder: Path) -> None:
    configs = {name: yaml.safe_load((folder / name / "config.yaml").read_text()) for name in ("whole", "own_optimizer")}
    assert configs["own_optimizer"]["optimizer"]["autoencoder"]["name"] == "sgd"
    assert "autoencoder" not in configs["whole"]["optimizer"], "it has the generator's"
