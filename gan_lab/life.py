"""One run's life in its directory: start or go on, train, save, look, score, and an ending that is always written."""

from __future__ import annotations

import contextlib
import copy
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gan_lab import __version__
from gan_lab.config import config_hash
from gan_lab.core import checkpoint
from gan_lab.core.hooks import Diverged, Do, LearningRate, Log
from gan_lab.core.loop import Game, train
from gan_lab.core.runtime import inference
from gan_lab.health import Health, Warned
from gan_lab.metrics.evaluator import Scores
from gan_lab.profiling import Profile
from gan_lab.scoring import Scoring
from gan_lab.signals import SAVE, Interrupted, Signals
from gan_lab.tracking import Tracker, pictures
from gan_lab.tracking.console import Console, last_words
from gan_lab.tracking.run_directory import SELECTION, RunDirectory
from gan_lab.tracking.wandb import WandbTracker, decide_mode
from gan_lab.train import Assembly, assemble, describe, resolved
from gan_lab.trouble import MORE_MEMORY, PutOff, of_disk, out_of_memory, remedy
from gan_lab.warm_start import initialize_from

PICTURE_SEED = 0  # every run's grids show the same latents, so that they can be compared
WORTH_A_LINE = 5_000  # samples whose scoring takes long enough to be told


Report = Callable[[int, Mapping[str, float | None]], str | None]  # images, scores by name -> why to give up, if so


class Pruned(Exception):
    """Others were better at this run's age."""


