"""Signals and Slurm; whole runs that get signals are in tests/faults."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gan_lab.signals import Interrupted, Signals, ending, job_id, requeue


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
    told = requeue()
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
