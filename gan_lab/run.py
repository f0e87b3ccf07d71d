"""One run's life in its directory: start or go on, train, save, look, score, and an ending that is always written."""

from __future__ import annotations

import contextlib
import errno
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from gan_lab import __version__
from gan_lab.config import config_hash
from gan_lab.core import checkpoint
from gan_lab.core.hooks import Diverged, Do, Log
from gan_lab.core.loop import Game, train
from gan_lab.core.runtime import inference
from gan_lab.health import Health, Warned
from gan_lab.scoring import Scoring
from gan_lab.signals import Signals
from gan_lab.tracking import Tracker, pictures
from gan_lab.tracking.console import Console, last_words, terminal
from gan_lab.tracking.run_directory import SELECTION, RunDirectory
from gan_lab.tracking.wandb import WandbTracker, decide_mode
from gan_lab.train import Assembly, assemble, describe, resolved, state_bytes
from gan_lab.warm_start import initialize_from

PICTURE_SEED = 0  # every run's grids show the same latents, so that they can be compared
Told = Callable[[str], object]
WORTH_A_LINE = 5_000  # samples whose scoring takes long enough to be told
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def preflight(config: DictConfig, path: Path) -> None:
    """Everything that can be wrong, found before anything is written. Raises ValueError."""
    assembly = assemble(config)
    directory = RunDirectory(path)
    _check(directory, assembly, config)
    if directory.locked():
        raise ValueError(f"run_dir={path} is in use: another process trains there")
    decide_mode(assembly.tracking.wandb.mode)


def _check(directory: RunDirectory, assembly: Assembly, config: DictConfig) -> None:
    directory.check(config_hash(resolved(config)), config.resume)
    planned = directory.path / "config.yaml"
    if directory.summary and planned.exists():  # a job that could not be built has a summary alone
        before = yaml.safe_load(planned.read_text())["trainer"]["images"]
        if before != assembly.trainer.images and (depends := assembly.about["depends_on_duration"]):
            raise ValueError(
                f"run_dir={directory.path} was planned for {before:,} images, and "
                f"schedule/{depends[0]}={config.schedule[depends[0]].name} depends on that: repeat "
                f"trainer.images={before}, or give another run_dir"
            )
    if config.init_from is not None and not directory.summary.get("images"):  # what goes on has its own weights
        initialize_from(assembly, config.init_from)
    parent = next(p for p in (directory.path, *directory.path.absolute().parents) if p.exists())
    selects = bool(assembly.evaluation.every and assembly.evaluator.metrics)
    kept = assembly.trainer.keep_checkpoints + selects  # the best is kept, too
    needed, free = (kept + 1) * state_bytes(assembly), shutil.disk_usage(parent).free
    if free < needed:
        raise ValueError(
            f"run_dir={directory.path}: its disk has {free / 1e6:,.1f} MB free, and {kept} checkpoints and one being "
            f"written take {needed / 1e6:,.1f} MB"
        )


def _finished(directory: RunDirectory, config: DictConfig) -> bool:
    summary = directory.summary
    same = summary.get("config_hash") == config_hash(resolved(config))
    done = summary.get("status") == "finished" and summary["images"] >= config.trainer.images
    return same and done and config.resume == "auto"


def run(
    config: DictConfig,
    path: Path,
    *,
    experiment: str,
    sweep: str | None = None,
    name: str | None = None,
    refused: Told | None = None,
) -> int:
    """Train what the config says in the directory, or go on there. Returns the exit code; never raises.

    0 finished, 1 failed or diverged, 2 could not start, 130 or 143 interrupted and saved. Whatever the parts do,
    raising or exiting, stays in this run. `name` is what a person calls a sweep's job. `refused` is told why it could
    not start: an older run's summary is left as it is.
    """
    directory = RunDirectory(path)
    claimed = False
    try:
        if _finished(directory, config):
            terminal().print(f"already finished: {path}", markup=False)
            return 0
        assembly = assemble(config)
        _check(directory, assembly, config)
        directory.lock()
        claimed = True
        return _Life(config, assembly, directory, experiment, sweep, name).live()
    except ValueError as error:
        return _could_not_start(directory, config, str(error), refused)
    except OSError as error:
        return _could_not_start(directory, config, f"{error.strerror or error}: {error.filename or path}", refused)
    except KeyboardInterrupt:  # while it was built: there is nothing to save
        return 130
    except BaseException as error:  # a part's own trouble while it was built
        traceback.print_exc()
        return _could_not_start(directory, config, f"{type(error).__name__}: {error}", refused, code=1)
    finally:
        if claimed:
            directory.release()


