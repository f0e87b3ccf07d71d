"""Runs one training in its directory, from a config to an exit code: the function that Hydra calls."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from omegaconf import DictConfig

from gan_lab.config.identity import config_hash, resolved
from gan_lab.config.redaction import redacted
from gan_lab.config.sections import sections
from gan_lab.core.files import printable
from gan_lab.display.terminal import terminal
from gan_lab.run.assembly import Assembly
from gan_lab.run.failures import out_of_memory
from gan_lab.run.launch import launch
from gan_lab.run.place import starts_others
from gan_lab.run.precision import settle_precision
from gan_lab.run.preflight import ready
from gan_lab.run.ranks import Ranks
from gan_lab.run.selection import Report
from gan_lab.run.signals import Interrupted
from gan_lab.run.training_run import TrainingRun
from gan_lab.tracking.run_directory import RunDirectory

Tell = Callable[[str], object]


def run(
    config: DictConfig,
    path: Path | None = None,
    *,
    experiment: str | None = None,
    sweep: str | None = None,
    name: str | None = None,
    assembly: Assembly | None = None,
    refused: Tell | None = None,
    report: Report | None = None,
    ranks: Ranks | None = None,
    ended: Callable[[int], object] = lambda code: None,
) -> int:
    """Train with the config in the directory, or continue there. Returns the exit code; never raises.

    0 finished, 1 failed or diverged, 2 could not start, 130 or 143 interrupted and saved. An exception or exit of a
    part ends this run only. `path` and `experiment` are by default those of Hydra's job. `assembly` is the result of an
    earlier check of the same config. `name` is the display name of a sweep's job. `refused` receives the reason where
    the run could not start; the summary of an older run is not changed. `report` receives scores during training; it
    returns a reason to prune, or None. `ranks` are the processes of this run, of which this one is the first. `ended`
    receives the exit code, which Hydra does not return.
    """
    path, experiment = path or _hydras_folder(), experiment or _hydras_experiment()
    directory = RunDirectory(path)
    codes: list[int] = []
    with _could_not_start(directory, config, refused, codes.append):
        settle_precision(config, path)
        if finished(directory, config):
            terminal().print(f"already finished: {path}", markup=False)
            codes.append(0)
            if assembly:
                assembly.ranks.end()
        elif starts_others(trainer := sections(config)[0]):
            assembly = None  # the processes that train have their own
            codes.append(launch(config, trainer, path, experiment, sweep, name, report, refused))
        else:
            assembly = assembly or ready(config, directory, ranks)
            with assembly.ranks, directory.locked_by_us():
                codes.append(TrainingRun(config, assembly, directory, experiment, sweep, name, report).train())
    ended(codes[0])
    return codes[0]


def finished(directory: RunDirectory, config: DictConfig) -> bool:
    """Whether the directory has a finished run of this config."""
    summary = directory.summary
    same = summary.get("config_hash") == config_hash(resolved(config))
    done = summary.get("status") == "finished" and summary.get("images", 0) >= config.trainer.images
    return same and done and config.resume == "auto"


def _hydras_folder() -> Path:
    """The folder of Hydra's job, relative to the working directory where it is inside it."""
    from hydra.core.hydra_config import HydraConfig

    path, here = Path(HydraConfig.get().runtime.output_dir), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _hydras_experiment() -> str:
    from hydra.core.hydra_config import HydraConfig

    return str(HydraConfig.get().runtime.choices.get("experiment", "none"))


@contextlib.contextmanager
def _could_not_start(
    directory: RunDirectory, config: DictConfig, refused: Tell | None, ended: Callable[[int], object]
) -> Iterator[None]:
    """A context before training. An error becomes one line, a summary for a sweep's table, and an exit code."""
    message, code = "", 0
    try:
        yield
    except KeyboardInterrupt as stop:  # during assembly: there is nothing to save
        ended(128 + (stop.number if isinstance(stop, Interrupted) else 2))
    except ValueError as error:
        message, code = str(error), 2
    except OSError as error:
        message, code = f"{error.strerror or error}: {error.filename or directory.path}", 2
    except BaseException as error:  # a part failed during assembly
        if not out_of_memory(error):
            print(redacted(traceback.format_exc()), end="", file=sys.stderr)
        message, code = f"{type(error).__name__}: {error}", 1
    if not code:
        return
    message = redacted(message)
    print(printable(f"gan-lab: {message}"), file=sys.stderr)
    if refused:
        refused(message)
    if directory.path.is_dir() and not directory.summary:  # for the sweep's table
        with contextlib.suppress(OSError, ValueError):
            directory.update_summary(
                status="failed", error=message, config_hash=config_hash(resolved(config)), images=0, step=0,
                seconds=0.0, metrics={},
            )  # fmt: skip
    ended(code)
