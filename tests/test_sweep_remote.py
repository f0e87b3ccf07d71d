"""Sweeps whose jobs have processes of their own, elsewhere perhaps: submitit's local cluster, and Ray's."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest

from gan_lab.cli import main
from tests.test_sweep_joblib import LONG, SHORT, Done, both_saved, running, start, summaries

LAUNCHERS = {
    "slurm": ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.n_jobs=2"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.num_cpus=2"],
}
SWEEP = ["-m", "sweep_dir=out", "tracking.wandb.mode=disabled"]


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> list[str]:
    package = {"slurm": "submitit", "ray": "ray"}[request.param]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return LAUNCHERS[request.param]


@pytest.mark.slow
def test_whatever_becomes_of_a_job_the_others_finish_and_the_same_command_redoes_just_it(
    launcher: list[str], tmp_path: Path
) -> None:
    words = [*SWEEP, *launcher, *SHORT, "loss=raises,exits,dies,minimax,hinge"]
    done = Done(start(tmp_path, *words))
    assert done.code == 1, done.err
    assert "2 of 5 jobs finished" in done.out
    told = done.out.split("jobs finished")[1]
    for reason in ("RuntimeError: a part's own trouble", "exited: 7", "its process was killed"):
        assert reason in told
    states = {loss: summary["status"] for loss, summary in summaries(tmp_path).items()}
    assert states == {
        "raises": "failed", "exits": "failed", "dies": "running", "minimax": "finished", "hinge": "finished",
    }  # fmt: skip
    before = {loss: s["folder"] for loss, s in summaries(tmp_path).items() if s["status"] == "finished"}
    written = {loss: (path / "metrics.jsonl").stat().st_mtime_ns for loss, path in before.items()}
    (tmp_path / "mended").touch()
    again = Done(start(tmp_path, *words))
    assert again.code == 0, again.err
    assert again.out.count("already finished") == 2
    assert "5 of 5 jobs finished" in again.out
    assert {loss: (path / "metrics.jsonl").stat().st_mtime_ns for loss, path in before.items()} == written


@pytest.mark.slow
def test_an_interrupt_saves_running_jobs_and_starts_no_other(tmp_path: Path) -> None:
    pytest.importorskip("submitit")

    with running(
        tmp_path, lambda: both_saved(tmp_path), *SWEEP, *LAUNCHERS["slurm"], *LONG, "trainer.seed=1,2,3,4"
    ) as process:
        os.kill(process.pid, signal.SIGTERM)
        done = Done(process)
    assert done.code == 143, done.err
    jobs = [json.loads(path.read_text()) for path in tmp_path.glob("out/*/summary.json")]
    assert [job["status"] for job in jobs] == ["interrupted"] * 2
    assert "not started: 2" in done.out
    assert "the same command goes on" in done.err


def test_without_slurm_it_says_how_to_try(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(workdir))
    assert main(["train", "-m", "experiment=ring", "trainer.seed=1,2", "hydra/launcher=slurm"]) == 2
    assert "there is no sbatch here; try it with hydra.launcher.cluster=local" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["hydra/launcher=slurm", "hydra.launcher.cluster=sge"], "hydra.launcher.cluster"),
        (["hydra/launcher=slurm", "hydra.launcher.n_jobs=0"], "give 1 at least"),
        (["hydra/launcher=slurm", "hydra.launcher.partitoin=gpu"], "has no such setting"),
    ],
)
def test_bad_settings_are_one_line(
    words: list[str], expected: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    assert main(["train", "-m", "experiment=ring", "trainer.seed=1,2", *words]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert expected in said
    assert not (workdir / "sweeps").exists()


@pytest.mark.parametrize(("choice", "module"), [("slurm", "submitit"), ("ray", "ray")])
def test_without_its_package_the_extra_is_named(
    choice: str, module: str, workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == module else find(name, *more))
    assert main(["train", "-m", "experiment=ring", "trainer.seed=1,2", f"hydra/launcher={choice}"]) == 2
    assert f'needs {module}: pip install "hydra-gan-lab[' in capsys.readouterr().err


@pytest.mark.slow
def test_the_laptop_preset_is_joblib_with_a_core_to_spare(tmp_path: Path) -> None:
    """In a process of its own: with one job at a time joblib works in this one, and leaves Hydra's state behind."""
    pytest.importorskip("joblib")
    words = [word for word in SHORT if not word.startswith("trainer.threads")]
    done = Done(start(tmp_path, *SWEEP, *words, "hydra/launcher=laptop", "trainer.seed=1,2"))
    assert done.code == 0, done.err
    assert "2 of 2 jobs finished" in done.out
