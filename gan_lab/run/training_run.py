"""A run in its directory: it begins or goes on, trains, looks, scores and saves."""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lab import __version__
from gan_lab.config.identity import config_hash, resolved
from gan_lab.core import checkpoint
from gan_lab.core.files import content_of
from gan_lab.core.hooks import Diverged, Do, Log
from gan_lab.core.loop import Game, train
from gan_lab.core.runtime import inference
from gan_lab.display.pictures import save_image
from gan_lab.metrics.evaluator import Scores
from gan_lab.run.assembly import Assembly, describe
from gan_lab.run.ending import Ending
from gan_lab.run.failures import first_line, out_of_memory
from gan_lab.run.health import Health
from gan_lab.run.profiling import Profile
from gan_lab.run.ranks import Meeting
from gan_lab.run.records import Records
from gan_lab.run.rollback import roll_back
from gan_lab.run.saving import Saving
from gan_lab.run.selection import Pruned, Report, Scoring
from gan_lab.run.signals import SAVE, Signals
from gan_lab.tasks.contract import joined
from gan_lab.tracking.console import Console
from gan_lab.tracking.run_directory import SELECTION, RunDirectory
from gan_lab.tracking.server import decide_mode
from gan_lab.tracking.wandb import WandbTracker

PICTURE_SEED = 0  # the same for all runs, so that their pictures show the same latents
ANNOUNCED = 5_000  # from this number of samples on, scoring takes long enough for a line in the console
TAGS = ("dataset", "degradation", "generator", "discriminator", "loss")  # groups whose choices are tags in W&B


