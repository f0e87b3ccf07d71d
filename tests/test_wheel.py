"""What people install: the wheel, run from elsewhere, with its config and experiments inside."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_lists_trains_and_samples_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling (extra dev)")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("hydra_gan_lab-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"gan_lab/conf/config.yaml", "gan_lab/experiments/ring.yaml"} <= names
    assert {"gan_lab/py.typed", "gan_lab/playing/web/play.html", "gan_lab/display/style.css"} <= names
    assert "gan_lab/feature_extractors/weights/mnist5k.safetensors" in names
    assert not any(name.startswith(("tests", "conf")) for name in names)
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(site)}

    def run(*words: str) -> str:
        # the finder of an editable install must not win
        script = (
            "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]; "
            "from gan_lab.cli import main; sys.exit(main())"
        )
        command = [sys.executable, "-c", script]
        done = subprocess.run([*command, *words], cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert {"ring", "grid", "dcgan_cifar10", "dcgan_mnist5k", "none"} <= set(run("list", "experiments").split())
    where = "import gan_lab; print(gan_lab.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert str(site) in found.stdout
    words = [
        "experiment=ring",
        "trainer.images=256",
        "evaluation.samples=64",
        "run_dir=run",
        "tracking.wandb.mode=disabled",
    ]
    assert "finished" in run("train", *words)
    run("sample", "run", "--out", "points.npz")
    assert (elsewhere / "points.npz").exists()
