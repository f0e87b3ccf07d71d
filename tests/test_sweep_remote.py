"""Sweeps whose jobs have processes of their own, elsewhere perhaps: submitit's local cluster, and Ray's."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.sweeping.launchers import SlurmLauncher
from tests.run.test_ranks import tensors
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
        (
            ["hydra/launcher=slurm", "hydra.launcher.nodes=2", "trainer.processes=3"],
            "hydra.launcher.nodes=2 must divide trainer.processes=3",
        ),
        (["hydra/launcher=slurm", "hydra.launcher.nodes=0"], "hydra.launcher.nodes=0 must divide trainer.processes=1"),
        (
            ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=1", "trainer.processes=2"],
            "hydra.launcher.gpus_per_node=1: a job has 2 processes on a node",
        ),
        (
            ["hydra/launcher=ray", "hydra.launcher.gpus_per_job=1", "trainer.processes=2"],
            "hydra.launcher.gpus_per_job=1: a job has 2 processes",
        ),
        (
            ["hydra/launcher=ray", "hydra.launcher.num_cpus=2", "trainer.processes=4"],
            "a job takes 4 cores, and the cluster that hydra/launcher=ray starts here has 2",
        ),
    ],
)
def test_bad_settings_are_one_line(
    words: list[str], expected: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray" if "hydra/launcher=ray" in words else "submitit")
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


TASKS = {
    "laptop": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "slurm, a node": LAUNCHERS["slurm"],
    "slurm, two nodes": [*LAUNCHERS["slurm"], "hydra.launcher.nodes=2"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.num_cpus=4"],
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", TASKS)
def test_jobs_of_two_processes_run_side_by_side_and_train_what_one_process_does(launcher: str, tmp_path: Path) -> None:
    pytest.importorskip({"laptop": "joblib", "ray": "ray"}.get(launcher, "submitit"))
    # Not hinge: at its start, the gradient of D's last bias cancels, and Adam makes steps of what rounding leaves.
    words = [*SHORT, "evaluation.metrics=[]", "evaluation.every=0", "loss=minimax,non_saturating"]
    done = Done(start(tmp_path, *SWEEP, *TASKS[launcher], *words, "trainer.processes=2"))
    assert done.code == 0, done.err
    assert "2 of 2 jobs finished" in done.out
    alone = Done(start(tmp_path, "-m", "sweep_dir=alone", "tracking.wandb.mode=disabled", *words))
    assert alone.code == 0, alone.err
    folders = sorted((tmp_path / "out").glob("*/checkpoints"))
    assert len(folders) == 2
    for folder in folders:
        two, one = (checkpoint.load_newest(tmp_path / sweep / folder.parent.name / "checkpoints")
                    for sweep in ("out", "alone"))  # fmt: skip
        assert two is not None
        assert one is not None
        assert (two["about"]["processes"], one["about"]["processes"]) == (2, 1)
        for (name, value), (_, other) in zip(tensors(two["game"]), tensors(one["game"]), strict=True):
            torch.testing.assert_close(value, other, rtol=0, atol=1e-6, msg=name)
    assert not done.leftovers()


def test_slurm_gets_a_task_a_process_only_where_a_job_has_several_nodes() -> None:
    """What sbatch is asked for, as submitit hears it."""
    asked: dict[str, Any] = {}

    class Executor:
        def update_parameters(self, **given: Any) -> None:
            asked.update(given)

        def submit(self, task: Any) -> None: ...

    task: Any = SimpleNamespace(config=SimpleNamespace(trainer=SimpleNamespace(processes=8)))
    for cluster, nodes, expected in (
        ("slurm", 1, (1, 1, 32)), ("slurm", 2, (2, 4, 4)), ("local", 1, (1, 1, 32)), ("local", 2, (1, 8, 4)),
    ):  # fmt: skip
        launcher = SlurmLauncher(cluster=cluster, nodes=nodes, cpus_per_task=4)
        launcher.executor = Executor()
        launcher.send(task)
        assert (asked["nodes"], asked["tasks_per_node"], asked["cpus_per_task"]) == expected