class TrainingRun:
    """A run in a directory that it has locked: begin, train, end. `train` is called once."""

    def __init__(
        self,
        config: DictConfig,
        assembly: Assembly,
        directory: RunDirectory,
        experiment: str,
        sweep: str | None,
        name: str | None,
        report: Report | None = None,
    ) -> None:
        self.config, self.assembly, self.directory = config, assembly, directory
        self.experiment, self.sweep, self.name, self.report = experiment, sweep, name, report
        self.game, self.trainer, self.ranks = assembly.game, assembly.trainer, assembly.ranks
        self.seconds_before, self.clock = 0.0, time.monotonic()
        self.records, self.saving = Records(directory), Saving(self)
        self.scoring = Scoring(assembly, directory)
        self.health: Health | None = None
        self.profile: Profile | None = None
        self.initial_health_state: dict[str, Any] = {}

    def train(self) -> int:
        """Begin or continue the run, and train to its end or to a signal. Returns the exit code; never raises."""
        with Signals() as signals, Ending(self, signals) as ending:
            self._begin()
            with contextlib.closing(self.profile) if self.profile else contextlib.nullcontext():
                while True:
                    try:
                        train(self.game, self.trainer.images, lambda: self.ranks.agree(self.game, signals))
                        if self.finished:
                            self.log.flush(self.game, end=True)
                    except Diverged as error:
                        roll_back(self, error)
                        continue
                    if not signals.save or signals.received:
                        break
                    signals.save = False
                    self.saving.or_later()
                    self.records.say(f"  {self.game.images:,} images: asked to save by signal {int(SAVE or 0)}")
                    self.ranks.meet()
            self._end(signals)
        return ending.code

    @property
    def finished(self) -> bool:
        return self.game.images >= self.trainer.images

    def counters(self) -> dict[str, Any]:
        return {"images": self.game.images, "step": self.game.step, "seconds": round(self.seconds(), 3)}

    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.clock

    # -- begin -------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        kept, state = self.assembly.resumed or (None, None)
        self.assembly.resumed = None
        if kept != self.saving.kept():  # not checked, or another process has trained here since
            state = checkpoint.load_newest(self.directory.checkpoints)
        if state is not None:
            with content_of(f"the newest checkpoint of {self.directory.path}"):
                self._load(state)
        self.directory.cut_back(self.game.images)
        self._write_quarantine()
        config = resolved(self.config, experiment=self.experiment, run_dir=str(self.directory.path))
        self.directory.write_config(OmegaConf.to_yaml(OmegaConf.create(config)))
        self.directory.update_summary(
            status="running", error=None, config_hash=config_hash(config), metrics={}, health=[],
            best=self.scoring.best(self.saving.kept()), **self.counters(),
        )  # fmt: skip
        lines = [f"{self.experiment}: {self.directory.path}", *describe(self.config, self.assembly)]
        if state is not None:
            lines.append(f"goes on from {self.game.images:,} images")
        self._add_trackers(config, lines)
        self._add_hooks()
        self.initial_health_state = copy.deepcopy(self.health.memory()) if self.health else {}
        if state is not None:
            with content_of(f"the newest checkpoint of {self.directory.path}"):
                self._recall(state)
        self.ranks.begin(self.game, self.log)

    def _load(self, state: dict[str, Any]) -> None:
        self.game.load_state_dict(state["game"])
        self.seconds_before = float(state["seconds"])
        self.directory.recall(state.get("pending") or [])
        if state["about"]["threads"] != self.assembly.about["threads"]:
            warnings.warn(
                f"this run was saved with {state['about']['threads']} threads and goes on with "
                f"{self.assembly.about['threads']}: sums may differ in the last bits",
                stacklevel=2,
            )
        if state["about"].get("processes", 1) != self.game.runtime.world:
            warnings.warn(
                f"this run was saved with {state['about'].get('processes', 1)} processes and goes on with "
                f"{self.game.runtime.world}: sums may differ in the last bits",
                stacklevel=2,
            )

    def _recall(self, state: dict[str, Any]) -> None:
        """Give the log and the health monitor what they remembered."""
        if state.get("log"):
            self.log.recall(state["log"], self.game.runtime.device)
        if self.health and state.get("health"):
            self.health.recall(state["health"])
            self.records.health(self.health)

    def _write_quarantine(self) -> None:
        """Write the list of pictures that cannot be read, with their paths and the reasons."""
        dataset, held_out = self.assembly.dataset, self.assembly.held_out
        stores = [(dataset, self.assembly.data)] + ([(getattr(dataset, "test", None), held_out)] if held_out else [])
        self.directory.write_quarantine(
            {
                str(Path(getattr(source, "path", None) or "", name)): why
                for source, store in stores
                for name, why in store.skipped.items()
            }
        )

    def _add_trackers(self, config: dict[str, Any], lines: list[str]) -> None:
        settings, records = self.assembly.tracking.wandb, self.records
        mode, why = decide_mode(settings.mode)
        if mode != "disabled":
            parts = [config[part]["name"] for part in TAGS if config.get(part)]
            parts += config.get("regularizer") or ()
            wandb = records.wandb = WandbTracker(
                settings,
                mode,
                self.directory.path,
                config | {"gan_lab": __version__},
                name=self.name or f"{self.experiment}-{self.directory.path.name}",
                group=settings.group or self.sweep or self.experiment,
                job_type="sweep" if self.sweep else "train",
                tags=(*settings.tags, self.experiment, *parts),
                best=self.scoring.directions,
                score=self.scoring.selecting and self.scoring.selecting[0],
            )
            records.trackers.append(wandb)
            lines.append(f"W&B {wandb.mode}{f': {why}' if why else ''}")
            self.directory.update_summary(wandb=wandb.link)
        losses = [f"{phase.name}/{next(iter(phase.terms))}" for phase in self.game.phases if phase.every == 1]
        records.console = Console(self.trainer.images, self.game.images, lines, losses)
        self.assembly.evaluator.tell = records.say
        records.trackers.append(records.console)

    def _add_hooks(self) -> None:
        tracking = self.assembly.tracking
        periods = self.assembly.periods
        self.log = Log(tracking.log_every, self._record, also=periods)
        self.log.restart(self.game.images)
        self.game.add(self.log)
        actions = (self._look, self._select, lambda game: self.saving.or_later())
        for period, action in zip(periods, actions, strict=True):
            self.game.add(Do(period, action))
        if tracking.health:
            assembly, warn = self.assembly, self.records.warn
            self.health = Health(self.game, assembly.sampled_nets, tracking.log_every, warn, assembly.held_out)
            self.game.add(self.health)
        if not self.ranks.alone:
            self.game.add(Meeting(self.ranks, [tracking.log_every, *periods]))
        if self.trainer.profile:  # last, so that it measures the time of the other hooks
            self.profile = Profile(self.records.say)
            self.game.add(self.profile)

    # -- while it trains ---------------------------------------------------------------------------------------------

    def _record(self, record: dict[str, Any]) -> None:
        rates = {
            f"learning_rate/{player}": optimizer.param_groups[0]["lr"]
            for player, optimizer in self.game.optimizers.items()
        }
        counters = self.counters()
        # Not in a hook: the time of a look must not count as training time.
        health = self.health.look(self.game) if self.health and self.health.period.due(self.game) else {}
        self.records.add(record | counters | rates | health)
        self.records.summary(**counters)
        self.records.health(self.health)

    @contextlib.contextmanager
    def _if_memory_allows(self, what: str) -> Iterator[None]:
        """A context for work beside training. Where memory runs out, the work is skipped, and a line says so."""
        try:
            yield
        except Exception as error:
            if not out_of_memory(error):
                raise
            self.records.say(f"  {self.game.images:,} images: out of memory, {what} left out: {first_line(error)}")

    def _look(self, game: Game) -> None:
        """Save a sheet of examples of the current networks."""
        assembly, task = self.assembly, self.task
        num = task.shown or assembly.tracking.samples
        with self._if_memory_allows("this picture is"), self.records.retry_later("a picture"):
            with inference(assembly.sampled_nets, assembly.evaluation.batch_norm, task.warm) as nets:
                examples = joined(task.examples(nets, num, PICTURE_SEED, assembly.example_data))
            self.records.show(task.sheet(examples, assembly.example_data), game.images)

    @property
    def task(self) -> Any:
        return self.game.task

    def _select(self, game: Game) -> None:
        """Score the current networks, and save a checkpoint if the score is the best so far."""
        scores: Scores = {}
        with self._if_memory_allows("this score is"):
            scores = self.scoring.while_training()
        if not scores:
            return
        self.records.add(self.counters() | {SELECTION + name: entry["value"] for name, entry in scores.items()})
        best = self.scoring.best([game.images, *self.saving.kept()])
        if best and best["images"] == game.images:
            self.saving.or_later(best)
        self.records.summary(best=self.scoring.best(self.saving.kept()), selection=scores)
        if self.report and (why := self.report(game.images, {name: entry["value"] for name, entry in scores.items()})):
            raise Pruned(why)

    # -- end ---------------------------------------------------------------------------------------------------------

    def _end(self, signals: Signals) -> None:
        """Save. After the last image, also make a sheet, and score with fresh noise."""
        self.saving.now()
        self.directory.write_pending()  # if this fails, the checkpoint still has them
        if self.finished:
            with signals.at_once():
                self._look(self.game)
                self._score()

    def _score(self) -> None:
        if self.assembly.evaluator.metrics and self.assembly.evaluation.samples >= ANNOUNCED:
            seeds = len(self.scoring.final_seeds)
            of_seeds = f" of {seeds} noise seeds" if seeds > 1 else ""
            number = self.assembly.evaluation.samples
            if self.task.needs_data:  # each row is scored once
                number = min(number, len(self.assembly.example_data))
            self.records.say(f"  scoring {number:,} samples{of_seeds}")
        scores, picture = self.scoring.at_the_end()
        if picture is not None:
            path = self.directory.samples / "neighbours.png"
            save_image(picture, path)
            for tracker in self.records.trackers:
                tracker.picture(path, self.game.images, "neighbours")
        self.directory.update_summary(metrics=scores)
