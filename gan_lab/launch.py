"""`gan-lab train`: compose, check everything, and only then let Hydra make folders and jobs."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab import config as gan_lab_config
from gan_lab import signals
from gan_lab.config import CONF, job_name, without_hydra
from gan_lab.overrides import Arguments, check_params, check_sweep, parse
from gan_lab.registry import unknown, unknown_key
from gan_lab.sweep import plan


def launch(argv: Sequence[str]) -> int:
    """Run what the words behind `gan-lab train` say. Returns the exit code; raises ValueError for wrong usage.

    A run or sweep that Slurm's warning has ended is put back into Slurm's queue.
    """
    with signals.before_training():
        try:
            code = _launch(argv)
        except signals.Interrupted as stop:
            code = 128 + stop.number
    signals.requeue_after(code)
    return code


def _launch(argv: Sequence[str]) -> int:
    gan_lab_config.publish()
    if any(word.startswith(("--shell-completion", "-sc")) for word in argv):
        return _hydra(argv)  # half-typed words: nothing to check
    arguments = parse(argv)
    parsed = _parse(arguments.all_overrides)
    if arguments.passive:
        if not arguments.asks_for_help:
            _refuse_several(parsed, "--cfg and --info show one config, so give one value")
            _compose([_first_value(override) for override in parsed])
        return _hydra([*arguments.flags, *arguments.all_overrides])
    words = _sweep_words(arguments, parsed)
    composed = _compose([_first_value(override) for override in words or parsed])
    if words is None:
        _refuse_several(parsed, "several values make a sweep: gan-lab train -m ...")
        return _train_one(arguments, composed)
    _check_each_value(words, composed)
    return _sweep(arguments, words, composed)


def _sweep_words(arguments: Arguments, parsed: Sequence[Override]) -> list[Override] | None:
    """What a sweep runs over, by the presets and the command line, and all that its jobs have in common.

    None where this is no sweep. Raises ValueError for what cannot be swept.
    """
    if not arguments.multirun and not any(_may_sweep(override) for override in parsed):
        return None
    # The presets alone first: a word of the command line may be about a part that a preset chooses.
    composed = _compose([_first_value(override) for override in parsed if _is_preset(override)])
    choices = composed.hydra.runtime.choices
    if not (arguments.multirun or choices.search != "none" or composed.hydra.mode == RunMode.MULTIRUN):
        return None
    check_sweep(parsed)
    where = f"search={choices.search}" if choices.search != "none" else f"experiment={choices.experiment}"
    params = check_params(composed.hydra.sweeper.get("params") or {}, where, arguments.folders)
    words = plan.merged(_parse(params), parsed)
    check_sweep(words)
    return words


def _is_preset(override: Override) -> bool:
    return plan.of_hydra(override) or override.key_or_group in gan_lab_config.RECIPES


def _may_sweep(override: Override) -> bool:
    """Whether a word alone can make a sweep: any preset but the experiments that say nothing to Hydra."""
    if override.key_or_group == "experiment":
        return gan_lab_config.says_something_to_hydra(str(override.value()))
    return override.key_or_group in ("search", "hydra.mode")


def _refuse_several(parsed: Sequence[Override], why: str) -> None:
    if several := next((override for override in parsed if override.is_sweep_override()), None):
        raise ValueError(f"{several.input_line}: {why}")


def _train_one(arguments: Arguments, composed: DictConfig) -> int:
    from gan_lab import run

    experiment = composed.hydra.runtime.choices.experiment
    # The same command goes on when Slurm queues its job again, and so has the same folder there.
    moment = f"slurm-{signals.job_id()}-{job_name(arguments.overrides)[:6]}" if signals.job_id() else None
    moment = moment or time.strftime("%Y-%m-%d_%H-%M-%S")
    path = Path(_folder(composed, "run_dir") or f"runs/{experiment}/{moment}")
    run.preflight(without_hydra(composed), path)
    codes: list[int] = []
    code = _hydra(
        [*arguments.flags, *arguments.all_overrides, f"run_dir={_quote(path)}"],
        lambda config: codes.append(run.run_job(config)),
    )
    return codes[0] if codes else code


def _sweep(arguments: Arguments, words: Sequence[Override], composed: DictConfig) -> int:
    from gan_lab.sweep.supervise import supervise
    from gan_lab.tracking.wandb import decide_mode
    from gan_lab.train import sections

    choices = composed.hydra.runtime.choices
    experiments = next((o.partition("=")[2] for o in arguments.overrides if o.startswith("experiment=")), None)
    chosen = (experiments or choices.experiment).replace(",", "+")
    title = chosen if choices.search == "none" else f"{choices.search}-{chosen}"
    said = [override for override in arguments.overrides if not override.startswith("hydra")]
    name = _folder(composed, "sweep_name") or f"{title}-{job_name(said)[:8]}"
    folder = Path(_folder(composed, "sweep_dir") or f"sweeps/{name}")
    _check_writable(folder)
    mode, why = decide_mode(sections(without_hydra(composed))[2].wandb.mode)
    jobs = plan.jobs(words) if choices["hydra/sweeper"] == "basic" else None
    workers = plan.workers(composed.hydra, len(jobs) if jobs else None)
    search = _search(composed, words, folder) if choices["hydra/sweeper"] == "optuna" else None  # last: it writes
    flags = [flag for flag in arguments.flags if flag not in ("-m", "--multirun")]
    # The jobs alone are given the rest: Hydra would look for a word's key before it knows of swept parts.
    presets = [word.input_line for word in words if _is_preset(word) and not word.is_sweep_override()]
    argv = ["-m", *flags, *(presets if jobs or search else arguments.all_overrides), *workers.overrides]
    if workers.count > 1 and mode != "disabled":  # else each job says so
        print(f"W&B {mode}{f': {why}' if why else ''}")
    return supervise(
        lambda job: _hydra([*argv, f"hydra.sweep.dir={_quote(folder)}"], job), jobs, folder, workers, search
    )


def _search(composed: DictConfig, words: Sequence[Override], folder: Path) -> Any:
    """What Optuna searches, checked. Raises ValueError."""
    from gan_lab.sweep import space, study

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
    """Raise ValueError where Hydra could not make the folder, which it would say with a traceback."""
    parent = next(path for path in (sweep_dir, *sweep_dir.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise ValueError(f"sweep_dir={sweep_dir}: {parent} is a file; give a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"sweep_dir={sweep_dir} cannot be written: {parent} is read-only for this user")


def _quote(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _hydra(argv: Sequence[str], task: Callable[[DictConfig], Any] | None = None) -> int:
    """Hydra's own main on these words. Returns its exit code."""
    before, sys.argv = sys.argv, ["gan-lab train", *argv]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task or (lambda config: None))()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (HydraException, OmegaConfBaseException) as error:  # with HYDRA_FULL_ERROR=1
        raise ValueError(_one_line(error)) from error
    finally:
        sys.argv = before
    return 0


