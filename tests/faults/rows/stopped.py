"""Runs that are killed or get a signal."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import Any

from gan_lab.core import checkpoint
from tests.faults.breaking import Operations, before_step, in_step, send
from tests.faults.lab import EVERY, Lab, Progress, Trained, environment
from tests.faults.outcome import BATCH, INTERVAL, Outcome, row


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
    outcome.lose_nothing(ended, folder)
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
