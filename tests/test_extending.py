"""The parts of docs/extending.md, word for word: a generator, a loss, a data set, a feature extractor on grey scans.

Its kind of game: tests/tasks/test_plug_in.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs/extending.md").read_text()


def scans(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey pictures uint8 [N, 32, 32]: a bright ellipse on noise, in half of them with a small dark spot inside."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    pictures, label = [], np.arange(count) % 2
    for ill in label:
        centre, radius = random.uniform(13, 19, 2), random.uniform(8, 12, 2)
        body = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 < 1
        picture = 40 + 120 * body + random.normal(0, 12, (32, 32))
        if ill:
            spot = centre + random.uniform(-3, 3, 2)
            picture -= 100 * ((y - spot[0]) ** 2 + (x - spot[1]) ** 2 < 9)
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return np.stack(pictures), label


def write(folder: Path, pictures: np.ndarray, label: np.ndarray) -> None:
    for i, (picture, ill) in enumerate(zip(pictures, label, strict=True)):
        place = folder / ("ill" if ill else "healthy")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{i:04d}.png")


@pytest.mark.slow
def test_a_users_own_extractor_scores_a_users_own_scans(tmp_path: Path) -> None:
    (source,) = re.findall(
        r"^```python\n(.*?feature_extractors\.register.*?)^```", TEXT.split("## Measure")[1], re.S | re.M
    )
    (command,) = re.findall(r"^```bash\n(.*?)^```", TEXT.split("## Measure")[1], flags=re.S | re.M)
    (tmp_path / "scan_features.py").write_text(source)
    pictures, label = scans(400, seed=0)
    write(tmp_path / "scans", pictures, label)
    write(tmp_path / "held_out", *scans(120, seed=1))

    # what "trained elsewhere" stands for
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.AdaptiveAvgPool2d(32), nn.Conv2d(1, 16, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 32)
    )
    net = nn.ModuleDict({"body": body, "head": nn.Linear(32, 2)})
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    x, y = torch.from_numpy(pictures)[:, None] / 255, torch.from_numpy(label)
    for _ in range(60):
        loss = nn.functional.cross_entropy(net["head"](net["body"](x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(net.state_dict(), tmp_path / "scans.pt")

    short = (
        "generator=mlp discriminator=mlp experiment=none trainer.images=256 evaluation.samples=300 trainer.threads=1 "
        "generator.conditioning=concat run_dir=run tracking.wandb.mode=disabled"
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    words = command.rstrip().replace("gan-lab", f"{sys.executable} -m gan_lab")
    done = subprocess.run(
        ["bash", "-c", f"{words} {short}"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/summary.json").read_text())["metrics"]
    words_of_names = {name.split("/")[0] for name in metrics}
    assert {"fd", "coverage", "memorization", "class_accuracy", "class_histogram"} <= words_of_names
    (name,) = (name for name in metrics if re.fullmatch(r"fd/scans-[0-9a-f]{8}/train", name))
    assert metrics[name]["floor"] < metrics[name]["value"]
    assert metrics[name]["resize"] == "averaged to 32 px"


@pytest.mark.slow
def test_a_generator_is_one_file(workdir: Path) -> None:
    from gan_lab.cli import main

    source = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)[0]
    Path("linear.py").write_text(textwrap.dedent("   " + source.lstrip()))
    words = ["generator=linear", "generator.latent_dim=8", "dataset=toy_pictures", "trainer.images=64", "run_dir=run"]
    script = f"import tests.toy_data, sys; from gan_lab.cli import main; sys.exit(main({['train', *words]!r}))"
    environment = os.environ | {"GAN_LAB_PLUGINS": "linear", "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "generator linear (9,216 parameters)" in done.stdout  # 8 x 1024 weights and 1024 biases
    assert main(["sample", "run"]) == 2  # the plug-in is missing here


@pytest.mark.slow
def test_a_loss_and_a_data_set_are_one_file_each(tmp_path: Path) -> None:
    loss, data = (TEXT.split(f"## Add a {part} in one file")[1].split("\n## ")[0] for part in ("loss", "data set"))
    for name, section in (("smoothed", loss), ("moons", data)):
        (source,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.S | re.M)
        (tmp_path / f"{name}.py").write_text(source)
    (command,) = re.findall(r"^```bash\n(.*?)^```", data, flags=re.S | re.M)
    words = command.rstrip().replace("gan-lab", f"{sys.executable} -m gan_lab")
    short = "trainer.images=2000 trainer.threads=1 run_dir=run tracking.wandb.mode=disabled"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", f"{words} {short}"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "loss smoothed" in done.stdout
    assert "data moons (10,000 of 2)" in done.stdout
    config = (tmp_path / "run/config.yaml").read_text()
    assert "noise: 0.1" in config
    assert "real: 0.8" in config


def test_the_smoothed_loss_is_the_papers() -> None:
    """Binary cross-entropy of D against targets of 0.9 and 0, of G against 1."""
    section = TEXT.split("## Add a loss in one file")[1].split("\n## ")[0]
    (source,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.S | re.M)
    names: dict[str, Any] = {}
    exec(source.replace('@losses.register("smoothed")\n', ""), names)
    logits = SimpleNamespace(real_logits=torch.tensor([-1.0, 0.0, 2.0]), fake_logits=torch.tensor([0.5, -3.0, 1.0]))
    entropy = partial(nn.functional.binary_cross_entropy_with_logits, reduction="none")
    loss, real, fake = names["Smoothed"](real=0.9), logits.real_logits, logits.fake_logits
    expected = entropy(real, torch.full((3,), 0.9)) + entropy(fake, torch.zeros(3))
    torch.testing.assert_close(loss.discriminator(logits), expected)
    torch.testing.assert_close(loss.generator(logits), entropy(fake, torch.ones(3)))