# -- what Hydra would find out too late --------------------------------------------------------------------------------


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed = []
    for override in overrides:
        try:
            parsed += OverridesParser.create().parse_overrides([override])
        except HydraException as error:
            raise ValueError(
                f"{override}: not Hydra's grammar; values with spaces or brackets want quotes, as in "
                f"'regularizer=[r1]' or \"run_dir='my runs/1'\""
            ) from error
    return parsed


def _first_value(override: Override) -> str:
    if not override.is_sweep_override():
        return str(override.input_line)
    if not override.is_discrete_sweep():  # an interval, for samplers that take it
        interval: Any = override.value()
        start = int(interval.start) if "int" in interval.tags else interval.start
        return f"{override.get_key_element()}={start}"
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


def _compose(overrides: Sequence[str]) -> DictConfig:
    """The config with Hydra's own node. Raises ValueError in one line for what does not compose or is out of range."""
    from gan_lab.train import check_parts

    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            composed = hydra.compose("config", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, overrides) from error
    if composed.hydra.callbacks:  # the last barrier: Hydra would instantiate them before any of our code runs
        raise ValueError("the config holds Hydra callbacks, which can run anything and are not taken")
    check_parts(without_hydra(composed))
    return composed


def _check_each_value(parsed: Sequence[Override], composed: DictConfig) -> None:
    """Compose each swept choice once beside the others' first values: errors show before any job starts.

    Groups are composed; plain values are tried on the composed config, which costs a millisecond each.
    """
    from gan_lab.train import check_parts

    for i, override in enumerate(parsed):
        if not override.is_sweep_override() or not override.is_discrete_sweep():
            continue
        rest = [_first_value(other) for other in parsed]
        for value in list(override.sweep_string_iterator())[1:]:
            word = f"{override.get_key_element()}={value}"
            if override.key_or_group in gan_lab_config.groups():
                _compose([*rest[:i], word, *rest[i + 1 :]])
                continue
            trial = without_hydra(composed)
            try:
                OmegaConf.update(trial, override.key_or_group, OverridesParser.create().parse_override(word).value())
            except OmegaConfBaseException as error:
                raise ValueError(f"{word}: {_one_line(error)}") from error
            check_parts(trial)


