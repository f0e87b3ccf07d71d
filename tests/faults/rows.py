"""The rows of the fault matrix: each breaks runs in one way and says what was lost, how soon it was made good, and
whether the end is that of a run which nothing happened to.
"""

from __future__ import annotations

import errno
import json
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gan_lab.core import checkpoint
from gan_lab.datasets import decoding, store
from gan_lab.losses import NonSaturating
from gan_lab.registry import losses
from gan_lab.scoring import Scoring
from gan_lab.tracking.run_directory import RunDirectory
from tests.faults.lab import (
    EVERY,
    RUN,
    Ended,
    Fault,
    Lab,
    Operations,
    Progress,
    Trained,
    before_step,
    environment,
    file_limit,
    gradients,
    in_step,
    send,
)  # fmt: skip
from tests.faults.outages import outages

BATCH = 48
INTERVAL = EVERY + BATCH  # a kill may strike in the step that would have saved


@dataclass
class Outcome:
    """What a row found. Figures that do not apply are None."""

    lost: int | None = None  # images shown that had to be shown again, at most
    bound: int = 0  # how many may be
    seconds: float | None = None  # from the repeated command to where the run was, at most; without Python's start
    equal: bool | None = None  # whether the final state is the uninterrupted run's, bit for bit
    times: int = 0  # how often it was tried
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failures

    def expect(self, holds: object, what: str) -> None:
        if not holds:
            self.failures.append(what)

    def lose(self, images: int, bound: int) -> None:
        self.lost, self.bound = max(self.lost or 0, images), bound
        self.expect(images <= bound, f"{images:,} images lost, of {bound:,} at most")

    def recover(self, ended: Ended) -> None:
        if ended.recovered is not None:
            self.seconds = max(self.seconds or 0.0, ended.recovered)

    def compare(self, folder: Path, reference: Path, *, records: bool = True) -> None:
        differs = Trained(folder).differs(reference, records=records)
        self.equal = self.equal is not False and not differs
        self.expect(not differs, f"{folder.name}: {differs} differ")

    def clean(self, folder: Path) -> None:
        remains = Trained(folder).remains
        self.expect(not remains, f"{folder.name}: left behind: {', '.join(remains)}")


@dataclass(frozen=True)
class Row:
    number: str
    name: str
    run: Callable[[Lab], Outcome]
    quick: bool = True  # or shortened where the lab is


ROWS: list[Row] = []


def row(number: str, name: str, quick: bool = True) -> Callable[[Callable[[Lab], Outcome]], Callable[[Lab], Outcome]]:
    def register(run: Callable[[Lab], Outcome]) -> Callable[[Lab], Outcome]:
        ROWS.append(Row(number, name, run, quick))
        return run

    return register


# -- killed ------------------------------------------------------------------------------------------------------------


