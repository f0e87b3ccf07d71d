"""Runs, sweeps and comparisons from Python: they do what the command line does."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.cli import main
from tests import toy_data  # noqa: F401

QUICK = ["trainer.threads=1", "evaluation.every=0", "evaluation.samples=64", "tracking.health=false"]
RING = ["experiment=ring", "trainer.images=256", *QUICK]
CLASSES = [
    "experiment=none", "dataset=toy_pictures", "generator=mlp", "generator.width=8", "discriminator=mlp",
    "discriminator.width=8", "generator.conditioning=concat", "trainer.images=64", "evaluation.metrics=[]", *QUICK,
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> gan_lab.Run:
    return gan_lab.train([*RING, f"run_dir={tmp_path_factory.mktemp('ring') / 'run'}"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> gan_lab.Run:
    return gan_lab.train([*CLASSES, f"run_dir={tmp_path_factory.mktemp('pictures') / 'run'}"])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> gan_lab.Sweep:
    folder = tmp_path_factory.mktemp("sweep") / "jobs"
    return gan_lab.sweep([*RING, "loss=hinge,minimax", "trainer.seed=1,2", f"sweep_dir={folder}"])


def test_a_seed_gives_the_samples_of_the_command_line(pictures: gan_lab.Run, tmp_path: Path) -> None:
    words = ["sample", str(pictures.path), "--num", "5", "--seed", "3", "--label", "1", "--out"]
    assert main([*words, str(tmp_path / "a.npz")]) == 0
    found = pictures.sample(5, seed=3, label=1)
    assert found.dtype == torch.float32
    assert found.shape == (5, 1, 32, 32)
    assert found.abs().max() <= 1
    as_bytes = ((found + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.abs(as_bytes.astype(int) - np.load(tmp_path / "a.npz")["images"].astype(int)).max() <= 1
    assert pictures.examples(4, label=[0, 1])["label"].tolist() == [0, 1, 0, 1]


def test_show_is_the_picture_of_the_command_line(pictures: gan_lab.Run, tmp_path: Path) -> None:
    sheet = pictures.show(9, seed=2)
    shown = np.asarray(Image.open(io.BytesIO(sheet._repr_png_() or b"")))
    assert main(["sample", str(pictures.path), "--num", "9", "--seed", "2", "--out", str(tmp_path / "a.png")]) == 0
    assert (shown == np.asarray(Image.open(tmp_path / "a.png"))).all()
    sheet.save(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    captioned = pictures.show(2, grid="classes")
    assert (captioned._repr_html_() is None) == (captioned.caption is None)


def test_metrics_are_a_frame_with_a_row_for_each_number_of_images(run: gan_lab.Run) -> None:
    frame = run.metrics()
    assert frame.index.name == "images"
    assert frame.index.is_unique
    assert frame.index[-1] == 256
    assert np.isfinite(frame["generator/adversarial"].iloc[-1])


def test_without_pandas_the_extra_is_named(
    run: gan_lab.Run, sweep: gan_lab.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for table in (run.metrics, sweep.table):
        with pytest.raises(ValueError, match=r'needs pandas: pip install "hydra-gan-lab\[notebook\]"'):
            table()


def test_networks_config_summary_and_scores(run: gan_lab.Run) -> None:
    assert set(run.networks) == {"generator", "discriminator"}
    assert not any(net.training for net in run.networks.values())
    assert run.config.trainer.images == 256
    assert (run.status, run.summary["images"]) == ("finished", 256)
    scores = run.evaluate(["modes"], samples=64)
    assert scores["modes"]["value"] == run.summary["metrics"]["modes"]["value"]
    assert "64 samples of noise seeds" in str(scores)
    assert scores._repr_html_().startswith("<pre")


def test_it_goes_on_like_the_command(run: gan_lab.Run) -> None:
    before = run.sample(3)
    again = gan_lab.train([*RING, f"run_dir={run.path}"])
    assert again.path == run.path
    assert torch.equal(again.sample(3), before)


def test_a_sweep_has_its_runs_and_their_table(sweep: gan_lab.Sweep) -> None:
    assert len(sweep.runs) == 4
    table = sweep.table()
    assert list(table.columns[:4]) == ["loss", "seed", "status", "seconds"]
    assert set(table["status"]) == {"finished"}
    assert {str(run.path) for run in sweep.runs} == set(table["run"])
    assert str(sweep).splitlines()[0].split()[:3] == ["loss", "seed", "status"]
    ranked = sweep.compare()
    assert ranked.content == gan_lab.compare([sweep]).content
    assert len(gan_lab.compare(sweep.runs).settings) == len(ranked.settings) == 2
    assert [setting["settings"] for setting in ranked.settings] == [
        {"loss.name": name} for name in ranked.table()["loss.name"]
    ]


def test_a_comparison_writes_the_page_of_the_command(sweep: gan_lab.Sweep, tmp_path: Path) -> None:
    sweep.compare().write_page(tmp_path / "a.html")
    assert main(["compare", str(sweep.path), "--html", str(tmp_path / "b.html")]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss=hing"], "Did you mean hinge"),
        (["loss=hinge,minimax"], "several values make a sweep"),
        (["-m", "loss=hinge,minimax"], r"gan_lab\.sweep"),
        (["--cfg", "job"], "for the command line"),
        (["--help"], "for the command line"),
        ("loss=hinge", "give a list of words"),
        (["run_dir=/dev/null"], "is a file"),
    ],
)
def test_what_cannot_be_trained_is_a_value_error(words: list[str], message: str, workdir: Path) -> None:
    with pytest.raises(ValueError, match=message):
        gan_lab.train(words)
    assert not list(workdir.iterdir())


@pytest.mark.parametrize(
    ("python", "command"),
    [
        (lambda run: gan_lab.load("none"), ["sample", "none"]),
        (lambda run: run.sample(0), ["sample", "RUN", "--num", "0"]),
        (lambda run: run.sample(label=7), ["sample", "RUN", "--label", "7"]),
        (lambda run: run.show(grid="stripes"), ["sample", "RUN", "--grid", "stripes", "--out", "a.png"]),
        (lambda run: run.evaluate(samples=0), ["evaluate", "RUN", "--samples", "0"]),
        (lambda run: run.evaluate(["fidd"]), ["evaluate", "RUN", "--metrics", "fidd"]),
        (lambda run: gan_lab.load(run.path, checkpoint=5).networks, ["sample", "RUN", "--checkpoint", "5"]),
        (lambda run: gan_lab.load(run.path, device="tpu").networks, ["sample", "RUN", "--device", "tpu"]),
        (lambda run: gan_lab.compare([run], at="noon"), ["compare", "RUN", "--at", "noon"]),
        (lambda run: gan_lab.compare(["none"]), ["compare", "none"]),
    ],
)
def test_errors_have_the_message_of_the_command_line(
    python: object, command: list[str], pictures: gan_lab.Run, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(pictures.path) if word == "RUN" else word for word in command]) == 2
    said = capsys.readouterr().err
    with pytest.raises(ValueError, match=f"^{re.escape(said.removeprefix('gan-lab: ').rstrip())}$"):
        python(pictures)  # type: ignore[operator]


def test_no_run_is_a_file_that_is_not_found(workdir: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none is no run directory \(there is no config.yaml\)"):
        gan_lab.load("none")
    with pytest.raises(ValueError, match="is no sweep"):
        gan_lab.Sweep("none")


def test_a_run_that_fails_says_why(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a part's own trouble")

    monkeypatch.setattr("gan_lab.core.loop.Game.update", fails)
    with pytest.raises(RuntimeError, match=r"^failed: RuntimeError: a part's own trouble"):
        gan_lab.train([*RING, "run_dir=run"])
    assert gan_lab.load("run").status == "failed"
    assert "failed" in str(gan_lab.load("run"))


def test_an_interrupted_run_is_saved_and_raises(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from gan_lab.core import loop

    step, steps = loop.step, iter(range(100))

    def interrupted(*arguments: object, **named: object) -> object:
        if next(steps) == 1:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gan_lab.train([*RING, "trainer.images=2560", "run_dir=run"])
    assert gan_lab.load("run").status == "interrupted"
    assert gan_lab.load("run").sample(2).shape == (2, 2)
