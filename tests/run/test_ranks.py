"""Several processes share each batch of a run: how they find each other, agree, resume and refuse."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_lab.cli import main
from gan_lab.config.sections import Trainer
from gan_lab.core import checkpoint, runtime
from gan_lab.core.runtime import LostContact
from gan_lab.run import ranks
from gan_lab.run.cards import claim
from gan_lab.run.place import Place, address, device_of, free_port, place
from gan_lab.run.ranks import DONE, Ranks
from gan_lab.sweeping import plan
from tests.helpers import compose

ROOT = Path(__file__).parents[2]
LAUNCHERS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS",
    "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID", "TORCHELASTIC_USE_AGENT_STORE",
    "SUBMITIT_LOCAL_GLOBALID", "SUBMITIT_LOCAL_NTASKS", "SUBMITIT_LOCAL_LOCALID", "SUBMITIT_LOCAL_JOB_ID",
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def any_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# -- which process this is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Place()),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, Place(3, 8, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, Place()),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"}, Place(5, 8, 1)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, Place()),  # sbatch's script, without srun
        (
            {f"SUBMITIT_LOCAL_{name}": "1" for name in ("GLOBALID", "LOCALID")} | {"SUBMITIT_LOCAL_NTASKS": "2"},
            Place(1, 2, 1),
        ),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, Place(1, 2, 0)),
    ],
)
def test_a_process_knows_its_place_from_its_launcher(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Place
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place() == expected


@pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("one", "2"), ("-1", "2")])
def test_a_wrong_place_is_refused(monkeypatch: pytest.MonkeyPatch, rank: str, world: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(ValueError, match=f"RANK={rank}"):
        place()


@pytest.mark.parametrize(
    ("nodes", "first"), [("gpu[03-04,07],big1", "gpu03"), ("a-7,a-9", "a-7"), ("node", "node"), ("n[1,3]", "n1")]
)
def test_under_srun_rank_0_is_on_the_first_node(monkeypatch: pytest.MonkeyPatch, nodes: str, first: str) -> None:
    monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
    monkeypatch.setenv("SLURM_JOB_ID", "12345")
    assert address() == (first, 22345)
    monkeypatch.setenv("MASTER_ADDR", "other")
    monkeypatch.setenv("MASTER_PORT", "7")
    assert address() == ("other", 7)


def test_jobs_side_by_side_meet_at_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for job in ("4711", "4712"):
        monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", job)
        found.add(address())
    assert found == {("127.0.0.1", 24711), ("127.0.0.1", 24712)}
    with socket.socket() as taken:
        first = free_port(4711)
        taken.bind(("", first))
        taken.listen()
        assert free_port(4711) == first + 1
        assert free_port(4711 + 10_000) == first + 1


def test_each_process_has_a_card_or_all_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def cards(name: str) -> torch.device:
        return torch.device("cuda" if name == "auto" else name)

    chosen: list[int] = []
    monkeypatch.setattr(runtime, "choose_device", cards)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert device_of(Trainer()) == torch.device("cuda")
    assert device_of(Trainer(processes=2)) == CPU  # it only starts others
    for trainer, words in (
        (Trainer(processes=3), "3 processes, and this machine has 2 cards"),
        (Trainer(processes=2, device="cuda:1"), "trainer.device=cuda:1"),
        (Trainer(processes=2, device="mps"), "trainer.device=mps"),
    ):
        with pytest.raises(ValueError, match=words):
            device_of(trainer)
    assert device_of(Trainer(processes=3, device="cpu")) == CPU
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert device_of(Trainer()) == torch.device("cuda", 1)
    assert chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="3 processes, and this machine has 2 cards"):
        device_of(Trainer())


def test_runs_side_by_side_claim_cards_of_their_own(tmp_path: Path) -> None:
    names = ["0", " 1", "2"]
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second, contextlib.ExitStack() as third:
        assert claim(names, 2, first, tmp_path) == ["0", "1"]
        assert claim(names, 1, second, tmp_path) == ["2"]
        threading.Timer(0.2, first.close).start()
        assert claim(names, 2, third, tmp_path) == ["0", "1"]  # once the first has ended


@pytest.mark.parametrize(
    ("n_jobs", "processes", "jobs", "count", "threads"),
    [(-2, 1, 99, 15, 1), (-2, 4, 9, 3, 5), (-1, 32, 9, 1, 16), (3, 4, 9, 3, 5), (-1, 2, 3, 3, 5)],
)
def test_a_laptops_jobs_share_the_cores_by_jobs_times_processes(
    monkeypatch: pytest.MonkeyPatch, n_jobs: int, processes: int, jobs: int, count: int, threads: int
) -> None:
    joblib = pytest.importorskip("joblib")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    from omegaconf import OmegaConf

    hydra: Any = OmegaConf.create(
        {"runtime": {"choices": {"hydra/launcher": "laptop"}}, "launcher": {"n_jobs": n_jobs, "batch_size": "auto"}}
    )
    workers = plan.workers(hydra, jobs, processes)
    assert (workers.count, workers.threads) == (count, threads)


def test_how_many_processes_compute_a_run_is_not_in_its_name() -> None:
    from gan_lab.config.identity import config_hash, job_name, resolved

    words = ["experiment=ring", "trainer.processes=2", "trainer.timeout=9"]
    assert config_hash(resolved(compose(*words))) == config_hash(resolved(compose("experiment=ring")))
    assert job_name(words) == job_name(["experiment=ring"])
    assert config_hash(resolved(compose("trainer.batch_norm=rank"))) != config_hash(resolved(compose()))


# -- what they tell each other -----------------------------------------------------------------------------------------


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ranks, Ranks]]:
    """Rank 0, which has the store, and rank 1."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(any_port()))
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 0.3)
    first = Ranks(Place(0, 2, 0), timeout=0.5)
    second = Ranks(Place(1, 2, 1), timeout=0.5)
    yield first, second
    first.end()
    second.end()


