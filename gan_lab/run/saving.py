"""Writes a run's checkpoints, and lists those that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gan_lab.core import checkpoint

if TYPE_CHECKING:
    from gan_lab.run.training_run import TrainingRun


class Saving:
    """Writes and lists the checkpoints of a run."""

    def __init__(self, run: TrainingRun) -> None:
        self.run, self.folder = run, run.directory.checkpoints

    def kept(self) -> list[int]:
        """The numbers of images of the checkpoints, newest first; empty where the folder cannot be read."""
        try:
            return checkpoint.kept(self.folder)
        except OSError:
            return []

    def what_is_kept(self) -> str:
        kept = self.kept()
        return f"the checkpoint of {kept[0]:,} images is kept" if kept else "there is no checkpoint yet"

    def or_later(self, best: dict[str, Any] | None = None) -> None:
        """Save a checkpoint. If the disk refuses, training goes on until the next save."""
        with self.run.records.retry_later("a checkpoint", self.what_is_kept()):
            self.now(best)

    def now(self, best: dict[str, Any] | None = None) -> None:
        """Write a checkpoint. `best` is its score if it is the best one so far, else None.

        Raises OSError where the disk refuses. Older checkpoints are then kept, and no part of this one is left.
        """
        run, game, directory = self.run, self.run.game, self.run.directory
        with run.records.retry_later("metrics.jsonl", "its records are kept"):
            directory.write_pending()
            directory.sync()  # after a power cut, a checkpoint never exists without the records before it
        state = {
            "images": game.images,
            "seconds": run.seconds(),
            "game": game.state_dict(),
            "about": run.assembly.about,
            "pending": directory.pending,
            "log": run.log.memory(),
            "health": run.health.memory() if run.health else None,
        }
        earlier = directory.summary.get("best")
        spare = [earlier["images"]] if earlier else []
        if run.log.sound < game.images:  # a rollback may need a checkpoint before this one
            spare += [images for images in self.kept() if images <= run.log.sound][:1]
        path = checkpoint.save(state, self.folder, keep=run.trainer.keep_checkpoints, spare=spare)
        if wandb := run.records.wandb:
            scores = {key: best[key] for key in ("metric", "value")} if best else {}
            about = {"config_hash": directory.summary["config_hash"], **scores}
            wandb.checkpoint(path, game.images, best=bool(scores), metadata=about)