@row("1", "SIGKILL at random moments")
def killed_at_random(lab: Lab) -> Outcome:
    outcome, chance = Outcome(), random.Random(0)
    kills = 3 if lab.quick else 20
    reference, folder, wish = lab.reference(), lab.new(), 0
    while outcome.times < kills:
        before = Trained(folder).newest
        running = lab.start(folder, wish=wish)
        # Somewhere in the next one and a half intervals: often behind a save, and now and then in the middle of one.
        running.reach(before + chance.randrange(BATCH, EVERY * 3 // 2))
        time.sleep(chance.uniform(0, 0.02))
        running.kill()
        ended = running.wait()
        outcome.recover(ended)
        if ended.code == 0:  # it was done before
            outcome.compare(folder, reference)
            folder, wish = lab.new(), 0
            continue
        outcome.expect(ended.code == 137, f"exit code {ended.code}:\n{ended.output}")
        outcome.times += 1
        outcome.expect(Trained(folder).summary["status"] == "running", "the summary of a killed run")
        outcome.lose(ended.images - Trained(folder).newest, INTERVAL)
        wish = ended.images
    outcome.recover(lab.finish(folder, wish=wish))
    outcome.compare(folder, reference)
    outcome.clean(folder)
    return outcome


def kill_at(step: int) -> Fault:
    return in_step(step, send(signal.SIGKILL))


@row("2", "SIGKILL at each write, fsync, rename of a save")
def killed_while_saving(lab: Lab) -> Outcome:
    outcome = Outcome()
    reference = lab.reference()
    begin, end = 2 * EVERY - BATCH, 2 * EVERY  # the step that saves the second time
    counting = lab.run(lab.new("counted"), faults=[Operations(begin, end)])
    total = counting.progress.operations
    outcome.expect(total > 20, f"{total} operations counted in a save")
    places = [(at, half) for at in range(total) for half in (False, True)]
    for at, half in places[:: 13 if lab.quick else 1]:
        folder = lab.new(f"at{at}")
        ended = lab.run(folder, faults=[Operations(begin, end, at, half)])
        outcome.expect(ended.code == 137, f"operation {at}: exit code {ended.code}:\n{ended.output}")
        outcome.times += 1
        trained = Trained(folder)
        outcome.expect(trained.newest in (EVERY, 2 * EVERY), f"operation {at}: {trained.newest} images are left")
        outcome.lose(ended.images + BATCH - trained.newest, INTERVAL)
        outcome.recover(lab.finish(folder, wish=ended.images))
        outcome.compare(folder, reference)
        outcome.clean(folder)
        for path in sorted(folder.rglob("*.pt")):
            path.unlink()
    outcome.notes.append(f"{total} operations")
    return outcome


# -- signals -----------------------------------------------------------------------------------------------------------


def signalled(lab: Lab, outcome: Outcome, number: int, code: int, **surroundings: str) -> None:
    outcome.times += 1
    folder = lab.new()
    with environment(**surroundings):
        ended = lab.run(folder, faults=[in_step(260, send(number))])
    trained = Trained(folder)
    outcome.expect(ended.code == code, f"exit code {ended.code}, not {code}:\n{ended.output}")
    outcome.expect(trained.summary["status"] == "interrupted", f"status {trained.summary['status']}")
    outcome.lose(ended.images - trained.newest, 0)
    outcome.recover(lab.finish(folder, wish=ended.images))
    outcome.compare(folder, lab.reference())
    outcome.clean(folder)


@row("3", "SIGTERM, or one SIGINT, in the middle of a step")
def terminated(lab: Lab) -> Outcome:
    outcome = Outcome()
    signalled(lab, outcome, signal.SIGTERM, 143)
    signalled(lab, outcome, signal.SIGINT, 130)
    outcome.notes.append("exit codes 143 and 130")
    return outcome


@row("4", "SIGUSR1 under Slurm")
def requeued(lab: Lab) -> Outcome:
    outcome = Outcome()
    tools = lab.new("tools")
    tools.mkdir()
    told = tools / "told"
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    (tools / "scontrol").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    signalled(lab, outcome, signal.SIGUSR1, 138, SLURM_JOB_ID="77", PATH=path)
    outcome.expect(told.read_text() == "requeue 77\n", f"scontrol was told {told.read_text()!r}")
    (tools / "scontrol").write_text("#!/bin/sh\necho slurm_load_jobs error >&2\nexit 1\n")
    folder = lab.new()
    with environment(SLURM_JOB_ID="77", PATH=path):
        refused = lab.run(folder, faults=[in_step(260, send(signal.SIGUSR1))])
    outcome.expect(refused.code == 138, f"exit code {refused.code} where scontrol fails")
    outcome.expect("slurm_load_jobs error" in refused.output, "what scontrol said is not told")
    outcome.notes.append("exit code 138; queued again")
    return outcome


@row("4b", "SIGUSR1 elsewhere: save and go on")
def asked_to_save(lab: Lab) -> Outcome:
    outcome = Outcome(times=1)
    folder, before = lab.new(), lab.new("seen")
    before.mkdir()

    def look(game: Any) -> None:
        if game.step == 262:
            names = [path.name for path in Trained(folder).checkpoints]
            (before / "names").write_text(" ".join(names))

    ended = lab.run(folder, faults=[in_step(260, send(signal.SIGUSR1)), before_step(look)])
    outcome.expect(ended.code == 0, f"exit code {ended.code}:\n{ended.output}")
    saved = f"{261 * BATCH:012d}"
    outcome.expect(saved in (before / "names").read_text(), f"there was no {saved}")
    outcome.lose(0, 0)
    outcome.compare(folder, lab.reference())
    return outcome


def twice_while_saving(progress: Progress) -> None:
    """The second SIGINT comes while torch writes the checkpoint that the first has asked for."""
    write = checkpoint._Hashing.write

    def broken(self: Any, data: Any) -> int:
        if progress.images == 261 * BATCH:
            os.kill(os.getpid(), signal.SIGINT)
        return write(self, data)

    checkpoint._Hashing.write = broken


@row("5", "two SIGINTs, 100 ms apart; the second in the save")
def interrupted_twice(lab: Lab) -> Outcome:
    outcome = Outcome(times=2)
    saving = lab.new()
    ended = lab.run(saving, faults=[in_step(260, send(signal.SIGINT)), twice_while_saving])
    outcome.expect(ended.code == 130 and "not saved" in ended.output, f"{ended.code}:\n{ended.output}")
    outcome.lose(ended.images - Trained(saving).newest, INTERVAL)
    outcome.clean(saving)
    lab.finish(saving)
    outcome.compare(saving, lab.reference())
    folder = lab.new()

    def twice(_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(30)  # a step that takes for ever

    begin = time.monotonic()
    ended = lab.run(folder, faults=[in_step(260, twice)])
    outcome.expect(ended.code == 130, f"exit code {ended.code}:\n{ended.output}")
    outcome.expect(time.monotonic() - begin < 15, "it took its time")
    trained = Trained(folder)
    outcome.expect(trained.summary["status"] == "interrupted", f"status {trained.summary['status']}")
    outcome.lose(ended.images - trained.newest, INTERVAL)
    outcome.recover(lab.finish(folder, wish=ended.images))
    outcome.compare(folder, lab.reference())
    outcome.clean(folder)
    outcome.notes.append("at once, not saved")
    return outcome


# -- damaged checkpoints -----------------------------------------------------------------------------------------------


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


# -- the disk ----------------------------------------------------------------------------------------------------------


@row("9", "disk full while saving")
def full_while_saving(lab: Lab) -> Outcome:
    """A limit of 20 kB on files: records fit, a checkpoint does not."""
    outcome = Outcome(times=2)
    for_a_while = lab.new()
    ended = lab.run(for_a_while, faults=[file_limit(20_000, EVERY + BATCH, 3 * EVERY + BATCH)])
    outcome.expect(ended.code == 0, f"for a while: exit code {ended.code}:\n{ended.output}")
    outcome.expect("Training goes on, the checkpoint of 4,800 images is kept" in ended.output, ended.output)
    outcome.compare(for_a_while, lab.reference())
    outcome.clean(for_a_while)
    for_good = lab.new()
    ended = lab.run(for_good, faults=[file_limit(20_000, EVERY + BATCH)])
    trained = Trained(for_good)
    outcome.expect(ended.code == 2, f"for good: exit code {ended.code}:\n{ended.output}")
    outcome.expect("free some space" in ended.output and "Traceback" not in ended.output, ended.output)
    outcome.expect(trained.newest == EVERY, f"{trained.newest} images are left")
    outcome.expect(trained.summary["status"] == "failed", f"status {trained.summary['status']}")
    outcome.clean(for_good)
    outcome.lose(ended.images - trained.newest, ended.images - EVERY)
    outcome.recover(lab.finish(for_good, wish=ended.images))
    outcome.compare(for_good, lab.reference())
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

        RunDirectory.write_pending = broken

    return install


@row("10", "disk full while logging")
def full_while_logging(lab: Lab) -> Outcome:
    """A limit on files of what the records have by then: not even the next one fits."""
    outcome = Outcome(times=3)
    for_a_while = lab.new()
    ended = lab.run(for_a_while, faults=[file_limit(for_a_while / "metrics.jsonl", EVERY + BATCH, 3 * EVERY + BATCH)])
    outcome.expect(ended.code == 0, f"for a while: exit code {ended.code}:\n{ended.output}")
    outcome.expect("metrics.jsonl could not be written" in ended.output, ended.output)
    outcome.expect("metrics.jsonl is written again" in ended.output, ended.output)
    outcome.lose(0, 0)
    outcome.compare(for_a_while, lab.reference())
    outcome.clean(for_a_while)
    # Records alone are refused, and the run is killed behind a checkpoint: that has them.
    refused = lab.new()
    ended = lab.run(refused, faults=[no_records(EVERY + BATCH), kill_at(2 * EVERY // BATCH + 30)])
    outcome.expect(ended.code == 137, f"exit code {ended.code}:\n{ended.output}")
    outcome.expect(Trained(refused).newest == 2 * EVERY, f"{Trained(refused).newest} images are left")
    lab.finish(refused)
    outcome.compare(refused, lab.reference())
    for_good = lab.new()
    ended = lab.run(for_good, faults=[file_limit(for_good / "metrics.jsonl", EVERY + BATCH)])
    outcome.expect(ended.code == 2, f"for good: exit code {ended.code}:\n{ended.output}")
    outcome.expect("Traceback" not in ended.output, ended.output)
    outcome.clean(for_good)
    lab.finish(for_good)
    outcome.compare(for_good, lab.reference())
    outcome.notes.append("no record lost")
    return outcome


# -- numbers that are none ---------------------------------------------------------------------------------------------


@row("11", "NaN in batch k")
def nan_in_a_batch(lab: Lab) -> Outcome:
    """The move that saw it leaves no trace: the end is that of a run in which D sat out that step."""
    outcome = Outcome(times=2)
    for kind, words in (("points", RUN), ("pictures with batch norm", PICTURES)):
        step = 40

        def poison(progress: Progress, step: int = step) -> None:
            fetch = store.Store.fetch

            def broken(self: Any, name: str, *more: Any) -> Any:
                rows = fetch(self, name, *more)
                return rows * math.nan if name == "sample" and progress.images == step * BATCH else rows

            store.Store.fetch = broken

        def sit_out(progress: Progress, step: int = step) -> None:
            from gan_lab.core import loop

            play = loop.play

            def broken(game: Any, phase: Any, *more: Any) -> Any:
                return {} if phase.player == "discriminator" and game.step == step else play(game, phase, *more)

            loop.play = broken

        quiet = (*words, "tracking.health=false")
        folder = lab.new()
        ended = lab.run(folder, quiet, [poison])
        outcome.expect(ended.code == 0, f"{kind}: exit code {ended.code}:\n{ended.output}")
        outcome.compare(folder, lab.reference(quiet, [sit_out], f"without D's step {step}"), records=False)
        skipped = [r for r in Trained(folder).records if r.get("discriminator/skipped")]
        outcome.expect(len(skipped) == 1, f"{kind}: {len(skipped)} records tell of a skipped update")
    outcome.lose(0, 0)
    outcome.notes.append("that move alone is skipped, and recorded")
    return outcome


PICTURES = (
    "experiment=none", "dataset=toy_pictures", "generator.width=4", "discriminator.width=4", "evaluation.every=0",
    "discriminator.normalization=batch", f"trainer.batch_size={BATCH}", f"trainer.images={100 * BATCH}",
    f"trainer.checkpoint_every={25 * BATCH}", f"tracking.log_every={20 * BATCH}", "tracking.samples_every=0",
    "trainer.ema=0.99", "evaluation.metrics=[]",
)  # fmt: skip


@row("12", "gradients x 1e6, once")
def large_gradients(lab: Lab) -> Outcome:
    """Finite, and so a step like others; it is told. Killed behind it, the run ends as without the kill."""
    outcome = Outcome(times=1)

    def grow(gradient: torch.Tensor, game: Any) -> None:
        if game.step == 260:
            gradient.mul_(1e6)

    fault = gradients(grow)
    reference = lab.reference(RUN, [fault], "gradients x 1e6")
    told = [warning["signal"] for warning in Trained(reference).summary["health"]]
    outcome.expect("gradient_peak" in told, f"the monitor told of {told}")
    folder = lab.new()
    ended = lab.run(folder, faults=[fault, kill_at(290)])
    outcome.lose(ended.images - Trained(folder).newest, INTERVAL)
    outcome.recover(lab.finish(folder, RUN, [fault], wish=ended.images))
    outcome.compare(folder, reference)
    outcome.notes.append("goes on; the monitor warns")
    return outcome


def diverging(rate: float) -> Fault:
    """No finite gradient for 90 steps while learning rates are above a share of what they were: from the middle of a
    window on, which ends with a checkpoint that is no good to go back to.
    """

    def spoil(gradient: torch.Tensor, game: Any) -> None:
        group = game.optimizers["discriminator"].param_groups[0]
        start = next(hook for hook in game.hooks if type(hook).__name__ == "LearningRate")
        if 260 <= game.step < 350 and 0.5**start.halvings > rate and group["lr"] > 0:
            gradient.fill_(math.inf)

    return gradients(spoil)


def kill_when_back(game: Any) -> None:
    rates = next(hook for hook in game.hooks if type(hook).__name__ == "LearningRate")
    if rates.halvings and game.step == 220:
        os.kill(os.getpid(), signal.SIGKILL)


@row("12b", "no finite gradient any more: back, with half the rates")
def diverged(lab: Lab) -> Outcome:
    outcome = Outcome(times=3)
    words = (*RUN, "trainer.keep_checkpoints=1")
    reference = lab.reference(words, [diverging(0.6)], "diverges once")
    back = Trained(reference).summary["rollbacks"]
    outcome.expect([entry["to"] for entry in back] == [2 * EVERY], f"went back {back}")
    folder = lab.new()
    ended = lab.run(folder, words, [diverging(0.6), kill_at(320)])
    outcome.expect(ended.code == 137, f"exit code {ended.code}:\n{ended.output}")
    outcome.lose(ended.images - Trained(folder).newest, INTERVAL)
    outcome.recover(lab.finish(folder, words, [diverging(0.6)], wish=ended.images))
    outcome.compare(folder, reference)
    behind = lab.new()  # killed when it has gone back, and has not saved again by itself
    ended = lab.run(behind, words, [diverging(0.6), before_step(kill_when_back)])
    outcome.expect(ended.code == 137, f"exit code {ended.code}:\n{ended.output}")
    lab.finish(behind, words, [diverging(0.6)])
    outcome.compare(behind, reference)
    outcome.expect(len(Trained(behind).summary["rollbacks"]) == 1, "it went back again for the same trouble")
    hopeless = lab.new()
    ended = lab.run(hopeless, words, [diverging(0.0)])
    summary = Trained(hopeless).summary
    outcome.expect(ended.code == 1, f"exit code {ended.code}:\n{ended.output}")
    outcome.expect(summary["status"] == "diverged" and len(summary["rollbacks"]) == 2, f"{summary['status']}")
    outcome.expect("Traceback" not in ended.output and "lower the learning rate" in ended.output, ended.output)
    outcome.notes.append("twice at most; then status diverged, exit code 1")
    return outcome


# -- memory ------------------------------------------------------------------------------------------------------------


def run_out(_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@row("13", "out of memory, in a step and in scoring")
def out_of_memory(lab: Lab) -> Outcome:
    outcome = Outcome(times=2)
    folder = lab.new()
    ended = lab.run(folder, faults=[in_step(260, run_out)])
    outcome.expect(ended.code == 1, f"exit code {ended.code}:\n{ended.output}")
    outcome.expect("trainer.micro_batches=2" in ended.output and "Traceback" not in ended.output, ended.output)
    outcome.lose(ended.images - Trained(folder).newest, INTERVAL)
    outcome.recover(lab.finish(folder, wish=ended.images))
    outcome.compare(folder, lab.reference())

    def while_scoring(_: Progress) -> None:
        Scoring.while_training = run_out

    beside = lab.new()
    ended = lab.run(beside, faults=[while_scoring])
    outcome.expect(ended.code == 0, f"in scoring: exit code {ended.code}:\n{ended.output}")
    outcome.expect("out of memory, this score is left out" in ended.output, ended.output)
    outcome.compare(beside, lab.reference(), records=False)
    outcome.notes.append("in a step: exit code 1, one line; in scoring: goes on")
    return outcome


# -- pictures ----------------------------------------------------------------------------------------------------------


def picture_folder(path: Path, count: int = 60) -> Path:
    path.mkdir(parents=True)
    drawn = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(drawn.integers(0, 255, (12, 12, 3), np.uint8)).save(path / f"{i:03d}.png")
    return path


def of_folder(path: Path) -> tuple[str, ...]:
    rest = [word for word in PICTURES if not word.startswith("dataset=")]
    return (*rest, "dataset=image_folder", f"dataset.path={path}", "dataset.image_size=32")


def quarantined(lab: Lab, spoil: Callable[[Path], dict[str, str]]) -> Outcome:
    """Spoiled files are as if they were not there, and a report names them."""
    outcome = Outcome(times=1)
    good = picture_folder(lab.new("pictures"))
    bad = picture_folder(lab.new("pictures"))
    wanted = spoil(bad)
    folder = lab.new()
    ended = lab.run(folder, of_folder(bad))
    outcome.expect(ended.code == 0, f"exit code {ended.code}:\n{ended.output}")
    report = {Path(entry["path"]): entry["reason"] for entry in json.loads((folder / "quarantine.json").read_text())}
    outcome.expect(report.keys() == {bad / name for name in wanted}, f"reported: {report}")
    for name, reason in wanted.items():
        outcome.expect(reason in report.get(bad / name, ""), f"{name}: {report.get(bad / name)}")
    outcome.lose(0, 0)
    outcome.compare(folder, lab.reference(of_folder(good), key="good pictures"))
    outcome.notes.append(f"{len(wanted)} named in quarantine.json")
    return outcome


@row("14", "truncated, empty and foreign files among the pictures")
def truncated(lab: Lab) -> Outcome:
    def spoil(folder: Path) -> dict[str, str]:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "cut.jpg")
        content = (folder / "cut.jpg").read_bytes()
        (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
        (folder / "empty.png").touch()
        (folder / "text.png").write_text("no picture")
        return {"cut.jpg": "runcated", "empty.png": "cannot identify", "text.png": "cannot identify"}

    return quarantined(lab, spoil)


@row("15", "a picture that is a bomb")
def bomb(lab: Lab) -> Outcome:
    def spoil(folder: Path) -> dict[str, str]:
        Image.new("1", (12_000, 12_000)).save(folder / "bomb.png")  # 144 megapixels in 18 kB
        Image.new("1", (20_000, 20_000)).save(folder / "larger.png")  # PIL itself refuses this one
        return {"bomb.png": "too many", "larger.png": "decompression bomb"}

    return quarantined(lab, spoil)


@row("16", "a process that decodes is killed, or hangs")
def decoder_gone(lab: Lab) -> Outcome:
    """There are no worker processes: pictures are decoded once, into a store that several runs may wait for."""
    outcome = Outcome(times=2)
    pictures = picture_folder(lab.new("pictures"), 400)
    words = of_folder(pictures)

    def at_the_300th(number: int) -> Fault:
        def install(_: Progress) -> None:
            decode, seen = decoding.decode, []

            def broken(*arguments: Any) -> Any:
                seen.append(1)
                if len(seen) == 300:
                    os.kill(os.getpid(), number)
                return decode(*arguments)

            decoding.decode = broken

        return install

    def impatient(_: Progress) -> None:
        store.PATIENCE = 0.2

    with environment(GAN_LAB_CACHE=str(lab.new("cache"))):
        killed = lab.run(lab.new(), words, [at_the_300th(signal.SIGKILL)])
        outcome.expect(killed.code == 137, f"exit code {killed.code}:\n{killed.output}")
        folder = lab.new()
        lab.finish(folder, words)
        outcome.expect(not list(Path(os.environ["GAN_LAB_CACHE"]).glob(".image_folder-*")), "remains of the store")
    reference = lab.reference(words, key="400 pictures")
    outcome.compare(folder, reference)
    with environment(GAN_LAB_CACHE=str(lab.new("cache"))):
        hanging = lab.start(lab.new(), words, [at_the_300th(signal.SIGSTOP)])
        os.waitpid(hanging.pid, os.WUNTRACED)
        folder = lab.new()
        waiting = lab.start(folder, words, [impatient])
        waiting.hear("waiting for another process that prepares")
        outcome.expect(waiting.progress.images == 0, "it did not wait")
        hanging.kill()
        begin = time.monotonic()
        ended = waiting.wait()
        hanging.wait()
        outcome.seconds = time.monotonic() - begin
        outcome.expect(ended.code == 0, f"exit code {ended.code}:\n{ended.output}")
    outcome.compare(folder, reference)
    outcome.lose(0, 0)
    outcome.notes.append("whoever waits says for what, and takes over")
    return outcome


# -- services, sweeps, neighbours --------------------------------------------------------------------------------------


@row("17", "W&B unreachable, a black hole, dying, slow", quick=False)
def service_gone(lab: Lab) -> Outcome:
    outcome = Outcome()
    for outage in outages(lab):
        outcome.times += 1
        for failure in outage.failures:
            outcome.failures.append(f"W&B {outage.name}: {failure}")
        outcome.notes.append(f"{outage.name} {outage.share:.2%}")
        outcome.expect(outage.share < 0.01, f"W&B {outage.name} takes {outage.share:.2%} of the steps' time")
        outcome.compare(outage.folder, lab.reference(outage.words))
    outcome.lose(0, 0)
    outcome.notes[0] = "share of the steps' time: " + outcome.notes[0]
    return outcome


@losses.register("faulty")
class Faulty(NonSaturating):
    """Fails by the seed of its job while the environment wants it to: 2 raises, 3 exits, 4 is killed."""

    def generator(self, forward: Any) -> Any:
        if os.environ.get("FAULTY") and forward.game.step == 120:
            seed = forward.game.seed
            if seed == 2:
                raise RuntimeError("planted")
            if seed == 3:
                raise SystemExit(3)
            if seed == 4:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().generator(forward)


@row("18", "a sweep's job raises, exits, is killed")
def sweep_broken(lab: Lab) -> Outcome:
    outcome = Outcome(times=3)
    words = (*(word for word in RUN), "-m", "loss=faulty", "trainer.seed=1,2,3,4,5", "trainer.images=9600")
    words = tuple(word for word in words if word != "trainer.images=24000")
    sweep = lab.new("sweep")
    with environment(FAULTY="1"):
        broken = lab.run(sweep, words, where="sweep_dir={}")
    outcome.expect(broken.code == 137, f"exit code {broken.code}:\n{broken.output}")  # seed 4 took the sweep with it

    def by_seed() -> dict[int, Path]:
        found = {}
        for path in sweep.glob("*/config.yaml"):
            seed = next(line for line in path.read_text().splitlines() if line.strip().startswith("seed:"))
            found[int(seed.split(":")[1])] = path.parent
        return found

    states = {seed: Trained(path).summary["status"] for seed, path in by_seed().items()}
    outcome.expect(states == {1: "finished", 2: "failed", 3: "failed", 4: "running"}, f"{states}")
    first = (by_seed()[1] / "summary.json").read_bytes()
    for seed, most in ((2, INTERVAL), (3, INTERVAL), (4, INTERVAL)):
        outcome.lose(120 * BATCH - Trained(by_seed()[seed]).newest, most)
    begin = time.monotonic()
    again = lab.run(sweep, words, where="sweep_dir={}")
    outcome.seconds = time.monotonic() - begin
    outcome.expect(again.code == 0 and "5 of 5 jobs finished" in again.output, again.output)
    outcome.expect((by_seed()[1] / "summary.json").read_bytes() == first, "a finished job was touched")
    for seed, path in by_seed().items():
        alone = tuple(word for word in words if word != "-m" and not word.startswith("trainer.seed="))
        outcome.compare(path, lab.reference((*alone, f"trainer.seed={seed}")))
    outcome.notes.append("the same command redoes just these")
    return outcome


@row("20", "two processes in one run directory")
def two_at_once(lab: Lab) -> Outcome:
    outcome = Outcome(times=1)
    folder = lab.new()
    first = lab.start(folder, faults=[before_step(lambda game: time.sleep(0.002))])
    first.reach(EVERY)
    second = lab.run(folder)
    outcome.expect(second.code == 2 and "is in use" in second.output, f"{second.code}: {second.output}")
    ended = first.wait()
    outcome.expect(ended.code == 0, f"the first ended with {ended.code}")
    outcome.lose(0, 0)
    outcome.compare(folder, lab.reference())
    outcome.notes.append("the second: exit code 2")
    return outcome


# -- does the bench see anything? --------------------------------------------------------------------------------------


def forgetting(*item: str) -> Fault:
    """A run that goes on without one item of the saved state."""

    def install(_: Progress) -> None:
        if not item:
            return
        from gan_lab.core import loop
        from gan_lab.core.hooks import Log
        from gan_lab.health import Health

        load = loop.Game.load_state_dict

        def broken(game: loop.Game, state: Any) -> None:
            fresh = game.state_dict()
            if len(item) == 1:
                state = state | {item[0]: fresh[item[0]]}
            else:
                state = state | {item[0]: state[item[0]] | {item[1]: fresh[item[0]][item[1]]}}
            load(game, state)

        if item == ("health",):
            Health.recall = lambda self, memory: None
        elif item == ("log",):
            Log.recall = lambda self, memory, device: None
        else:
            loop.Game.load_state_dict = broken

    return install


@row("M", "mutation: forget one item of the saved state")
def mutations(lab: Lab) -> Outcome:
    """Each in turn; the comparison that all rows make must notice. The run goes back once, so that rates are state."""
    outcome = Outcome()
    steady: Sequence[Fault] = (diverging(0.6),)
    reference = lab.reference(RUN, steady, "diverges once")
    game = checkpoint.load(Trained(reference).checkpoints[-1])["game"]
    items = [("step",), ("images",), *(("parts", name) for name in game["parts"])]
    items += [*(("optimizers", name) for name in game["optimizers"]), ("health",), ("log",)]
    unseen = []
    for item in [(), *items[:: 4 if lab.quick else 1]]:
        folder = lab.new()
        # Saved in the middle of a window, and killed behind it: all that is saved is needed.
        killed = lab.run(folder, faults=[*steady, in_step(375, send(signal.SIGUSR1)), kill_at(390)])
        outcome.expect(killed.code == 137, f"exit code {killed.code}:\n{killed.output}")
        ended = lab.run(folder, faults=[*steady, forgetting(*item)])
        differs = Trained(folder).differs(reference) if ended.code == 0 else "exit code"
        if not item:
            outcome.expect(not differs, f"with nothing forgotten {differs} differ")
            continue
        outcome.times += 1
        if not differs:
            unseen.append("/".join(item))
    outcome.expect(not unseen, f"forgotten unnoticed: {', '.join(unseen)}")
    outcome.notes.append(f"{outcome.times - len(unseen)} of {outcome.times} noticed")
    return outcome
