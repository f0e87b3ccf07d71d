"""Damaged checkpoints, and disks that take no more."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

from gan_lab.tracking.run_directory import RunDirectory
from tests.faults.breaking import file_limit
from tests.faults.lab import EVERY, Ended, Fault, Lab, Progress, Trained
from tests.faults.outcome import BATCH, INTERVAL, Outcome, kill_at, row


def damaged(lab: Lab, outcome: Outcome, damage: Callable[[Path], None]) -> None:
    """Kill a run that has saved twice, damage the newest checkpoint, and go on."""
    folder = lab.new()
    ended = lab.run(folder, faults=[kill_at(2 * EVERY // BATCH + 30)])
    outcome.expect(ended.code == 137, f"exit code {ended.code}:\n{ended.output}")
    newest = Trained(folder).checkpoints[-1]
    damage(newest)
    outcome.times += 1
    outcome.lose(ended.images - Trained(folder).newest, EVERY + INTERVAL)
    again = lab.finish(folder, wish=ended.images)
    outcome.expect(f"{newest.name} is damaged and passed over" in again.output, "the damaged one is not named")
    outcome.recover(again)
    outcome.compare(folder, lab.reference())


@row("6", "newest checkpoint cut: by half, by a byte, to nothing")
def cut(lab: Lab) -> Outcome:
    outcome = Outcome()
    for left in (lambda n: n // 2, lambda n: n - 1, lambda n: 0):

        def damage(path: Path, left: Callable[[int], int] = left) -> None:
            payload = path / "state.pt"
            os.truncate(payload, left(payload.stat().st_size))

        damaged(lab, outcome, damage)
    return outcome


@row("7", "newest checkpoint with one bit flipped")
def flipped(lab: Lab) -> Outcome:
    outcome, chance = Outcome(), random.Random(0)
    for _ in range(2 if lab.quick else 8):

        def damage(path: Path) -> None:
            payload = path / "state.pt"
            content = bytearray(payload.read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            payload.write_bytes(content)

        damaged(lab, outcome, damage)
    return outcome


@row("8", "every checkpoint damaged")
def all_damaged(lab: Lab) -> Outcome:
    outcome = Outcome(times=1)
    folder = lab.new()
    lab.run(folder, faults=[kill_at(2 * EVERY // BATCH + 30)])
    payloads = [path / "state.pt" for path in Trained(folder).checkpoints]
    whole = [payload.read_bytes() for payload in payloads]
    for payload in payloads:
        os.truncate(payload, 100)
    ended = lab.run(folder)
    outcome.expect(ended.code == 2, f"exit code {ended.code}, not 2")
    outcome.expect("every checkpoint in" in ended.output and "Traceback" not in ended.output, ended.output)
    outcome.expect(ended.images == 0, "it began again at zero")
    outcome.expect([p.stat().st_size for p in payloads] == [100, 100], "the damaged ones were touched")
    for payload, content in zip(payloads, whole, strict=True):  # somebody has a copy
        payload.write_bytes(content)
    lab.finish(folder)
    outcome.compare(folder, lab.reference())
    outcome.notes.append("refused with exit code 2; equal once a copy is put back")
    return outcome


def full_for_a_while(lab: Lab, outcome: Outcome, size: int | None, *words: str) -> None:
    """The disk takes nothing larger for two intervals, or nothing more: the run goes on, says so, and ends as ever."""
    outcome.times += 1
    folder = lab.new()
    fault = file_limit(size or folder / "metrics.jsonl", EVERY + BATCH, 3 * EVERY + BATCH)
    ended = lab.run(folder, faults=[fault])
    outcome.one_line(ended, 0, *words)
    outcome.lose_nothing(ended, folder)
    outcome.compare(folder, lab.reference())
    outcome.clean(folder)


def full_for_good(lab: Lab, outcome: Outcome, size: int | None) -> Ended:
    """It stays so: one line at the end, the older checkpoint kept, and with room the same command goes on."""
    outcome.times += 1
    folder = lab.new()
    ended = lab.run(folder, faults=[file_limit(size or folder / "metrics.jsonl", EVERY + BATCH)])
    outcome.one_line(ended, 2, "free some space", "the checkpoint of 4,800 images is kept")
    trained = Trained(folder)
    outcome.expect(trained.newest == EVERY, f"{trained.newest} images are left")
    outcome.clean(folder)
    outcome.recover(lab.finish(folder, wish=ended.images))
    outcome.compare(folder, lab.reference())
    return ended


@row("9", "disk full while saving")
def full_while_saving(lab: Lab) -> Outcome:
    """A limit of 20 kB on files: records fit, a checkpoint does not."""
    outcome = Outcome()
    full_for_a_while(lab, outcome, 20_000, "Training goes on, the checkpoint of 4,800 images is kept")
    ended = full_for_good(lab, outcome, 20_000)
    outcome.lost, outcome.bound = ended.images - EVERY, ended.images - EVERY  # all that the disk never took
    outcome.notes.append("goes on and saves later; for good: exit code 2, the old one kept")
    return outcome


def no_records(first: int) -> Fault:
    """From so many images on metrics.jsonl cannot be written, and everything else can."""

    def install(progress: Progress) -> None:
        write = RunDirectory.write_pending

        def broken(self: RunDirectory) -> None:
            if progress.images >= first and self.pending:
                raise OSError(errno.EACCES, "Permission denied", str(self.metrics_file))
            write(self)

        RunDirectory.write_pending = broken  # type: ignore[method-assign]

    return install


@row("10", "disk full while logging")
def full_while_logging(lab: Lab) -> Outcome:
    """A limit on files of what the records have by then: not even the next one fits."""
    outcome = Outcome()
    full_for_a_while(lab, outcome, None, "metrics.jsonl could not be written", "metrics.jsonl is written again")
    # Records alone are refused, and the run is killed behind a checkpoint: that has them.
    refused = lab.new()
    ended = lab.run(refused, faults=[no_records(EVERY + BATCH), kill_at(2 * EVERY // BATCH + 30)])
    outcome.times += 1
    outcome.expect(ended.code == 137, f"exit code {ended.code}:\n{ended.output}")
    outcome.expect(Trained(refused).newest == 2 * EVERY, f"{Trained(refused).newest} images are left")
    lab.finish(refused)
    outcome.compare(refused, lab.reference())
    full_for_good(lab, outcome, None)
    outcome.notes.append("no record lost")
    return outcome