class Life:
    """The stages of a run that has its directory."""

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
        self.game, self.trainer = assembly.game, assembly.trainer
        self.scoring = Scoring(assembly, directory)
        self.trackers: list[Tracker] = [directory]  # it stays the first
        self.seconds_before, self.clock = 0.0, time.monotonic()
        self.picture: Path | None = None
        self.wandb: WandbTracker | None = None
        self.health: Health | None = None
        self.profile: Profile | None = None
        self.healthy: dict[str, Any] = {}  # the monitor's memory of nothing
        self.put_off = PutOff(lambda line: self.console.say(line))

    # -- start -------------------------------------------------------------------------------------------------------

    def live(self) -> int:
        with Signals() as signals:
            try:
                self._begin()
                self._train(signals)
                if signals.received and self.game.images < self.trainer.images:
                    return self._end("interrupted", f"signal {signals.received}", 128 + signals.received)
                return self._end("finished", None, 0)
            except Interrupted as stop:
                why = f"signal {stop.number}: trained and saved, not scored"
                return self._end("interrupted", why, 128 + stop.number)
            except KeyboardInterrupt:
                return self._end("interrupted", "a second interrupt: not saved", 130)
            except checkpoint.DamagedCheckpoints as error:
                return self._end("failed", str(error), 2)
            except Diverged as error:
                return self._end("diverged", str(error), 1)
            except Pruned as error:
                return self._end("pruned", str(error), 0)
            except BaseException as error:
                return self._fail(error)

    def _begin(self) -> None:
        state = checkpoint.load_newest(self.directory.checkpoints)
        if state is not None:
            self.game.load_state_dict(state["game"])
            self.seconds_before = state["seconds"]
            self.directory.recall(state.get("pending") or [])
            if state["about"]["threads"] != self.assembly.about["threads"]:
                warnings.warn(
                    f"this run was saved with {state['about']['threads']} threads and goes on with "
                    f"{self.assembly.about['threads']}: sums may differ in the last bits",
                    stacklevel=2,
                )
        self.directory.cut_back(self.game.images)
        self._write_quarantine()
        config = resolved(self.config, experiment=self.experiment, run_dir=str(self.directory.path))
        self.directory.write_config(OmegaConf.to_yaml(OmegaConf.create(config)))
        self.directory.update_summary(
            status="running", error=None, config_hash=config_hash(config), metrics={}, health=[],
            best=self.scoring.best(self._kept()), **self._counters(),
        )  # fmt: skip
        lines = [f"{self.experiment}: {self.directory.path}", *describe(self.config, self.assembly)]
        if state is not None:
            lines.append(f"goes on from {self.game.images:,} images")
        self._track(config, lines)
        self._add_hooks()
        if state is not None and state.get("log"):
            self.log.recall(state["log"], self.game.runtime.device)
        if self.health:
            self.healthy = copy.deepcopy(self.health.memory())
            if state is not None and state.get("health"):
                self.health.recall(state["health"])
                self._note_health()

    def _write_quarantine(self) -> None:
        """Pictures that cannot be read, by their paths, with the reasons."""
        dataset, held_out = self.assembly.dataset, self.assembly.held_out
        found = [(dataset, self.assembly.data)] + ([(getattr(dataset, "test", None), held_out)] if held_out else [])
        self.directory.write_quarantine(
            {
                str(Path(getattr(source, "path", None) or "", name)): why
                for source, store in found
                for name, why in store.skipped.items()
            }
        )

    def _track(self, config: dict[str, Any], lines: list[str]) -> None:
        settings = self.assembly.tracking.wandb
        mode, why = decide_mode(settings.mode)
        if mode != "disabled":
            parts = [config[part]["name"] for part in ("dataset", "generator", "discriminator", "loss")]
            parts += config.get("regularizer") or ()
            self.wandb = WandbTracker(
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
            self.trackers.append(self.wandb)
            lines.append(f"W&B {self.wandb.mode}{f': {why}' if why else ''}")
            self.directory.update_summary(wandb=self.wandb.link)
        self.console = Console(self.trainer.images, self.game.images, lines)
        self.assembly.evaluator.tell = self.console.say
        self.trackers.append(self.console)

    def _add_hooks(self) -> None:
        tracking = self.assembly.tracking
        periods = (tracking.samples_every, self.scoring.every, self.trainer.checkpoint_every)
        self.log = Log(tracking.log_every, self._record, also=periods)
        self.log.restart(self.game.images)
        self.game.add(self.log)
        actions = (self._look, self._select, self._save)
        for period, action in zip(periods, actions, strict=True):
            self.game.add(Do(period, action))
        if tracking.health:
            assembly = self.assembly
            self.health = Health(self.game, assembly.sampled_nets, tracking.log_every, self._warn, assembly.held_out)
            self.game.add(self.health)
        if self.trainer.profile:  # the last one: what others do now and then is theirs, in one row
            self.profile = Profile(self.console.say)
            self.game.add(self.profile)

    # -- while it trains ---------------------------------------------------------------------------------------------

    def _train(self, signals: Signals) -> None:
        try:
            self._play(signals)
        finally:
            if self.profile:
                self.profile.close()
        finished = self.game.images >= self.trainer.images
        self.save()
        self.directory.write_pending()  # the checkpoint has them, too, should the disk still refuse
        if finished:
            with signals.at_once():
                self._look(self.game)
                self._score()

    def _play(self, signals: Signals) -> None:
        """Train until the end or a signal: saving when asked to, and going back where the game diverges."""
        while True:
            try:
                train(self.game, self.trainer.images, lambda: signals.received is not None or signals.save)
                if self.game.images >= self.trainer.images:
                    self.log.flush(self.game, end=True)
            except Diverged as error:
                self._roll_back(error)
                continue
            if not signals.save or signals.received:
                return
            signals.save = False
            self._save(self.game)
            self.console.say(f"  {self.game.images:,} images: asked to save by signal {int(SAVE or 0)}")

    def _roll_back(self, error: Diverged) -> None:
        """Go back to the newest checkpoint from before the trouble with half the learning rates, or raise it again."""
        rates = next(hook for hook in self.game.hooks if isinstance(hook, LearningRate))
        halvings = rates.halvings + 1
        if halvings > self.trainer.rollbacks:
            raise error
        diverged_at, sound = self.game.images, self.log.sound
        checkpoint.drop_after(self.directory.checkpoints, sound)
        state = checkpoint.load_newest(self.directory.checkpoints)
        if state is None:  # from the beginning, which is cheaper to make again than to keep
            config = self.config.copy()
            config.trainer.compile = False  # it never plays, and torch would forget what the other one has compiled
            fresh = assemble(config)
            if self.config.init_from is not None:
                initialize_from(fresh, self.config.init_from)
            state = {"game": fresh.game.state_dict(), "health": None}
        self.game.load_state_dict(state["game"])
        rates.halvings = halvings
        self.log.restart(self.game.images)
        self.log.sound -= 1  # should it not recover, the next time goes further back
        self.picture = None
        if self.health:
            self.health.recall(copy.deepcopy(state.get("health") or self.healthy))
        self.directory.cut_back(self.game.images)
        # Saved anew, or a kill before the next save would forget that rates were halved.
        checkpoint.drop_after(self.directory.checkpoints, self.game.images - 1)
        self._save(self.game)
        entry = {"from": diverged_at, "to": self.game.images, "learning_rate": 0.5**halvings}
        with self.put_off("summary.json"):
            told = [*(self.directory.summary.get("rollbacks") or []), entry]
            self.directory.update_summary(rollbacks=told, best=self.scoring.best(self._kept()), **self._counters())
        self.console.say(
            f"  {diverged_at:,} images: {error.reason}. Back to {self.game.images:,} images, with learning rates x "
            f"{0.5**halvings:g} ({halvings} of {self.trainer.rollbacks} times)"
        )

    def _counters(self) -> dict[str, Any]:
        return {"images": self.game.images, "step": self.game.step, "seconds": round(self._seconds(), 3)}

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.clock

    def _record(self, record: dict[str, Any]) -> None:
        rates = {
            f"learning_rate/{player}": optimizer.param_groups[0]["lr"]
            for player, optimizer in self.game.optimizers.items()
        }
        counters = self._counters()
        # Here and not in a hook of its own: the time that a look takes is not training's.
        health = self.health.look(self.game) if self.health and self.health.period.due(self.game) else {}
        self._tell(record | counters | rates | health)
        with self.put_off("summary.json"):
            self.directory.update_summary(**counters)
        self._note_health()

    def _tell(self, record: dict[str, Any]) -> None:
        with self.put_off("metrics.jsonl", "its records are kept"):
            self.directory.record(record)
        for tracker in self.trackers[1:]:
            tracker.record(record)

    def _note_health(self) -> None:
        if self.health:
            with self.put_off("summary.json"):
                self.directory.update_summary(health=[asdict(warned) for warned in self.health.warned.values()])

    def _warn(self, warned: Warned) -> None:
        for tracker in self.trackers:
            tracker.warn(asdict(warned))

    def _save(self, game: Game, best: dict[str, Any] | None = None) -> None:
        with self.put_off("a checkpoint", self._what_is_kept()):
            self.save(best)

    def _kept(self) -> list[int]:
        """Images of the checkpoints that there are, newest first; none where the disk does not even tell."""
        try:
            return checkpoint.kept(self.directory.checkpoints)
        except OSError:
            return []

    def _what_is_kept(self) -> str:
        kept = self._kept()
        return f"the checkpoint of {kept[0]:,} images is kept" if kept else "there is no checkpoint yet"

    def save(self, best: dict[str, Any] | None = None) -> None:
        """Write a checkpoint; `best` is the score that makes it the best one, if it is that.

        Raises OSError where the disk refuses: the older ones are there, and nothing of this one.
        """
        game = self.game
        with self.put_off("metrics.jsonl", "its records are kept"):
            self.directory.write_pending()
            self.directory.sync()  # no checkpoint outlives a power cut without the records before it
        state = {
            "images": game.images,
            "seconds": self._seconds(),
            "game": game.state_dict(),
            "about": self.assembly.about,
            "pending": self.directory.pending,
            "log": self.log.memory(),
            "health": self.health.memory() if self.health else None,
        }
        earlier = self.directory.summary.get("best")
        spare = [earlier["images"]] if earlier else []
        if self.log.sound < game.images:  # should it have to go back behind this one
            spare += [images for images in self._kept() if images <= self.log.sound][:1]
        path = checkpoint.save(state, self.directory.checkpoints, keep=self.trainer.keep_checkpoints, spare=spare)
        if self.wandb:
            scores = {key: best[key] for key in ("metric", "value")} if best else {}
            about = {"config_hash": self.directory.summary["config_hash"], **scores}
            self.wandb.checkpoint(path, game.images, best=bool(scores), metadata=about)

    def _samples(self, num: int, seed: int) -> torch.Tensor:
        with inference(self.assembly.sampled_nets, self.assembly.evaluation.batch_norm) as nets:
            samples: torch.Tensor = self.game.task.sample(nets, num, seed)
        return samples

    @contextlib.contextmanager
    def _if_memory_allows(self, what: str) -> Iterator[None]:
        """Beside training: what needs more memory than there is, is left out."""
        try:
            yield
        except Exception as error:
            if not out_of_memory(error):
                raise
            self.console.say(f"  {self.game.images:,} images: out of memory, {what} left out: {_first_line(error)}")

    def _look(self, game: Game) -> None:
        with self._if_memory_allows("this picture is"), self.put_off("a picture"):
            self._paint(game)

    def _paint(self, game: Game) -> None:
        points = len(self.assembly.dataset.sample_shape) == 1
        samples = self._samples(1000 if points else self.assembly.tracking.samples, PICTURE_SEED)
        picture = self.directory.samples / f"{game.images}.png"
        if picture == self.picture:  # the last period ended with the run
            return
        pictures.save(samples, picture, self.assembly.data.columns["sample"][:2000] if points else None)
        self.picture = picture
        for tracker in self.trackers:
            tracker.picture(self.picture, game.images)

    def _select(self, game: Game) -> None:
        """Score what there is, and keep it if it is the best so far."""
        scores: Scores = {}
        with self._if_memory_allows("this score is"):
            scores = self.scoring.while_training()
        if not scores:
            return
        self._tell(self._counters() | {SELECTION + name: entry["value"] for name, entry in scores.items()})
        best = self.scoring.best([game.images, *self._kept()])
        if best and best["images"] == game.images:
            self._save(game, best)
        with self.put_off("summary.json"):
            self.directory.update_summary(best=self.scoring.best(self._kept()), selection=scores)
        if self.report and (why := self.report(game.images, {name: entry["value"] for name, entry in scores.items()})):
            raise Pruned(why)

    def _score(self) -> None:
        if self.assembly.evaluator.metrics and self.assembly.evaluation.samples >= WORTH_A_LINE:
            seeds = self.assembly.evaluation.noise_seeds
            self.console.say(f"  scoring {self.assembly.evaluation.samples:,} samples of {seeds} noise seeds")
        scores, picture = self.scoring.at_the_end()
        if picture is not None:
            path = self.directory.samples / "neighbours.png"
            pictures.save_image(picture, path)
            for tracker in self.trackers:
                tracker.picture(path, self.game.images, "neighbours")
        self.directory.update_summary(metrics=scores)

    # -- end ---------------------------------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> int:
        there = self._what_is_kept()
        if isinstance(error, OSError) and of_disk(error):
            return self._end(
                "failed", f"{error.strerror or error}; {there}: {remedy(error)}, and repeat the command", 2
            )
        if out_of_memory(error):
            trained = self.game.images >= self.trainer.images
            todo = "it is trained; repeat the command with fewer evaluation.samples" if trained else MORE_MEMORY
            return self._end("failed", f"out of memory ({_first_line(error)}); {there}: {todo}", 1)
        with contextlib.suppress(OSError):
            traceback.print_exc()
        what = "exited" if isinstance(error, SystemExit) else type(error).__name__
        return self._end("failed", f"{what}: {error}", 1)

    def _end(self, status: str, error: str | None, code: int) -> int:
        try:
            self.directory.update_summary(status=status, error=error, **self._counters())
        except OSError as trouble:  # the disk that failed the run may refuse this, too
            error = f"{error or status}; the summary could not be written: {trouble.strerror}"
            code = code or 2
        for tracker in self.trackers:
            tracker.finish(self.directory.summary)
        if error:
            with contextlib.suppress(OSError):  # a log file on the disk that is full
                print(f"gan-lab: {status}: {error}", file=sys.stderr)
        if hasattr(self, "console"):
            lines = last_words(self.directory.summary, self.directory.path, self.picture, short=self.sweep is not None)
            for line in lines:
                self.console.say(line)
        return code


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
