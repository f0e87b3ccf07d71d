"""`gan-lab train`: compose, check everything, and only then let Hydra make folders and jobs."""

from __future__ import annotations

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
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab import config as gan_lab_config
from gan_lab.config import CONF, job_name
from gan_lab.overrides import Arguments, check_sweep, parse
from gan_lab.registry import unknown_key


def launch(argv: Sequence[str]) -> int:
    """Run what the words behind `gan-lab train` say. Returns the exit code; raises ValueError for wrong usage."""
    gan_lab_config.publish()
    if any(word.startswith(("--shell-completion", "-sc")) for word in argv):
        return _hydra(argv)  # half-typed words: nothing to check
    arguments = parse(argv)
    parsed = _parse(arguments.all_overrides)
    if arguments.passive:
        if not arguments.asks_for_help:
            _compose([_first_value(override) for override in parsed])
        return _hydra([*arguments.flags, *arguments.all_overrides])
    sweeps = [override for override in parsed if override.is_sweep_override()]
    composed = _compose([_first_value(override) for override in parsed])
    if arguments.multirun or getattr(composed.hydra.mode, "name", None) == "MULTIRUN":
        _check_each_value(parsed, composed)
        return _sweep(arguments, composed)
    if sweeps:
        raise ValueError(f"{sweeps[0].input_line}: several values make a sweep: gan-lab train -m ...")
    return _train_one(arguments, composed)


def _train_one(arguments: Arguments, composed: DictConfig) -> int:
    from gan_lab import run

    experiment = composed.hydra.runtime.choices.experiment
    path = Path(_folder(composed, "run_dir") or f"runs/{experiment}/{time.strftime('%Y-%m-%d_%H-%M-%S')}")
    run.preflight(_without_hydra(composed), path)
    codes: list[int] = []
    code = _hydra(
        [*arguments.flags, *arguments.all_overrides, f"run_dir={_quote(path)}"],
        lambda config: codes.append(run.run_job(config)),
    )
    return codes[0] if codes else code


def _sweep(arguments: Arguments, composed: DictConfig) -> int:
    from gan_lab.sweep import table
    from gan_lab.sweep.job import job

    check_sweep(arguments.overrides)
    experiments = next((o.partition("=")[2] for o in arguments.overrides if o.startswith("experiment=")), None)
    experiment = (experiments or composed.hydra.runtime.choices.experiment).replace(",", "+")
    own = [override for override in arguments.overrides if not override.startswith("hydra")]
    name = _folder(composed, "sweep_name") or f"{experiment}-{job_name(own)[:8]}"
    folder = Path(_folder(composed, "sweep_dir") or f"sweeps/{name}")
    flags = [flag for flag in arguments.flags if flag not in ("-m", "--multirun")]
    start = time.time()
    code = _hydra(["-m", *flags, *arguments.all_overrides, f"hydra.sweep.dir={_quote(folder)}"], job)
    jobs = table.jobs_since(folder, start)
    failed = table.report(jobs, time.time() - start) if jobs else 0
    return code or int(failed > 0)


def _folder(composed: DictConfig, key: str) -> str | None:
    value = composed[key]
    if OmegaConf.is_config(value):
        raise ValueError(f"{key}={value}: expected a path")
    return None if value is None else str(value)


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
        return f"{override.get_key_element()}={interval.start}"
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
    check_parts(_without_hydra(composed))
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
            trial = _without_hydra(composed)
            try:
                OmegaConf.update(trial, override.key_or_group, OverridesParser.create().parse_override(word).value())
            except OmegaConfBaseException as error:
                raise ValueError(f"{word}: {_one_line(error)}") from error
            check_parts(trial)


def _without_hydra(composed: DictConfig) -> DictConfig:
    config = composed.copy()
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    OmegaConf.set_struct(config, True)
    return config


def _explain(error: Exception, overrides: Sequence[str]) -> ValueError:
    """Hydra's message as one line with the remedy."""
    text = _one_line(error)
    missing = re.search(r"Could not override '([^']+)'", text)
    if missing is None:
        return ValueError(text)
    key = missing[1]
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


def _one_line(error: BaseException) -> str:
    """The messages of an error and its cause, without Hydra's advice to force it with +."""
    lines: list[str] = []
    for e in (error, error.__cause__):
        for line in str(e or "").splitlines():
            line = line.strip()
            if line and not line.startswith(("full_key", "object_type", "reference_type", "To append", "Set the env")):
                lines.append(line)
    return re.sub(r"^Error merging override (.+?); ", r"\1: ", "; ".join(dict.fromkeys(lines)))
