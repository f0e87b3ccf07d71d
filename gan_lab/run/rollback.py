"""Going back where a game has diverged: to an earlier checkpoint, with half the learning rates."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from gan_lab.core import checkpoint
from gan_lab.core.hooks import Diverged, LearningRate
from gan_lab.run.assembly import assemble
from gan_lab.run.warm_start import initialize_from

if TYPE_CHECKING:
    from gan_lab.run.training_run import TrainingRun


def roll_back(run: TrainingRun, error: Diverged) -> None:
    """Go back to the newest checkpoint from before the divergence with half the learning rates, or raise it again."""
    game, directory = run.game, run.directory
    rates = next(hook for hook in game.hooks if isinstance(hook, LearningRate))
    halvings = rates.halvings + 1
    if halvings > run.trainer.rollbacks:
        raise error
    diverged_at = game.images
    checkpoint.drop_after(directory.checkpoints, run.log.sound)
    state = checkpoint.load_newest(directory.checkpoints) or _beginning(run)
    game.load_state_dict(state["game"])
    rates.halvings = halvings
    run.log.restart(game.images)
    run.log.sound -= 1  # should it not recover, the next time goes further back
    run.records.sheet = None
    if run.health:
        run.health.recall(copy.deepcopy(state.get("health") or run.initial_health_state))
    directory.cut_back(game.images)
    # Saved anew, or a kill before the next save would forget that rates were halved.
    checkpoint.drop_after(directory.checkpoints, game.images - 1)
    run.saving.or_later()
    entry = {"from": diverged_at, "to": game.images, "learning_rate": 0.5**halvings}
    run.records.summary(
        rollbacks=[*(directory.summary.get("rollbacks") or []), entry],
        best=run.scoring.best(run.saving.kept()),
        **run.counters(),
    )
    run.records.say(
        f"  {diverged_at:,} images: {error.reason}. Back to {game.images:,} images, with learning rates x "
        f"{0.5**halvings:g} ({halvings} of {run.trainer.rollbacks} times)"
    )


def _beginning(run: TrainingRun) -> dict[str, Any]:
    """The state before the first step, which is cheaper to make again than to keep."""
    config = run.config.copy()
    config.trainer.compile = False  # it never plays, and torch would forget what the other one has compiled
    fresh = assemble(config)
    if run.config.init_from is not None:
        initialize_from(fresh, run.config.init_from)
    return {"game": fresh.game.state_dict(), "health": None}
