"""Signals and Slurm; whole runs that get signals are in tests/faults."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gan_lab.cli import main
from gan_lab.run.signals import Interrupted, Signals, before_training, ending, job_id, requeue


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


def test_slurms_warning_ends_a_run_only_under_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signal.SIGUSR1 not in ending()
    with Signals() as signals:
        signal.raise_signal(signal.SIGUSR1)
        assert (signals.save, signals.received) == (True, None)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert signal.SIGUSR1 in ending()
    with Signals() as signals:
        signal.raise_signal(signal.SIGUSR1)
        assert (signals.save, signals.received) == (False, signal.SIGUSR1)


def test_a_task_of_a_job_array_is_queued_again_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "79")
    assert job_id() == "79"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "77")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert job_id() == "77_2"


def test_without_scontrol_it_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path))
    queued, told = requeue()
    assert not queued
    assert "`scontrol requeue 7` failed" in told
    assert "submit the same command again" in told


def test_with_nothing_left_to_save_the_first_signal_ends_it() -> None:
    with Signals() as signals, pytest.raises(Interrupted), signals.at_once():
        signal.raise_signal(signal.SIGTERM)
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)  # while it was saving
        with pytest.raises(Interrupted), signals.at_once():
            pytest.fail("it went on")


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with Signals():
        assert signal.getsignal(signal.SIGINT) != before[signal.SIGINT]
    assert before == {number: signal.getsignal(number) for number in before}


def test_before_anything_is_trained_slurms_warning_ends_it_and_elsewhere_nothing_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes: list[int] = []
    with before_training(codes.append):
        signal.raise_signal(signal.SIGUSR1)
    assert codes == []
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with before_training(codes.append):
        signal.raise_signal(signal.SIGUSR1)
        pytest.fail("it went on")
    assert codes == [128 + signal.SIGUSR1]


def test_slurms_warning_stays_one_when_its_sigterm_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with Signals() as signals:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGUSR1


def test_a_second_interrupt_is_at_once() -> None:
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert signals.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_job_that_slurm_queues_again_has_its_folder_again(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder named by the time would begin at zero each time."""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    words = ["train", "experiment=ring", "trainer.images=1280", "evaluation.metrics=[]", "tracking.wandb.mode=disabled"]
    assert main(words) == 0
    assert main([*words, "trainer.seed=1"]) == 0
    assert main(words) == 0
    found = sorted(path.name for path in Path("runs/ring").iterdir())
    assert len(found) == 2
    assert all(name.startswith("slurm-77-") for name in found)