def _could_not_start(
    directory: RunDirectory, config: DictConfig, message: str, refused: Told | None, code: int = 2
) -> int:
    print(f"gan-lab: {message}", file=sys.stderr)
    if refused:
        refused(message)
    if directory.path.is_dir() and not directory.summary:  # a sweep's job: its table tells why
        with contextlib.suppress(OSError, ValueError):
            directory.update_summary(
                status="failed", error=message, config_hash=config_hash(resolved(config)), images=0, step=0,
                seconds=0.0, metrics={},
            )  # fmt: skip
    return code


class _Life:
    """The stages of a run that has its directory."""

    def __init__(
        self,
        config: DictConfig,
        assembly: Assembly,
        directory: RunDirectory,
        experiment: str,
        sweep: str | None,
        name: str | None,
    ) -> None:
        self.config, self.assembly, self.directory = config, assembly, directory
        self.experiment, self.sweep, self.name = experiment, sweep, name
        self.game, self.trainer = assembly.game, assembly.trainer
        self.scoring = Scoring(assembly, directory)
        self.trackers: list[Tracker] = [directory]
        self.seconds_before, self.clock = 0.0, time.monotonic()
        self.picture: Path | None = None
        self.wandb: WandbTracker | None = None
        self.health: Health | None = None

    # -- start -------------------------------------------------------------------------------------------------------

    def live(self) -> int:
        with Signals() as signals:
            try:
                self._begin()
                self._train(signals)
                if signals.received and self.game.images < self.trainer.images:
                    return self._end("interrupted", f"signal {signals.received}", 128 + signals.received)
                return self._end("finished", None, 0)
            except KeyboardInterrupt:
                return self._end("interrupted", "a second interrupt: not saved", 130)
            except checkpoint.DamagedCheckpoints as error:
                return self._end("failed", str(error), 2)
            except Diverged as error:
                return self._end("diverged", str(error), 1)
            except OSError as error:
                if error.errno in DISK_TROUBLE:
                    reason = f"{error.strerror or error}: free some space and repeat the command to go on"
                    return self._end("failed", reason, 2)
                return self._fail(error)
            except BaseException as error:
                return self._fail(error)

    def _begin(self) -> None:
        state = checkpoint.load_newest(self.directory.checkpoints)
        if state is not None:
            self.game.load_state_dict(state["game"])
            self.seconds_before = state["seconds"]
            if state["about"]["threads"] != self.assembly.about["threads"]:
                warnings.warn(
                    f"this run was saved with {state['about']['threads']} threads and goes on with "
                    f"{self.assembly.about['threads']}: sums may differ in the last bits",
                    stacklevel=2,
                )
        self.directory.cut_back(self.game.images)
        config = resolved(self.config, experiment=self.experiment, run_dir=str(self.directory.path))
        self.directory.write_config(OmegaConf.to_yaml(OmegaConf.create(config)))
        self.directory.update_summary(
            status="running", error=None, config_hash=config_hash(config), metrics={}, health=[],
            best=self.scoring.best(), **self._counters(),
        )  # fmt: skip
        lines = [f"{self.experiment}: {self.directory.path}", *describe(self.config, self.assembly)]
        if state is not None:
            lines.append(f"goes on from {self.game.images:,} images")
        self._track(config, lines)
        self._add_hooks()
        if self.health and state is not None and state.get("health"):
            self.health.recall(state["health"])
            self._note_health()

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
            lines.append(f"W&B {mode}{f': {why}' if why else ''}")
            self.directory.update_summary(wandb=self.wandb.link)
        self.console = Console(self.trainer.images, self.game.images, lines)
        self.assembly.evaluator.tell = self.console.say
        self.trackers.append(self.console)

    def _add_hooks(self) -> None:
        tracking = self.assembly.tracking
        periods = (tracking.samples_every, self.scoring.every, self.trainer.checkpoint_every)
        self.log = Log(tracking.log_every, self._record, also=periods)
        self.game.add(self.log)
        actions = (self._look, self._select, self._save)
        for period, action in zip(periods, actions, strict=True):
            self.game.add(Do(period, action))
        if tracking.health:
            assembly = self.assembly
            self.health = Health(self.game, assembly.sampled_nets, tracking.log_every, self._warn, assembly.held_out)
            self.game.add(self.health)

    # -- while it trains ---------------------------------------------------------------------------------------------

    def _train(self, signals: Signals) -> None:
        train(self.game, self.trainer.images, lambda: signals.received is not None)
        finished = self.game.images >= self.trainer.images
        if finished:
            self.log.flush(self.game)
        self._save(self.game)
        if finished:
            self._look(self.game)
            self._score()

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
        for tracker in self.trackers:
            tracker.record(record | counters | rates | health)
        self.directory.update_summary(**counters)
        self._note_health()

    def _note_health(self) -> None:
        if self.health:
            self.directory.update_summary(health=[asdict(warned) for warned in self.health.warned.values()])

    def _warn(self, warned: Warned) -> None:
        for tracker in self.trackers:
            tracker.warn(asdict(warned))

    def _save(self, game: Game) -> None:
        state = {
            "images": game.images,
            "seconds": self._seconds(),
            "game": game.state_dict(),
            "about": self.assembly.about,
            "health": self.health.memory() if self.health else None,
        }
        best = self.directory.summary.get("best")
        spare = [best["images"]] if best else []
        path = checkpoint.save(state, self.directory.checkpoints, keep=self.trainer.keep_checkpoints, spare=spare)
        if self.wandb:
            scores = {key: best[key] for key in ("metric", "value")} if best and spare == [game.images] else {}
            about = {"config_hash": self.directory.summary["config_hash"], **scores}
            self.wandb.checkpoint(path, game.images, best=bool(scores), metadata=about)

    def _samples(self, num: int, seed: int) -> torch.Tensor:
        with inference(self.assembly.sampled_nets, self.assembly.evaluation.batch_norm) as nets:
            samples: torch.Tensor = self.game.task.sample(nets, num, seed)
        return samples

    def _look(self, game: Game) -> None:
        points = len(self.assembly.dataset.sample_shape) == 1
        samples = self._samples(1000 if points else self.assembly.tracking.samples, PICTURE_SEED)
        picture = self.directory.samples / f"{game.images}.png"
        if picture == self.picture:  # the last period ended with the run
            return
        self.picture = picture
        pictures.save(samples, self.picture, self.assembly.data.columns["sample"][:2000] if points else None)
        for tracker in self.trackers:
            tracker.picture(self.picture, game.images)

    def _select(self, game: Game) -> None:
        """Score what there is, and keep it if it is the best so far."""
        scores = self.scoring.while_training()
        record = self._counters() | {SELECTION + name: entry["value"] for name, entry in scores.items()}
        for tracker in self.trackers:
            tracker.record(record)
        best = self.scoring.best()
        self.directory.update_summary(best=best, selection=scores)
        if best and best["images"] == game.images:
            self._save(game)

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
            print(f"gan-lab: {status}: {error}", file=sys.stderr)
        if hasattr(self, "console"):
            lines = last_words(self.directory.summary, self.directory.path, self.picture, short=self.sweep is not None)
            for line in lines:
                self.console.say(line)
        return code


def run_job(config: DictConfig, sweep: str | None = None, name: str | None = None, refused: Told | None = None) -> int:
    """`run` for the job that Hydra has made a folder for."""
    from hydra.core.hydra_config import HydraConfig

    job = HydraConfig.get().runtime
    path, here = Path(job.output_dir), Path.cwd()
    path = path.relative_to(here) if path.is_relative_to(here) else path
    return run(config, path, experiment=job.choices.get("experiment", "none"), sweep=sweep, name=name, refused=refused)
