"""Signals that make a run save or stop, and Slurm's warning before a job's time is up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SAVE = getattr(signal, "SIGUSR1", None)  # Windows does not have it
INTERRUPTED = tuple(128 + number for number in (signal.SIGINT, signal.SIGTERM, *([SAVE] if SAVE else [])))  # exit codes
REQUEUE_SECONDS = 30  # for Slurm's controller to answer


class Interrupted(KeyboardInterrupt):
    """A signal that ends the run at once. There is nothing left to save."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def ending() -> tuple[int, ...]:
    """The signals after which a run saves and ends: SIGINT, SIGTERM, and under Slurm also its warning, SIGUSR1."""
    return (signal.SIGINT, signal.SIGTERM, *([SAVE] if SAVE and job_id() else []))


class Signals:
    """At SIGINT or SIGTERM, the run saves and stops at the end of the step. A second SIGINT stops it at once.

    At SIGUSR1 the run saves and goes on. Under Slurm, SIGUSR1 is the warning before the time is up
    (`sbatch --signal=USR1@120`): the run also stops, and is queued again.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.save = False  # save at the end of the step, then go on
        self._at_once = self._interrupted = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in {*ending(), *([SAVE] if SAVE else [])}:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A context in which the first signal already raises Interrupted, because there is nothing left to save."""
        self._at_once = True
        try:
            if self.received:
                raise Interrupted(self.received)
            yield
        finally:
            self._at_once = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number not in ending():
            self.save = True
            return
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.received = self.received or number  # keep Slurm's warning when its SIGTERM follows
        if self._at_once:
            raise Interrupted(number)


@contextlib.contextmanager
def before_training(ended: Callable[[int], object]) -> Iterator[None]:
    """A context before training. At Slurm's warning it ends, and `ended` receives the exit code.

    Outside Slurm, SIGUSR1 is ignored.
    """

    def receive(number: int, frame: FrameType | None) -> None:
        if number in ending():
            raise Interrupted(number)

    takes_signals = SAVE is not None and threading.current_thread() is threading.main_thread()
    before = signal.signal(SAVE, receive) if SAVE is not None and takes_signals else None
    try:
        yield
    except Interrupted as stop:
        ended(128 + stop.number)
    finally:
        if SAVE is not None and takes_signals:
            signal.signal(SAVE, before)


# -- Slurm -------------------------------------------------------------------------------------------------------------


def job_id() -> str | None:
    """The id of this process's Slurm job, in the form for `scontrol`, or None outside Slurm."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def requeue_after(code: int) -> bool:
    """If Slurm's warning has ended a run or sweep, put its job back into the queue. Returns whether that worked."""
    if SAVE is None or code != 128 + SAVE or job_id() is None:
        return False
    queued, message = requeue()
    print(f"gan-lab: {message}", file=sys.stderr)
    return queued


def requeue() -> tuple[bool, str]:
    """Put this process's Slurm job back into the queue, where the same command continues the run.

    Returns whether that worked, and a message.
    """
    job = job_id()
    command = ["scontrol", "requeue", str(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=REQUEUE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"{type(error).__name__}: {error}"
    else:
        if done.returncode == 0:
            return True, f"Slurm job {job} is queued again and goes on from here"
        why = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
    return False, f"`{' '.join(command)}` failed ({why}); submit the same command again to go on"
