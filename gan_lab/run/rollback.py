"""After a divergence, a run goes back to an earlier checkpoint, with half the learning rates."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from gan_lab.core import checkpoint
from gan_lab.core.hooks import Diverged, LearningRate
from gan_lab.core.ranks import share
from gan_lab.run.assembly import assemble
from gan_lab.run.warm_start import initialize_from

if TYPE_CHECKING:
    from gan_lab.run.training_run import TrainingRun


def roll_back(run: TrainingRun, error: Diverged) -> None:
    """Go back to the newest checkpoint before the divergence, with half the learning rates.

    Raises the error again where the run has gone back `trainer.rollbacks` times.
    """
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
    run.log.sound -= 1  # if it diverges again, it goes further back
    run.records.sheet = None
    if run.health:
        run.health.recall(copy.deepcopy(state.get("health") or run.initial_health_state))
    directory.cut_back(game.images)
    # Save again at once, so that the halved rates are not lost if the process is killed before the next save.
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
    run.ranks.meet()
    share(game)


def _beginning(run: TrainingRun) -> dict[str, Any]:
    """The state before the first step. Building it again is cheaper than keeping it."""
    config = run.config.copy()
    config.trainer.compile = False  # it is not trained, and compiling would reset the compiled code of the run
    fresh = assemble(config)
    if run.config.init_from is not None:
        initialize_from(fresh, run.config.init_from)
    return {"game": fresh.game.state_dict(), "health": None}
