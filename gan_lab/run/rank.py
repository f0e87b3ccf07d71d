"""`python -m gan_lab.run.rank`: one of a run's processes, as `run/launch.py` starts it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from omegaconf import OmegaConf

from gan_lab import registry
from gan_lab.display.terminal import OutputLabel, labelled_output
from gan_lab.run.follower import follow
from gan_lab.run.launch import Order
from gan_lab.run.place import place
from gan_lab.run.ranks import Ranks
from gan_lab.run.signals import SAVE
from gan_lab.run.start import run

WATCH_SECONDS = 0.5


def main() -> int:
    """Do what standard input says. Returns the exit code."""
    # A sweep's worker process has them blocked, and a child inherits that.
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, *([SAVE] if SAVE else [])})
    order = Order(**json.load(sys.stdin))
    threading.Thread(target=_leave_with, args=(order.parent,), daemon=True).start()
    registry.load()
    config = OmegaConf.create(order.config)
    if place().rank:
        return follow(lambda: config)
    ranks = Ranks(place())
    with labelled_output(OutputLabel(*order.label)) if order.label else contextlib.nullcontext():
        return run(
            config, Path(order.path), experiment=order.experiment, sweep=order.sweep, name=order.name, ranks=ranks,
            refused=functools.partial(ranks.write, "refused"), report=ranks.ask if order.reports else None,
        )  # fmt: skip


def _leave_with(parent: int) -> None:
    """Save and end once the process that has started this one is gone."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