def _explain(error: Exception, overrides: Sequence[str]) -> ValueError:
    """Hydra's message as one line with the remedy."""
    text = _one_line(error)
    if plugin := re.search(r"Could not find 'hydra/(launcher|sweeper)/([^']+)'", str(error)):
        return _no_plugin(plugin[1], plugin[2], str(error))
    missing = re.search(r"Could not override '([^']+)'", text)
    if missing is None:
        return ValueError(text)
    key = missing[1]
    if own := re.match(r"hydra\.(launcher|sweeper)\.", key):
        choice = next((o.partition("=")[2] for o in overrides if o.startswith(f"hydra/{own[1]}=")), "basic")
        return ValueError(f"{key}: hydra/{own[1]}={choice} has no such setting; choose the {own[1]} that has it, too")
    groups = [o for o in overrides if o.partition("=")[0] in (*gan_lab_config.groups(), "hydra.searchpath")]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        known: Any = hydra.compose("config", groups)
    *path, last = key.split(".")
    for i, part in enumerate(path):
        if not OmegaConf.is_dict(known) or part not in known:
            path, last = path[:i], part
            break
        known = known[part]
    if not OmegaConf.is_dict(known):
        return ValueError(f"{key}: {'.'.join(path)} is a value and has nothing inside")
    return unknown_key(".".join(path), last, [str(name) for name in known if name != "name"])


LAUNCHERS = {
    "joblib": '"hydra-gan-lab[sweep]"',
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}  # what pip must install for Hydra to have them


def _no_plugin(kind: str, name: str, message: str) -> ValueError:
    if kind == "launcher" and (package := LAUNCHERS.get(name)):
        return ValueError(f"hydra/{kind}={name} is not installed: pip install {package}")
    available = re.search(rf"Available options in 'hydra/{kind}':\n((?:\t\S+\n?)*)", message)
    return unknown(f"hydra/{kind}", name, available[1].split() if available else ())


def _one_line(error: BaseException) -> str:
    """The messages of an error and its cause, without Hydra's advice to force it with +."""
    lines: list[str] = []
    for e in (error, error.__cause__):
        for line in str(e or "").splitlines():
            line = line.strip()
            if line and not line.startswith(("full_key", "object_type", "reference_type", "To append", "Set the env")):
                lines.append(line)
    return re.sub(r"^Error merging override (.+?); ", r"\1: ", "; ".join(dict.fromkeys(lines)))
