"""Runs in processes of their own that break where they are told to, and what became of them.

A run is forked from a process that has imported torch and never trained: it starts in milliseconds, and may be killed.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401  # here and below: what every run would import again
import torch
import torch._inductor

import tests.toy_data  # noqa: F401
from gan_lab import registry
from gan_lab.cli import main
from gan_lab.commands import train  # noqa: F401
from gan_lab.core import checkpoint, loop
from gan_lab.run.start import run  # noqa: F401
from tests.core.toys import equal

# Five saves, ten looks, R1, an average and a schedule; four seconds on one slow core at most.
EVERY = 4_800
RUN = (
    "experiment=ring", "loss=non_saturating", "trainer.images=24000", "trainer.batch_size=48",
    f"trainer.checkpoint_every={EVERY}",
    "tracking.log_every=2400", "tracking.samples_every=0", "evaluation.every=9600", "evaluation.samples=500",
    "evaluation.selection_samples=200", "generator.width=16", "discriminator.width=16", "regularizer=[r1,lecam]",
)  # fmt: skip
PATIENCE = 120.0  # seconds for a run that should have ended long ago

Fault = Callable[["Progress"], None]  # something that a run's process does to itself before it begins


class Progress:
    """What a run tells its parent through shared memory: images so far, operations, and a wish.

    The wish is a number of images; when they are reached, the clock is noted.
    """

    LAYOUT = struct.Struct("qqdq")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self.LAYOUT.size)

    def _get(self, i: int) -> Any:
        return self.LAYOUT.unpack(self._memory[: self.LAYOUT.size])[i]

    def _set(self, i: int, value: Any) -> None:
        values = list(self.LAYOUT.unpack(self._memory[: self.LAYOUT.size]))
        values[i] = value
        self._memory[: self.LAYOUT.size] = self.LAYOUT.pack(*values)

    images = property(lambda self: self._get(0), lambda self, value: self._set(0, value))
    wish = property(lambda self: self._get(1), lambda self, value: self._set(1, value))
    reached = property(lambda self: self._get(2), lambda self, value: self._set(2, value))
    operations = property(lambda self: self._get(3), lambda self, value: self._set(3, value))

    def note(self, images: int) -> None:
        self.images = images
        if self.wish and images >= self.wish and not self.reached:
            self.reached = time.monotonic()


@dataclass
class Ended:
    """A run's process that has ended."""

    code: int  # as a shell has it: 128 + the signal that killed it
    images: int  # shown when it ended
    output: str
    recovered: float | None  # seconds until it was again where the one before had ended, if that was asked for
    progress: Progress


