"""A plug-in that breaks one rank of a run, which the environment names: `RANK_FAULT="1 260 SIGKILL"`.

Ranks are processes that the lab does not fork, so a fault reaches them as a plug-in does. `nan` in place of a signal
makes that rank's data no numbers from that step on, until the run has gone back with half the learning rates.
"""

from __future__ import annotations

import math
import os
import signal
from typing import Any

from gan_lab.core import loop
from gan_lab.core.hooks import LearningRate
from gan_lab.datasets import store
from tests.faults.breaking import in_step, send
from tests.faults.lab import Progress


def poison(first: int) -> None:
    step, fetch = loop.step, store.Store.fetch
    now: dict[str, Any] = {}

    def noted(game: Any) -> None:
        now["game"] = game
        step(game)

    def broken(self: Any, name: str, *more: Any) -> Any:
        rows, game = fetch(self, name, *more), now.get("game")
        if name != "sample" or game is None or game.step < first:
            return rows
        rates = next(hook for hook in game.hooks if isinstance(hook, LearningRate))
        return rows if rates.halvings else rows * math.nan

    loop.step, store.Store.fetch = noted, broken


if "RANK_FAULT" in os.environ and "RANK" in os.environ:
    rank, first_step, what = os.environ["RANK_FAULT"].split()
    if rank == os.environ["RANK"]:
        if what == "nan":
            poison(int(first_step))
        else:
            in_step(int(first_step), send(getattr(signal, what)))(Progress())
