"""The joblib launcher keeps every promise of the basic one, in several processes, whatever becomes of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gan_lab.core import checkpoint
from tests.core.toys import equal

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra sweep is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs the signals of POSIX"),
]

PLUGIN = '''
import os, signal
from pathlib import Path
import torch
from gan_lab.losses import NonSaturating
from gan_lab.registry import losses


class Troubled(NonSaturating):
    """Does what a part under development does, while a file says so."""

    def trouble(self): ...

    def generator(self, forward):
        if not Path("mended").exists():
            self.trouble()
        return super().generator(forward)


@losses.register("raises")
class Raises(Troubled):
    def trouble(self):
        raise RuntimeError("a part's own trouble")


@losses.register("exits")
class Exits(Troubled):
    def trouble(self):
        raise SystemExit(7)


@losses.register("explodes")
class Explodes(NonSaturating):
    def generator(self, forward):
        return super().generator(forward) * float("nan")


@losses.register("unbuildable")
class Unbuildable(NonSaturating):
    def __init__(self):
        if not Path("mended").exists():
            raise RuntimeError("cannot be built")


@losses.register("selfish")
class Selfish(NonSaturating):
    """Leaves the process in another state than it found it in."""

    def generator(self, forward):
        torch.set_num_threads(3)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(12345)
        return super().generator(forward)


@losses.register("dies")
class Dies(Troubled):
    def trouble(self):
        os.kill(os.getpid(), signal.SIGKILL)
'''
TROUBLE = ("selfish", "raises", "exits", "explodes", "unbuildable", "non_saturating", "minimax")
WORDS = [
    "experiment=ring", "trainer.batch_size=64", "trainer.threads=1", "generator.width=8", "discriminator.width=8",
    "evaluation.samples=64", "tracking.samples_every=0",
]  # fmt: skip
SHORT = [*WORDS, "trainer.images=512"]
LONG = [*WORDS, "trainer.images=50_000_000", "trainer.checkpoint_every=6_400", "tracking.wandb.mode=disabled"]
TWO = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "sweep_dir=out"]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`gan-lab train` in a folder, with the plug-in, as the leader of a session as in a terminal of its own."""
    (folder / "troubled.py").write_text(PLUGIN)
    environment = os.environ | {"GAN_LAB_PLUGINS": "troubled", "OMP_NUM_THREADS": "1"}
    environment.pop("WANDB_MODE", None)
    return subprocess.Popen(
        [sys.executable, "-m", "gan_lab", "train", *words],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


class Done:
    """What a command that has ended returned and said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.out, self.err = process.communicate(timeout=180)
        self.code, self.session = process.returncode, process.pid

    def leftovers(self) -> list[str]:
        """Processes of its session that outlived it, given a moment to end."""
        deadline = time.monotonic() + 20
        while True:
            listing = subprocess.run(["ps", "-eo", "sid=,stat=,args="], capture_output=True, text=True, check=True)
            rows = [row for row in listing.stdout.splitlines() if row.split()[0] == str(self.session)]
            rows = [row for row in rows if "Z" not in row.split()[1]]
            if not rows or time.monotonic() > deadline:
                return rows
            time.sleep(0.2)


def summaries(folder: Path) -> dict[str, dict[str, Any]]:
    """Each job's summary by its loss."""
    jobs = (path.parent for path in folder.glob("out/*/config.yaml"))
    return {
        yaml.safe_load((job / "config.yaml").read_text())["loss"]["name"]: json.loads(
            (job / "summary.json").read_text()
        )
        | {"folder": job}
        for job in jobs
    }


def game_of(folder: Path) -> Any:
    state = checkpoint.load_newest(folder / "checkpoints")
    assert state is not None
    return state["game"]


def both_saved(folder: Path) -> bool:
    """Whether each of two jobs has a checkpoint: a quick one may have several before the other begins."""
    return len({path.parents[2] for path in folder.glob("out/*/checkpoints/*/state.pt")}) == 2


@contextlib.contextmanager
def running(folder: Path, ready: Callable[[], bool], *words: str) -> Iterator[subprocess.Popen[str]]:
    """A sweep at the moment when it is ready; killed at the end, if it is still there."""
    process = start(folder, *words)
    try:
        deadline = time.monotonic() + 120
        while not ready():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# -- jobs that fail in every way ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joblib")


@pytest.fixture(scope="module")
def swept(folder: Path) -> Done:
    """One sweep over every kind of trouble, two jobs at a time, with offline W&B."""
    return Done(start(folder, *TWO, *SHORT, f"loss={','.join(TROUBLE)}", "tracking.wandb.mode=offline"))


def test_trouble_in_one_job_neither_stops_nor_falsifies_another(folder: Path, swept: Done) -> None:
    assert swept.code == 1, swept.err
    assert "3 of 7 jobs finished" in swept.out
    # what could not be built has no config.yaml: it never began
    assert {loss: summary["status"] for loss, summary in summaries(folder).items()} == {
        "selfish": "finished", "raises": "failed", "exits": "failed", "explodes": "diverged",
        "non_saturating": "finished", "minimax": "finished",
    }  # fmt: skip
    told = swept.out.split("jobs finished")[1]
    for reason in ("RuntimeError: a part's own trouble", "exited: 7", "no finite gradient", "cannot be built"):
        assert reason in told
    assert not swept.leftovers()


def test_the_table_has_the_order_of_the_sweep(swept: Done) -> None:
    rows = swept.out[swept.out.rindex("loss  ") :].splitlines()[1:8]
    assert [row.split()[0] for row in rows] == list(TROUBLE)


def test_every_line_of_a_job_says_which_one(swept: Done) -> None:
    head, _, _ = swept.out.partition("loss     ")
    lines = [line for line in head.splitlines()[2:] if line]
    assert lines
    assert all(line.startswith("[loss=") for line in [*lines, *swept.err.splitlines()])
    for loss in ("non_saturating", "minimax"):
        assert sum(line.startswith(f"[loss={loss}]") for line in lines) == 2, "how it began, and how it ended"


@pytest.mark.parametrize("loss", ["non_saturating", "minimax"])
def test_a_job_ends_in_the_bits_of_a_run_of_its_own(loss: str, folder: Path, swept: Done) -> None:
    from gan_lab.cli import main

    alone = folder / "alone" / loss
    words = [*SHORT, f"loss={loss}", f"run_dir={alone}", "tracking.wandb.mode=disabled"]
    assert main(["train", *words]) == 0
    job = summaries(folder)[loss]["folder"]
    assert equal(game_of(job), game_of(alone))
    assert summaries(folder)[loss]["config_hash"] == json.loads((alone / "summary.json").read_text())["config_hash"]


def test_every_job_that_began_is_one_wandb_run_in_its_own_folder(folder: Path, swept: Done) -> None:
    runs = {loss: list(summary["folder"].glob("wandb/offline-run-*")) for loss, summary in summaries(folder).items()}
    assert {len(paths) for paths in runs.values()} == {1}
    ids = {path.name.rsplit("-", 1)[1] for (path,) in runs.values()}
    assert len(ids) == len(TROUBLE) - 1, "one each, but for the job that could not be built"
    for loss, code in (("selfish", 0), ("raises", 1), ("minimax", 0)):
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(runs[loss][0])]
        text = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in text.splitlines()]
        (run,) = (record["run"] for record in records if record["type"] == "run")
        assert run["config"]["update"]["loss.name"] == loss
        assert run["run_group"] == "out", "the sweep"
        assert [record["exit"].get("exit_code", 0) for record in records if record["type"] == "exit"] == [code]


