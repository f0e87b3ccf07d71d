"""`gan-lab train` in one directory: what is checked before anything is written, and how a run may not even start."""

from __future__ import annotations

import contextlib
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import yaml
from omegaconf import DictConfig

from gan_lab.config import config_hash
from gan_lab.life import Life, Report
from gan_lab.signals import Interrupted
from gan_lab.tracking.console import terminal
from gan_lab.tracking.run_directory import RunDirectory
from gan_lab.tracking.wandb import decide_mode
from gan_lab.train import Assembly, assemble, resolved, state_bytes
from gan_lab.trouble import out_of_memory
from gan_lab.warm_start import initialize_from

Told = Callable[[str], object]


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


def finished(directory: RunDirectory, config: DictConfig) -> bool:
    """Whether such a run is there and has nothing left to do."""
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
    report: Report | None = None,
) -> int:
    """Train what the config says in the directory, or go on there. Returns the exit code; never raises.

    0 finished, 1 failed or diverged, 2 could not start, 130 or 143 interrupted and saved. Whatever the parts do,
    raising or exiting, stays in this run. `name` is what a person calls a sweep's job. `refused` is told why it could
    not start: an older run's summary is left as it is. `report` is told the scores while training, and why to give up.
    """
    directory = RunDirectory(path)
    claimed = False
    try:
        if finished(directory, config):
            terminal().print(f"already finished: {path}", markup=False)
            return 0
        assembly = assemble(config)
        _check(directory, assembly, config)
        directory.lock()
        claimed = True
        return Life(config, assembly, directory, experiment, sweep, name, report).live()
    except ValueError as error:
        return _could_not_start(directory, config, str(error), refused)
    except OSError as error:
        return _could_not_start(directory, config, f"{error.strerror or error}: {error.filename or path}", refused)
    except Interrupted as stop:  # while it was built: there is nothing to save
        return 128 + stop.number
    except KeyboardInterrupt:
        return 130
    except BaseException as error:  # a part's own trouble while it was built
        if not out_of_memory(error):
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


def run_job(
    config: DictConfig,
    sweep: str | None = None,
    name: str | None = None,
    refused: Told | None = None,
    report: Report | None = None,
) -> int:
    """`run` for the job that Hydra has made a folder for."""
    from hydra.core.hydra_config import HydraConfig

    job = HydraConfig.get().runtime
    path, here = Path(job.output_dir), Path.cwd()
    path = path.relative_to(here) if path.is_relative_to(here) else path
    return run(
        config,
        path,
        experiment=job.choices.get("experiment", "none"),
        sweep=sweep,
        name=name,
        refused=refused,
        report=report,
    )