@pytest.mark.parametrize("what", ["config", "data", "torch"])
def test_ranks_that_differ_are_refused_by_rank_0_in_a_line(pair: tuple[Ranks, Ranks], what: str) -> None:
    same = {"config": "a", "data": "b", "torch": "c"}
    first, second = pair
    refused: list[ValueError] = []

    def follow() -> None:
        try:
            second.join({**same, what: "other"}, CPU)
        except ValueError as error:
            refused.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    with pytest.raises(ValueError, match=f"rank 1 has another {what} than rank 0"):
        first.join(same, CPU, {})
    first.end("cannot start")
    thread.join(10)
    assert "rank 0 does not start" in str(refused[0])
    assert not torch.distributed.is_initialized()


def test_a_rank_that_cannot_start_says_why_through_rank_0(pair: tuple[Ranks, Ranks]) -> None:
    first, second = pair
    second.end("failed: ValueError: no such folder")
    with pytest.raises(ValueError, match="rank 1 does not start: failed: ValueError: no such folder"):
        first.join({}, CPU, {})


def test_rank_0_may_work_alone_for_as_long_as_it_lives(pair: tuple[Ranks, Ranks]) -> None:
    first, second = pair
    threading.Timer(3 * first.timeout, first.meet).start()
    begin = time.monotonic()
    second.meet()
    assert time.monotonic() - begin > 2 * second.timeout
    first.end("failed")
    with pytest.raises(LostContact, match="rank 0 has ended"):
        second.meet()


def test_a_rank_without_a_sign_of_life_is_lost(pair: tuple[Ranks, Ranks]) -> None:
    first, second = pair
    while second.read("beat/0") is None:
        time.sleep(0.01)
    first._closed.set()  # as if it were stopped
    with pytest.raises(LostContact, match="gives no sign of life"):
        second.meet()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("end/1", "failed: RuntimeError: planted", "rank 1 failed: RuntimeError: planted"),
        ("killed/1", "was killed by SIGKILL", "rank 1 was killed by SIGKILL"),
        ("nothing", "", "rank 1 did not answer for 0.5 seconds (trainer.timeout), or was killed"),
        ("end/1", ranks.SILENT, "the ranks lost contact: broken pipe"),
    ],
)
def test_after_contact_was_lost_the_cause_is_named(pair: tuple[Ranks, Ranks], key: str, value: str, told: str) -> None:
    first, _ = pair
    first.write(key, value)
    assert first.roll_call(LostContact("broken pipe")) == told


def test_one_rank_tells_the_user(pair: tuple[Ranks, Ranks]) -> None:
    first, second = pair
    assert first.speaks()
    assert second.speaks()  # rank 0 is silent
    first.end(DONE)
    assert not second.speaks()


def test_a_port_in_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(ValueError, match=f"MASTER_PORT={port} is in use"):
            Ranks(Place(0, 2, 0))


# -- whole commands ----------------------------------------------------------------------------------------------------