def test_finished_jobs_are_skipped_and_the_mended_ones_done(folder: Path, swept: Done) -> None:
    before = {loss: summary["folder"] / "metrics.jsonl" for loss, summary in summaries(folder).items()}
    written = {
        loss: path.stat().st_mtime_ns
        for loss, path in before.items()
        if summaries(folder)[loss]["status"] == "finished"
    }
    (folder / "mended").touch()
    again = Done(start(folder, *TWO, *SHORT, f"loss={','.join(TROUBLE)}", "tracking.wandb.mode=offline"))
    assert again.code == 1, "one still explodes"
    assert "6 of 7 jobs finished" in again.out
    assert again.out.count("already finished") == 3
    assert {loss: before[loss].stat().st_mtime_ns for loss in written} == written


# -- processes that end ------------------------------------------------------------------------------------------------


def test_a_killed_worker_takes_no_other_job_with_it_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """Its launcher ends all workers: the jobs that were at work are done again, one by one, behind the others."""
    words = [*TWO, *SHORT, "loss=dies,minimax", "trainer.seed=1,2", "tracking.wandb.mode=disabled"]
    done = Done(start(tmp_path, *words))
    assert done.code == 1
    assert "Traceback" not in done.out + done.err
    assert "a worker process was killed (SIGKILL)" in done.err
    rows = [row.split()[:3] for row in done.out.splitlines() if row.startswith(("dies ", "minimax "))]
    assert rows[:4] == [
        ["dies", "1", "killed"], ["dies", "2", "killed"], ["minimax", "1", "finished"], ["minimax", "2", "finished"],
    ]  # fmt: skip
    assert not done.leftovers()
    (tmp_path / "mended").touch()
    again = Done(start(tmp_path, *words))
    assert again.code == 0, again.err
    assert "4 of 4 jobs finished" in again.out


def test_an_interrupt_of_all_processes_saves_running_jobs_and_starts_no_other(tmp_path: Path) -> None:
    with running(
        tmp_path, lambda: both_saved(tmp_path), *TWO, *LONG, "loss=minimax", "trainer.seed=1,2,3,4"
    ) as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        done = Done(process)
    assert done.code == 130
    assert "Traceback" not in done.out + done.err
    jobs = [json.loads(path.read_text()) | {"folder": path.parent} for path in tmp_path.glob("out/*/summary.json")]
    assert [job["status"] for job in jobs] == ["interrupted"] * 2
    for job in jobs:
        assert game_of(job["folder"])["images"] == job["images"], "saved at its last step"
    assert "not started: 2" in done.out
    assert done.err.splitlines()[-1].startswith("gan-lab: interrupted; the same command goes on")
    assert not done.leftovers()


def test_an_interrupt_before_the_workers_are_there_is_quiet(tmp_path: Path) -> None:
    process = start(tmp_path, *TWO, *LONG, "trainer.seed=1,2")
    assert process.stdout is not None
    while "2 at a time" not in process.stdout.readline():  # the next thing that it does is to start them
        pass
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    done = Done(process)
    assert done.code == 130
    assert "Traceback" not in done.out + done.err
    assert "KeyboardInterrupt" not in done.out + done.err
    assert not done.leftovers()


def test_jobs_whose_sweep_was_killed_save_and_end(tmp_path: Path) -> None:
    def statuses() -> list[str]:
        return [json.loads(path.read_text())["status"] for path in tmp_path.glob("out/*/summary.json")]

    with running(tmp_path, lambda: both_saved(tmp_path), *TWO, *LONG, "trainer.seed=1,2") as process:
        process.kill()
        deadline = time.monotonic() + 60
        while statuses() != ["interrupted"] * 2:
            assert time.monotonic() < deadline, statuses()
            time.sleep(0.2)
        assert not Done(process).leftovers(), "workers that would wait for another job for ever"
