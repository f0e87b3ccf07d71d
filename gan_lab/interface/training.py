"""Training from Python: the words of `gan-lab train`, and a run or a sweep as the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gan_lab.commands import train as command
from gan_lab.interface.runs import Run
from gan_lab.interface.sweeps import Sweep
from gan_lab.run.signals import INTERRUPTED, Interrupted
from gan_lab.tracking.run_directory import RunDirectory


def train(overrides: Sequence[str] = ()) -> Run:
    """Train one run: `gan_lab.train(["experiment=ring", "loss=hinge"])`. With `run_dir=...` there, it goes on.

    Raises ValueError for what cannot be trained, RuntimeError for a run that failed or diverged, with the reason, and
    KeyboardInterrupt, once it is saved, for one that was interrupted.
    """
    done, folder = _done(overrides, "run")
    if done.code:
        summary = RunDirectory(folder).summary
        error = RuntimeError(f"{summary.get('status')}: {summary.get('error')}")
        error.add_note(f"the run is {folder}; gan_lab.load({str(folder)!r}) has what there is of it")
        raise error
    return Run(folder)


def sweep(overrides: Sequence[str]) -> Sweep:
    """Train a run for each combination of values: `gan_lab.sweep(["experiment=ring", "loss=hinge,minimax"])`.

    Jobs that fail stop no other, and raise nothing: the sweep's table has their status and reason. Raises ValueError
    and KeyboardInterrupt as `train` does.
    """
    _, folder = _done(["-m", *_words(overrides)], "sweep")
    return Sweep(folder)


def _done(overrides: Sequence[str], wanted: Literal["run", "sweep"]) -> tuple[command.Done, Path]:
    done = command.train(_words(overrides), wanted)
    if done.code in INTERRUPTED:
        raise Interrupted(done.code - 128)
    if done.refused is not None or done.folder is None:
        raise ValueError(done.refused)
    return done, done.folder


def _words(overrides: Sequence[str]) -> list[str]:
    if isinstance(overrides, str):
        raise ValueError(f"give a list of words: {overrides.split()}")
    return list(overrides)
