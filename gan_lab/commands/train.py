"""`gan-lab train`: compose, check everything, and only then let Hydra make folders and jobs."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.commands.train_help import help_text
from gan_lab.config import hydra_store, quick_hydra
from gan_lab.config.composition import check_each_value, compose, first_value, hydra_message, parse_words
from gan_lab.config.hydra_store import without_hydra
from gan_lab.config.identity import job_name
from gan_lab.config.overrides import Arguments, check_number, check_params, check_shown, check_sweep, parse
from gan_lab.config.presets import CONF, RECIPES, sets_hydra_options
from gan_lab.config.sections import sections
from gan_lab.core.files import oddity
from gan_lab.run import signals
from gan_lab.run.place import place
from gan_lab.sweeping import plan

COMPLETION = ("--shell-completion", "-sc")
COMPLETION_WORD = re.compile(r"(install|uninstall|query)=(bash|zsh|fish)")


@dataclass(frozen=True)
class Command:
    """The checked command: one run, a sweep (`swept` is set), or output of Hydra alone (`composed` is None)."""

    arguments: Arguments
    composed: DictConfig | None = None  # with Hydra's own node; None: nothing is trained
    swept: Sequence[Override] | None = None
    help: str | None = None  # print this, and do nothing else


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int  # the exit code
    folder: Path | None = None  # of the run or sweep; None where nothing was trained
    refused: str | None = None  # why the run could not start


def train(argv: Sequence[str], wanted: Literal["run", "sweep"] | None = None) -> Done:
    """Run `gan-lab train` with these arguments. Raises ValueError for wrong usage, and for what is not `wanted`.

    A run or sweep that ends at Slurm's warning is put back into Slurm's queue.
    """
    codes: list[int] = []
    reasons: list[str] = []
    folder = None
    with signals.before_training(codes.append):
        if place().rank:
            from gan_lab.run.follower import follow

            return Done(follow(lambda: without_hydra(parse_command(argv).composed or DictConfig({}))))
        command = parse_command(argv)
        _check_wanted(command, wanted)
        if command.help:
            print(command.help, end="")
            return Done(0)
        folder = _place(command)
        if folder is not None and command.swept is not None:
            if place().world > 1:
                raise ValueError("torchrun and srun start one run; for a sweep, give trainer.processes=N")
            codes.append(sweep(command, folder))
        else:
            words, job = prepare(command, folder, codes.append, reasons.append)
            with _hydra_reads(words, codes.append), quick_hydra.known_mode(command.composed):
                hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    signals.requeue_after(codes[0])
    return Done(codes[0], folder, next(iter(reasons), None))


def _check_wanted(command: Command, wanted: str | None) -> None:
    if wanted is None:
        return
    if command.composed is None:
        raise ValueError(f"{command.arguments.flags[0]}: this trains nothing; it is for the command line")
    if wanted == "run" and command.swept is not None:
        raise ValueError("several values make a sweep: gan_lab.sweep([...])")


def _place(command: Command) -> Path | None:
    """The folder of the run or sweep; None where nothing is trained."""
    arguments, composed = command.arguments, command.composed
    if composed is None:
        return None
    choices = composed.hydra.runtime.choices
    if command.swept is not None:
        name = _folder(composed, "sweep_name") or _sweep_name(arguments, choices)
        if name in (".", "..") or "/" in name or os.sep in name:
            raise ValueError(f"sweep_name={name}: give a name, not a path; where the sweep lies is sweep_dir=...")
        return Path(_folder(composed, "sweep_dir") or f"sweeps/{name}")
    # When Slurm queues the job again, the same command continues the run, so the folder's name must be the same.
    run_name = f"slurm-{signals.job_id()}-{job_name(arguments.overrides)[:6]}" if signals.job_id() else None
    run_name = run_name or time.strftime("%Y-%m-%d_%H-%M-%S")
    return Path(_folder(composed, "run_dir") or f"runs/{choices.experiment}/{run_name}")


# -- from arguments to a command ---------------------------------------------------------------------------------------


def parse_command(argv: Sequence[str]) -> Command:
    """Parse, compose and check. Writes nothing; raises ValueError in one line for what cannot be run."""
    hydra_store.publish()
    if argv and argv[0] in COMPLETION:
        if not all(COMPLETION_WORD.fullmatch(word) for word in argv[1:]):
            raise ValueError(f"{argv[0]}: give install=SHELL, uninstall=SHELL or query=SHELL alone; bash, zsh or fish")
        return Command(Arguments(flags=list(argv)))  # incomplete words, which cannot be checked
    arguments = parse(argv)
    parsed = parse_words(arguments.all_overrides)
    if arguments.passive:
        if not arguments.asks_for_help:
            _refuse_several(parsed, "--cfg and --info show one config, so give one value")
        composed = compose([first_value(override) for override in parsed])
        check_shown(arguments, without_hydra(composed))
        return Command(arguments, help=help_text(composed, arguments.folders) if arguments.asks_for_help else None)
    swept = _sweep_words(arguments, parsed)
    composed = compose([first_value(override) for override in swept or parsed])
    if swept is None:
        _refuse_several(parsed, "several values make a sweep: gan-lab train -m ...")
    else:
        check_each_value(swept, composed)
    return Command(arguments, composed, swept)


def _sweep_words(arguments: Arguments, parsed: Sequence[Override]) -> list[Override] | None:
    """The words of a sweep, from the presets and the command line: swept ones, and those that all jobs share.

    None where this is not a sweep. Raises ValueError for what cannot be swept.
    """
    if not arguments.multirun and not any(_may_sweep(override) for override in parsed):
        return None
    # First with the presets alone: other words of the command line may be for a part that a preset's sweep chooses.
    composed = compose([first_value(override) for override in parsed if _is_preset(override)])
    choices = composed.hydra.runtime.choices
    if not (arguments.multirun or choices.search != "none" or composed.hydra.mode == RunMode.MULTIRUN):
        return None
    check_sweep(parsed)
    where = f"search={choices.search}" if choices.search != "none" else f"experiment={choices.experiment}"
    params = check_params(composed.hydra.sweeper.get("params") or {}, where, arguments.folders)
    words = plan.merged(parse_words(params), parsed)
    check_sweep(words)
    check_number(words)
    return words


def _is_preset(override: Override) -> bool:
    return plan.of_hydra(override) or override.key_or_group in RECIPES


def _may_sweep(override: Override) -> bool:
    """Whether a word alone can make a sweep: any preset except an experiment without options of Hydra."""
    if override.key_or_group == "experiment":
        return sets_hydra_options(str(override.value()))
    return override.key_or_group in ("search", "hydra.mode")


def _refuse_several(parsed: Sequence[Override], why: str) -> None:
    if several := next((override for override in parsed if override.is_sweep_override()), None):
        raise ValueError(f"{several.input_line}: {why}")


# -- one run -----------------------------------------------------------------------------------------------------------


def prepare(
    command: Command, path: Path | None, ended: Callable[[int], object], refused: Callable[[str], object]
) -> tuple[list[str], Callable[[DictConfig], object]]:
    """Hydra's words for one run, and the function that Hydra calls.

    `ended` receives the run's exit code, and `refused` why it could not start. Raises ValueError for everything that is
    wrong with the run, before anything is written.
    """
    arguments, composed = command.arguments, command.composed
    words = [*arguments.flags, *arguments.all_overrides]
    if composed is None or path is None:
        return words, lambda config: None
    from gan_lab.run.preflight import preflight
    from gan_lab.run.start import run

    assembly = preflight(without_hydra(composed), path)
    job = functools.partial(run, assembly=assembly, refused=refused, ended=ended)
    return [*words, f"run_dir={_quote(path)}"], job


# -- a sweep -----------------------------------------------------------------------------------------------------------


def sweep(command: Command, folder: Path) -> int:
    """Run a sweep's jobs and print their table. Returns the exit code."""
    from gan_lab.sweeping.supervise import supervise
    from gan_lab.tracking.server import decide_mode

    arguments, composed, words = command.arguments, command.composed, command.swept
    assert composed is not None
    assert words is not None
    choices = composed.hydra.runtime.choices
    _check_writable(folder)
    mode, why = decide_mode(sections(without_hydra(composed))[2].wandb.mode)
    jobs = plan.jobs(words) if choices["hydra/sweeper"] == "basic" else None
    workers = plan.workers(composed.hydra, len(jobs) if jobs else None, composed.trainer.processes)
    search = (
        _search(composed, words, folder) if choices["hydra/sweeper"] == "optuna" else None
    )  # last, because it writes
    flags = [flag for flag in arguments.flags if flag not in ("-m", "--multirun")]
    # The other words are in the jobs' own overrides: Hydra would look for their keys before a swept part has them.
    presets = [word.input_line for word in words if _is_preset(word) and not word.is_sweep_override()]
    argv = ["-m", *flags, *(presets if jobs or search else arguments.all_overrides), *workers.overrides]
    if workers.count > 1 and mode != "disabled":  # else each job prints it
        print(f"W&B {mode}{f': {why}' if why else ''}")
    return supervise(
        lambda job: _hydra([*argv, f"hydra.sweep.dir={_quote(folder)}"], job), jobs, folder, workers, search
    )


