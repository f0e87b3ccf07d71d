"""Whole runs that go on, and what their directories hold. How they break and go on: tests/faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gan_lab.cli import main
from gan_lab.core import checkpoint
from tests.core.toys import equal

RUN = [
    "experiment=ring", "loss=non_saturating", "trainer.images=48000", "trainer.batch_size=48",
    "trainer.checkpoint_every=4800",
    "tracking.log_every=4800", "tracking.samples_every=0", "evaluation.every=9600", "evaluation.samples=500",
    "generator.width=16", "discriminator.width=16", "tracking.wandb.mode=disabled",
]  # fmt: skip


def saved(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("[0-9]*"))


def final(folder: Path) -> Any:
    state = checkpoint.load(saved(folder)[-1])
    return state["game"]


def quick(workdir: Path, *words: str) -> int:
    return main(["train", *RUN, "run_dir=run", "schedule/learning_rate=constant", *words])


@pytest.mark.slow
def test_more_images_continue_and_a_finished_run_is_left_alone(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick(workdir, "trainer.images=480") == 0
    summary = (workdir / "run/summary.json").read_bytes()
    assert quick(workdir, "trainer.images=480") == 0
    assert "already finished: run" in capsys.readouterr().out
    assert (workdir / "run/summary.json").read_bytes() == summary
    assert quick(workdir, "trainer.images=960") == 0
    assert "goes on from 480 images" in capsys.readouterr().out
    continued = final(workdir / "run")
    assert main(["train", *RUN, "run_dir=other", "schedule/learning_rate=constant", "trainer.images=960"]) == 0
    assert equal(continued, final(workdir / "other"))


def test_the_run_directory_holds_what_it_promises(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick(workdir, "trainer.images=960", "tracking.log_every=480", "trainer.checkpoint_every=480") == 0
    run = workdir / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary.keys() >= {
        "status", "error", "config_hash", "images", "step", "seconds", "images_per_second", "metrics"
    }  # fmt: skip
    assert (summary["status"], summary["error"], summary["images"], summary["step"]) == ("finished", None, 960, 20)
    assert summary["metrics"]["modes"].keys() >= {
        "value",
        "samples",
        "noise_seeds",
        "selection",
        "weights",
        "batch_norm",
        "versions",
    }
    assert summary["metrics"]["modes"]["selection"] is False
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [480, 960]
    wanted = ["adversarial", "real_logits", "fake_logits", "real_accuracy", "fake_accuracy", "gradient_norm"]
    assert lines[0].keys() >= {"images", "step", "seconds", "generator/adversarial", "generator/gradient_norm"}
    assert lines[0].keys() >= {f"discriminator/{name}" for name in wanted}
    assert (run / "samples/960.png").read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in saved(run)] == ["000000000480", "000000000960"]
    said = capsys.readouterr().out
    assert "pictures  run/samples/960.png" in said
    assert "next      gan-lab sample run" in said


def test_samples_come_from_the_directory_alone(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    assert quick(workdir, "trainer.images=480") == 0
    before = {path: path.read_bytes() for path in (workdir / "run").rglob("*") if path.is_file()}
    for out in ("a.npz", "b.npz"):
        assert main(["sample", "run", "--num", "10", "--seed", "3", "--out", out]) == 0
    assert main(["sample", "run", "--num", "100", "--seed", "3", "--out", "more.npz"]) == 0
    assert main(["sample", "run", "--num", "10", "--seed", "4", "--out", "other.npz"]) == 0
    a, b, more, other = (np.load(f"{name}.npz")["points"] for name in ("a", "b", "more", "other"))
    assert a.shape == (10, 2)
    assert np.array_equal(a, b)
    assert np.allclose(a, more[:10], atol=1e-6)
    assert not np.allclose(a, other)
    assert main(["sample", "run"]) == 0
    assert Path("samples.png").read_bytes()[:4] == b"\x89PNG"
    assert before == {path: path.read_bytes() for path in (workdir / "run").rglob("*") if path.is_file()}


def test_pictures_are_written_as_grid_array_and_folder(workdir: Path) -> None:
    import numpy as np
    from PIL import Image

    import tests.toy_data  # noqa: F401

    words = ["experiment=none", "dataset=toy_pictures", "generator.width=4", "discriminator.width=4"]
    assert main(["train", *words, "trainer.images=64", "run_dir=run", "tracking.wandb.mode=disabled"]) == 0
    for out in ("grid.png", "images.npz", "folder"):
        assert main(["sample", "run", "--num", "9", "--out", out]) == 0
    images = np.load("images.npz")["images"]
    assert (images.shape, images.dtype) == ((9, 32, 32, 1), np.uint8)
    files = sorted(Path("folder").iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(9)]
    assert np.array_equal(np.asarray(Image.open(files[4])), images[4, :, :, 0])
    grid = np.asarray(Image.open("grid.png"))
    assert grid.shape == (3 * 34 + 2, 3 * 34 + 2)
    assert np.array_equal(grid[36:68, 36:68], images[4, :, :, 0])


# The command line of tests/data/schema1, which the version before schema 2 has made.
OLD = (
    "train experiment=none generator=mlp discriminator=mlp dataset=mixture generator.width=4 discriminator.width=4 "
    "generator.latent_dim=4 dataset.samples=256 trainer.batch_size=32 trainer.checkpoint_every=0 trainer.ema=0.9 "
    "tracking.samples_every=0 evaluation.metrics=[] tracking.wandb.mode=disabled trainer.device=cpu run_dir=run"
)


def test_a_run_of_an_older_version_goes_on(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(Path(__file__).parent / "data" / "schema1", workdir / "run")
    before = final(workdir / "run")
    assert main([*OLD.split(), "trainer.images=1280"]) == 0
    assert "goes on from 640 images" in capsys.readouterr().out
    after = final(workdir / "run")
    assert (before["images"], after["images"]) == (640, 1280)
    assert after["parts"]["hook/LearningRate"] == {"halvings": 0}
    assert [record["images"] for record in map(json.loads, (workdir / "run/metrics.jsonl").open())] == [640, 1280]


def test_a_newer_versions_checkpoint_is_refused_in_one_line(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick(workdir, "trainer.images=480") == 0
    manifest = saved(workdir / "run")[-1] / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 2', '"schema": 3'))
    before = {path: path.read_bytes() for path in (workdir / "run/checkpoints").rglob("*") if path.is_file()}
    capsys.readouterr()
    for words in (
        ["train", *RUN, "run_dir=run", "schedule/learning_rate=constant", "trainer.images=960"],
        ["sample", "run"],
    ):
        assert main(words) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert "has schema 3, and this version of gan_lab reads 1 to 2" in said[0]
    assert before == {path: path.read_bytes() for path in (workdir / "run/checkpoints").rglob("*") if path.is_file()}
