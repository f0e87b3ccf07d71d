"""A rank other than the first: it takes part in every step and score, and writes and says nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from gan_lab.config.redaction import redacted
from gan_lab.core.files import printable
from gan_lab.core.hooks import Diverged, Do, Log
from gan_lab.core.loop import train
from gan_lab.core.ranks import share
from gan_lab.core.runtime import LostContact
from gan_lab.run.assembly import Assembly, agreement, assemble
from gan_lab.run.failures import first_line
from gan_lab.run.place import place
from gan_lab.run.ranks import DONE, Differing, Meeting, Ranks
from gan_lab.run.sharing import SharedScoring
from gan_lab.run.signals import Signals


def follow(make_config: Callable[[], DictConfig]) -> int:
    """Follow rank 0 through a run. Returns the exit code; never raises. What goes wrong here is rank 0's to report."""
    code = 2
    with Ranks(place()) as ranks:
        try:
            config = make_config()
            assembly = assemble(_without_health(config))
            ranks.timeout, assembly.ranks = assembly.trainer.timeout, ranks
            orders = ranks.join(agreement(config, assembly), assembly.game.runtime.device)
            code = 1
            code = _train(assembly, ranks, orders)
        except LostContact as error:
            code = _lost(ranks, error)
        except KeyboardInterrupt:
            code = 130
            ranks.end("was interrupted")
        except Differing as error:
            ranks.end(str(error))
        except BaseException as error:
            ranks.end(f"failed: {type(error).__name__}: {first_line(error)}")
        ranks.end()
    return code


def _without_health(config: DictConfig) -> DictConfig:
    """Rank 0 watches the run's health alone, so the others need not load what that takes."""
    config = config.copy()
    config.tracking.health = False
    return config


def _train(assembly: Assembly, ranks: Ranks, orders: Any) -> int:
    game, trainer = assembly.game, assembly.trainer
    log = Log(orders["log_every"], lambda record: None, also=orders["periods"])
    scoring, (_, scored, _) = SharedScoring(assembly), orders["periods"]
    with Signals() as signals:
        ranks.begin(game, log)
        game.add(log)
        game.add(Do(scored, lambda game: scoring.follow()))
        game.add(Meeting(ranks, [orders["log_every"], *orders["periods"]]))
        while True:
            try:
                train(game, trainer.images, lambda: ranks.agree(game, signals))
                if game.images >= trainer.images:
                    log.flush(game, end=True)
            except Diverged:
                ranks.meet()  # rank 0 goes back to a checkpoint
                share(game)
                log.restart(game.images)
                continue
            if not signals.save or signals.received:
                break
            signals.save = False
            ranks.meet()
        if game.images >= trainer.images and assembly.evaluator.metrics:
            scoring.follow()
        return 128 + signals.received if signals.received and game.images < trainer.images else 0


def _lost(ranks: Ranks, error: LostContact) -> int:
    """The exit code where others have ended. If rank 0 cannot say why, the first of the others does."""
    with contextlib.suppress(LostContact):
        if ranks.reason(0) == DONE:
            return 0
    why = ranks.roll_call(error)
    if ranks.speaks():
        print(printable(redacted(f"gan-lab: {why}; the same command goes on")), file=sys.stderr)
    return 1
