"""A run's files: whole at every moment, and locked by whoever trains there."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan_lab.tracking.run_directory import SPEED, RunDirectory

HOLD = """\
import sys
from gan_lab.tracking.run_directory import RunDirectory
directory = RunDirectory(sys.argv[1])
directory.lock()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run").mkdir(exist_ok=True)
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains in `run`."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


# -- metrics.jsonl -----------------------------------------------------------------------------------------------------


def test_records_are_read_back_as_they_were_written(directory: RunDirectory) -> None:
    records = [{"images": 64, "step": 1, "loss": 0.5}, {"images": 128, "step": 2, "loss": 0.25}]
    for record in records:
        directory.record(record)
    assert directory.read_metrics() == records
    assert [json.loads(line) for line in directory.metrics_file.read_text().splitlines()] == records


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null(value: float, directory: RunDirectory) -> None:
    directory.record({"images": 1, "loss": value, "fine": 2.0})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    line = directory.metrics_file.read_text()
    assert json.loads(line, parse_constant=refuse) == {"images": 1, "loss": None, "fine": 2.0}


def test_metrics_are_cut_back_to_the_checkpoint_and_half_a_line_is_dropped(directory: RunDirectory) -> None:
    for images in (64, 128, 192):
        directory.record({"images": images, SPEED: float(images)})
    with directory.metrics_file.open("a") as file:
        file.write('{"images": 256, "lo')  # killed here
    RunDirectory(directory.path).cut_back(128)
    assert directory.metrics_file.read_text().endswith("\n")
    assert [record["images"] for record in directory.read_metrics()] == [64, 128]
    again = RunDirectory(directory.path)
    again.cut_back(128)
    again.record({"images": 192})
    assert [record["images"] for record in again.read_metrics()] == [64, 128, 192]


def test_half_a_line_before_the_checkpoint_takes_no_whole_line_with_it(directory: RunDirectory) -> None:
    directory.metrics_file.write_text('{"images": 64}\n{"images": 128}\n{"images": 1')
    directory.cut_back(10**6)
    assert directory.read_metrics() == [{"images": 64}, {"images": 128}]


def test_nothing_to_cut_back_is_no_error(directory: RunDirectory) -> None:
    directory.cut_back(0)
    assert not directory.metrics_file.exists()


# -- summary.json ------------------------------------------------------------------------------------------------------


def test_the_speed_of_a_run_is_the_median_over_all_its_log_points(directory: RunDirectory) -> None:
    speeds = [100.0, 1.0, 102.0, 101.0]
    for i, speed in enumerate(speeds[:2]):
        directory.record({"images": i, SPEED: speed})
    again = RunDirectory(directory.path)  # a run that goes on
    again.cut_back(10)
    for i, speed in enumerate(speeds[2:], start=2):
        again.record({"images": i, SPEED: speed})
    again.update_summary(status="finished")
    assert again.summary["images_per_second"] == statistics.median(speeds)


def test_a_summary_is_replaced_whole_or_not_at_all(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.update_summary(status="running", images=64)
    before = directory.summary_file.read_bytes()
    written: list[str] = []

    def full(self: Path, text: str) -> int:
        written.append(text)
        with self.open("w") as file:
            file.write(text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            directory.update_summary(status="finished")
    assert written
    assert directory.summary_file.read_bytes() == before
    assert {path.name for path in directory.path.iterdir()} == {"summary.json"}


def test_a_summary_is_never_seen_half_written(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.update_summary(status="running")
    seen: list[str] = []
    replace = os.replace

    def look(source: Path, target: Path) -> None:
        seen.append(json.loads(directory.summary_file.read_text())["status"])
        replace(source, target)
        seen.append(json.loads(directory.summary_file.read_text())["status"])

    monkeypatch.setattr(os, "replace", look)
    directory.update_summary(status="finished")
    assert seen == ["running", "finished"]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null"])
def test_a_summary_that_cannot_be_read_is_no_summary(text: str, directory: RunDirectory) -> None:
    directory.summary_file.write_text(text)
    assert RunDirectory(directory.path).summary == {}


def test_a_summary_holds_no_constants_that_json_does_not_know(directory: RunDirectory) -> None:
    directory.update_summary(metrics={"modes": {"value": math.nan}}, health=[{"value": math.inf}])
    assert json.loads(directory.summary_file.read_text())["health"] == [{"value": None}]
    assert "NaN" not in directory.summary_file.read_text()


# -- who may write here ------------------------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_a_killed_one_holds_nothing(
    holder: subprocess.Popen[str], directory: RunDirectory
) -> None:
    assert directory.locked()
    with pytest.raises(ValueError, match="is in use: another process trains there"):
        directory.lock()
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=30)
    assert not directory.locked()
    directory.lock()
    assert directory.locked()
    directory.release()
    assert not directory.locked()


def test_asking_for_the_lock_makes_no_file(directory: RunDirectory) -> None:
    assert not directory.locked()
    assert not list(directory.path.iterdir())


def test_an_unknown_file_a_run_of_another_config_and_resume_never_are_refused(directory: RunDirectory) -> None:
    directory.check("abc", "auto")
    directory.update_summary(config_hash="abc")
    directory.check("abc", "auto")
    with pytest.raises(ValueError, match="another config"):
        directory.check("def", "auto")
    with pytest.raises(ValueError, match="resume=never"):
        directory.check("abc", "never")
    (directory.path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes\.txt"):
        directory.check("abc", "auto")


def test_what_a_killed_run_leaves_is_its_own(directory: RunDirectory) -> None:
    for name in (".hydra", "checkpoints", "samples", "wandb"):
        (directory.path / name).mkdir()
    for name in (".lock", "config.yaml", "metrics.jsonl", f".summary.json-{os.getpid()}"):  # killed while replacing
        (directory.path / name).touch()
    directory.check("abc", "never")