def _sweep_name(arguments: Arguments, choices: Any) -> str:
    """A sweep's name, from its words and without a time, so that the same command continues the sweep."""
    experiments = next((o.partition("=")[2] for o in arguments.overrides if o.startswith("experiment=")), None)
    chosen = (experiments or choices.experiment).replace(",", "+")
    title = chosen if choices.search == "none" else f"{choices.search}-{chosen}"
    words = [override for override in arguments.overrides if not override.startswith("hydra")]
    return f"{title}-{job_name(words)[:8]}"


def _search(composed: DictConfig, words: Sequence[Override], folder: Path) -> Any:
    """The search of Optuna's sweeper, checked. Raises ValueError where it cannot be run."""
    from gan_lab.sweeping import space, study

    space.import_optuna()
    conf = composed.hydra.sweeper
    objectives = study.objectives(without_hydra(composed), conf.metrics)
    search = study.Search(list(words), objectives, conf, folder, composed.trainer.images)
    search.open()
    return search


def _folder(composed: DictConfig, key: str) -> str | None:
    value = composed[key]
    if OmegaConf.is_config(value):
        raise ValueError(f"{key}={value}: expected a path")
    return None if value is None else str(value)


def _check_writable(sweep_dir: Path) -> None:
    """Raise ValueError where the folder cannot be created. Hydra would print a traceback."""
    parent = next(path for path in (sweep_dir, *sweep_dir.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise ValueError(f"sweep_dir={sweep_dir}: {parent} is a file; give a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"sweep_dir={sweep_dir} cannot be written: {parent} is read-only for this user")
    if wrong := oddity(sweep_dir / "multirun.yaml"):  # which Hydra writes
        raise ValueError(f"{wrong}; move it away")


# -- Hydra's own main --------------------------------------------------------------------------------------------------


def _quote(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


@contextlib.contextmanager
def _hydra_reads(argv: Sequence[str], ended: Callable[[int], object]) -> Iterator[None]:
    """A context in which Hydra's main reads these words. At its end, `ended` receives the exit code."""
    before, sys.argv = sys.argv, ["gan-lab" if argv[:1] and argv[0] in COMPLETION else "gan-lab train", *argv]
    code = 0
    try:
        yield
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (HydraException, OmegaConfBaseException) as error:  # with HYDRA_FULL_ERROR=1
        raise ValueError(hydra_message(error)) from error
    finally:
        sys.argv = before
    ended(code)


def _hydra(argv: Sequence[str], job: Callable[[DictConfig], Any]) -> int:
    """Hydra's main on these words. Returns its exit code."""
    codes: list[int] = []
    with _hydra_reads(argv, codes.append):
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    return codes[0]