TINY = [
    "experiment=none", "dataset=toy_pictures", "generator.width=4", "discriminator.width=4", "evaluation.metrics=[]",
    "evaluation.every=0", "tracking.samples_every=0", "trainer.batch_size=16", "trainer.checkpoint_every=800",
    "tracking.log_every=400", "tracking.wandb.mode=disabled",
]  # fmt: skip
# Each needs the whole batch, a position in it, or a state that is moved by it.
EVERYTHING = [
    "generator.conditioning=concat", "discriminator.conditioning=projection", "augment=diffaugment", "trainer.ema=0.99",
    "regularizer=[r1,lecam]", "regularizer.r1.every=4", "generator.normalization=none",
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trainer.processes=3"], "trainer.batch_size=16 is not divisible by trainer.micro_batches=1 x 3 processes"),
        (["trainer.processes=0"], "trainer.processes"),
        (["trainer.processes=2", "trainer.timeout=0"], "trainer.timeout"),
        (["trainer.processes=2", "trainer.batch_norm=none"], "trainer.batch_norm"),
    ],
)
def test_what_processes_cannot_do_is_refused_before_anything_is_written(
    workdir: Path, capfd: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    import tests.toy_data  # noqa: F401

    assert main(["train", *TINY, *words, "run_dir=run"]) == 2
    error = capfd.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert list(workdir.iterdir()) == []


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Of a process that computes in double precision: sums in another order then differ in the 16th digit."""
    (tmp_path / "double.py").write_text("import torch\nimport tests.toy_data\ntorch.set_default_dtype(torch.float64)\n")
    paths = os.pathsep.join((str(ROOT), str(tmp_path)))
    return {**os.environ, "PYTHONPATH": paths, "GAN_LAB_PLUGINS": "double", "OMP_NUM_THREADS": "1", **more}


def start(tmp_path: Path, words: list[str], **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gan_lab", "train", *TINY, *words], cwd=tmp_path, env=environment(tmp_path, **more),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def train(tmp_path: Path, *words: str) -> str:
    process = start(tmp_path, list(words))
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return out


def tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from tensors(value, f"{name}/{key}")


def furthest(first: Path, second: Path) -> float:
    """The largest difference between two runs' states: networks, averages, moments, anchors."""
    a, b = (checkpoint.load_newest(path / "checkpoints") for path in (first, second))
    assert a is not None
    assert b is not None
    ours, theirs = dict(tensors(a["game"])), dict(tensors(b["game"]))
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours if ours[name].numel())


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_go_on_from_each_other(tmp_path: Path) -> None:
    """50 steps, then 50 more by as many or as few processes."""
    for name, processes in (("one", 1), ("two", 2)):
        train(tmp_path, *EVERYTHING, f"run_dir={name}", f"trainer.processes={processes}", "trainer.images=800")
    assert 0 < furthest(tmp_path / "one", tmp_path / "two") < 1e-10
    for name, processes in (("one", 2), ("two", 1)):
        told = train(tmp_path, *EVERYTHING, f"run_dir={name}", f"trainer.processes={processes}", "trainer.images=1600")
        assert "goes on from 800 images" in told
    assert 0 < furthest(tmp_path / "one", tmp_path / "two") < 1e-10
    records = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(records[0]) == len(records[1]) == 4
    for ours, theirs in zip(*(map(json.loads, lines) for lines in records), strict=True):
        known = {key for key in ours if key.startswith(("generator/", "discriminator/"))}
        assert {key: ours[key] for key in known} == pytest.approx({key: theirs[key] for key in known}, rel=1e-5)


@pytest.mark.slow
def test_torchruns_variables_are_taken_and_ranks_with_another_seed_are_refused(tmp_path: Path) -> None:
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    port = str(any_port())
    both = [
        start(tmp_path, ["run_dir=run", "trainer.images=160", f"trainer.seed={rank}"],
              RANK=str(rank), LOCAL_RANK=str(rank), MASTER_PORT=port, **common)
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [2, 2]
    assert "rank 1 has another config than rank 0" in said[0][1]
    assert said[0][1].count("\n") == 1
    assert said[1] == ("", "")
    assert not (tmp_path / "run").exists()
    port = str(any_port())
    both = [
        start(tmp_path, ["run_dir=run", "trainer.images=160", "trainer.processes=7"],
              RANK=str(rank), LOCAL_RANK=str(rank), MASTER_PORT=port, **common)
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "in each of 2 processes" in said[0][0]
    assert said[1] == ("", "")
    state = checkpoint.load_newest(tmp_path / "run/checkpoints")
    assert state is not None
    assert (state["about"]["processes"], state["game"]["images"]) == (2, 160)