class Running:
    """A run's process."""

    def __init__(self, folder: Path, words: Sequence[str], faults: Sequence[Fault], wish: int, where: str) -> None:
        self.progress, self._log = Progress(), folder.with_name(f"{folder.name}.log")
        self.progress.wish = wish
        self._start = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._be_the_run([*words, where.format(folder)], faults)

    def _be_the_run(self, words: list[str], faults: Sequence[Fault]) -> None:
        code = 70
        try:
            output = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(i, "w"), write_through=True) for i in (1, 2))
            _count_images(self.progress)
            for fault in faults:
                fault(self.progress)
            code = main(["train", *words])
        finally:
            os._exit(code)

    def reach(self, images: int) -> None:
        """Wait until it has shown so many images."""
        while self.progress.images < images and time.monotonic() - self._start < PATIENCE:
            time.sleep(0.001)

    def hear(self, words: str) -> None:
        """Wait until it says these words."""
        while not (self._log.exists() and words in self._log.read_text()):
            if self.poll() or time.monotonic() - self._start > PATIENCE:
                raise AssertionError(f"it never said {words!r}")
            time.sleep(0.01)

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    _status: int | None = None

    def poll(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Let it end. One that takes too long is killed, with code -1."""
        while not self.poll() and time.monotonic() - self._start < patience:
            time.sleep(0.002)
        late = self._status is None
        if late:
            self.kill()
            _, self._status = os.waitpid(self.pid, 0)
        status = self._status or 0
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        reached = self.progress.reached
        return Ended(
            -1 if late else code, self.progress.images, self._log.read_text() if self._log.exists() else "",
            reached - self._start if reached else None, self.progress,
        )  # fmt: skip


def _count_images(progress: Progress) -> None:
    step = loop.step

    def counted(game: Any) -> None:
        step(game)
        progress.note(game.images)

    loop.step = counted


class Lab:
    """Where runs are broken: a folder, and the uninterrupted runs that broken ones are compared with."""

    def __init__(self, folder: Path, quick: bool = False) -> None:
        self.folder, self.quick = folder, quick
        self._made = 0
        self._references: dict[Any, Path] = {}
        os.environ.update(GAN_LAB_CACHE=str(folder / "cache"), WANDB_MODE="disabled", OMP_NUM_THREADS="1")
        os.environ.pop("SLURM_JOB_ID", None)
        registry.load()
        torch.set_num_threads(1)

    def new(self, name: str = "run") -> Path:
        """A path where nothing is yet."""
        self._made += 1
        return self.folder / f"{self._made:03d}-{name}"

    def start(
        self, folder: Path, words: Sequence[str] = RUN, faults: Sequence[Fault] = (), *, wish: int = 0,
        where: str = "run_dir={}",
    ) -> Running:  # fmt: skip
        return Running(folder, words, faults, wish, where)

    def run(self, folder: Path, words: Sequence[str] = RUN, faults: Sequence[Fault] = (), **more: Any) -> Ended:
        return self.start(folder, words, faults, **more).wait()

    def reference(self, words: Sequence[str] = RUN, faults: Sequence[Fault] = (), key: str = "") -> Path:
        """The same run, made once and never interrupted. Faults that are a part of it are named by `key`."""
        known = (tuple(words), key)
        if known not in self._references:
            folder = self.new("whole")
            ended = self.run(folder, words, faults)
            if ended.code:
                raise AssertionError(f"the run to compare with failed:\n{ended.output}")
            self._references[known] = folder
        return self._references[known]

    def finish(self, folder: Path, words: Sequence[str] = RUN, faults: Sequence[Fault] = (), wish: int = 0) -> Ended:
        """Repeat the command, as a person would, until nothing is left to do."""
        ended = self.run(folder, words, faults, wish=wish)
        if ended.code:
            raise AssertionError(f"the repeated command failed with {ended.code}:\n{ended.output}")
        return ended


class Trained:
    """What a run directory holds in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("[0-9]*"))

    @property
    def newest(self) -> int:
        """Images of the newest valid checkpoint; 0 where there is none."""
        for path in reversed(self.checkpoints):
            with contextlib.suppress(*checkpoint.DAMAGE):
                return int(checkpoint.load(path)["images"])
        return 0

    @property
    def summary(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return content

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        timed = ("seconds", "performance/images_per_second")
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [{name: value for name, value in record.items() if name not in timed} for record in lines]

    def differs(self, other: Path, *, records: bool = True) -> str:
        """What of the end differs: the state of weights, optimizers and all parts, the records, the scores; or ""."""
        ours, theirs = checkpoint.load(self.checkpoints[-1])["game"], checkpoint.load(Trained(other).checkpoints[-1])
        found = [] if equal(ours, theirs["game"]) else ["state"]
        if records and self.records != Trained(other).records:
            found.append("records")
        if records and self.summary["metrics"] != Trained(other).summary["metrics"]:
            found.append("scores")
        return " and ".join(found)

    @property
    def remains(self) -> list[str]:
        """Temporary files that nobody has removed."""
        return [str(p.relative_to(self.folder)) for p in self.folder.rglob(".*") if p.name not in (".lock", ".hydra")]


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables that forked runs get."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
