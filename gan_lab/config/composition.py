"""Composes a config from override words and checks it. Errors are one line, before Hydra writes anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab import registry
from gan_lab.config.hydra_store import without_hydra
from gan_lab.config.overrides import check_number
from gan_lab.config.presets import CONF, groups, refuse_targets
from gan_lab.config.sections import sections
from gan_lab.config.trust import check_hydras_node, check_secrets
from gan_lab.registry import GROUPS, node, optional_groups, unknown, unknown_key

PATHS = ("run_dir", "sweep_dir", "sweep_name", "init_from")


def parse_words(overrides: Sequence[str]) -> list[Override]:
    """Parse words in Hydra's grammar. Raises ValueError with the first word that does not parse."""
    parsed = []
    for override in overrides:
        try:
            parsed += OverridesParser.create().parse_overrides([override])
        except HydraException as error:
            raise ValueError(
                f"{override}: not Hydra's grammar; values with spaces or brackets want quotes, as in "
                f"'regularizer=[r1]' or \"run_dir='my runs/1'\""
            ) from error
    check_number(parsed)
    return parsed


def first_value(override: Override) -> str:
    """The word, with its first value where it is swept."""
    if not override.is_sweep_override():
        return str(override.input_line)
    if not override.is_discrete_sweep():  # an interval, for samplers of Optuna
        interval: Any = override.value()
        start = int(interval.start) if "int" in interval.tags else interval.start
        return f"{override.get_key_element()}={start}"
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


def compose(overrides: Sequence[str]) -> DictConfig:
    """The config with Hydra's own node. Raises ValueError, in one line, where a word or a value is not valid."""
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None  # an earlier command of this process left its own: ${hydra:...} would read it
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            composed = _composed(overrides)
        _check_hydras(composed, overrides)
        check_secrets(composed)
        check_parts(without_hydra(composed))
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, overrides) from error
    return composed


def _composed(overrides: Sequence[str]) -> DictConfig:
    try:
        return hydra.compose("config", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException):
        raise
    except yaml.YAMLError as error:
        raise ValueError(f"a preset cannot be read: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError("the defaults of the presets choose each other in a circle") from error
    except (AttributeError, AssertionError, LookupError, TypeError) as error:  # Hydra is not ready for any content
        raise ValueError(f"Hydra cannot compose this: {' '.join(str(error).split())}") from error


def _check_hydras(composed: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ValueError for a value in Hydra's own node that Hydra would not take, or should not get."""
    verbose = composed.hydra.verbose
    names = list(verbose) if OmegaConf.is_list(verbose) else [verbose]
    if not all(isinstance(name, str) for name in names) and not isinstance(verbose, bool):
        raise ValueError(f"hydra.verbose={verbose}: give true, false, or names of loggers")
    if composed.hydra.callbacks:  # Hydra would instantiate them before any of our code runs
        raise ValueError("the config holds Hydra callbacks, which can run anything and are not taken")
    if any(word.startswith("hydra.searchpath=") for word in overrides):
        check_hydras_node(composed, overrides)


def check_parts(config: DictConfig) -> None:
    """Raise ValueError where a part's name or arguments are wrong. Builds no part."""
    refuse_targets(OmegaConf.to_container(config), "the config")
    _check_top(config)
    sections(config)
    registry.load()  # which adds groups, of tasks' players
    for group, kind in registry.GROUPS.items():
        if kind.listed:
            for name, node in (config.get(group) or {}).items():
                kind.arguments(node, f"{group}/{name}")
        elif (node := registry.node(config, group)) is not None:
            kind.arguments(node, group)
        elif group not in registry.optional_groups():
            raise ValueError(f"{group}=null: choose one of {', '.join(sorted(kind.classes))}")


def _check_top(config: DictConfig) -> None:
    """Raise ValueError where a value is missing, or one that stands at the top is no path, name or choice."""
    if missing := OmegaConf.missing_keys(config):
        raise ValueError(f"{min(missing)}=???: give a value")
    for name in PATHS:
        value = config.get(name)
        if OmegaConf.is_config(value):
            raise ValueError(f"{name}={value}: expected {'a name' if name == 'sweep_name' else 'a path'}")
        if "\0" in str(value):
            raise ValueError(f"{name}: a path holds no character 0")
    if (resume := config.get("resume")) not in ("auto", "never"):
        raise registry.unknown("resume", resume, ("auto", "never"))


def check_each_value(parsed: Sequence[Override], composed: DictConfig) -> None:
    """Compose each swept value once, with the first values of the other words, to find errors before any job starts.

    A choice in a group is composed. A plain value is set in the composed config, which takes a millisecond.
    """
    for i, override in enumerate(parsed):
        if not override.is_sweep_override() or not override.is_discrete_sweep():
            continue
        rest = [first_value(other) for other in parsed]
        for value in list(override.sweep_string_iterator())[1:]:
            word = f"{override.get_key_element()}={value}"
            if override.key_or_group in groups():
                compose([*rest[:i], word, *rest[i + 1 :]])
                continue
            trial = without_hydra(composed)
            try:
                OmegaConf.update(trial, override.key_or_group, OverridesParser.create().parse_override(word).value())
            except OmegaConfBaseException as error:
                raise ValueError(f"{word}: {hydra_message(error)}") from error
            check_parts(trial)


def _explain(error: Exception, overrides: Sequence[str]) -> ValueError:
    """Hydra's message as one line with the remedy."""
    text = hydra_message(error)
    if plugin := re.search(r"Could not find 'hydra/(launcher|sweeper)/([^']+)'", str(error)):
        return _no_plugin(plugin[1], plugin[2], str(error))
    missing = re.search(r"Could not override '([^']+)'", text)
    if missing is None:
        key = str(getattr(error, "full_key", None) or "")
        return ValueError(text if key in text else f"{key}: {text}")
    key = missing[1]
    if own := re.match(r"hydra\.(launcher|sweeper)\.", key):
        choice = next((o.partition("=")[2] for o in overrides if o.startswith(f"hydra/{own[1]}=")), "basic")
        return ValueError(f"{key}: hydra/{own[1]}={choice} has no such setting; choose the {own[1]} that has it, too")
    chosen = [o for o in overrides if o.partition("=")[0] in (*groups(), "hydra.searchpath")]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        known: Any = hydra.compose("config", chosen)
    if (group := key.rpartition(".")[0].replace(".", "/")) in optional_groups() and node(known, group) is None:
        return ValueError(f"{key}: none is chosen; choose {group}=... ({', '.join(sorted(GROUPS[group].classes))})")
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
}  # launcher -> what pip must install


def _no_plugin(kind: str, name: str, message: str) -> ValueError:
    if kind == "launcher" and (package := LAUNCHERS.get(name)):
        return ValueError(f"hydra/{kind}={name} is not installed: pip install {package}")
    available = re.search(rf"Available options in 'hydra/{kind}':\n((?:\t\S+\n?)*)", message)
    return unknown(f"hydra/{kind}", name, available[1].split() if available else ())


def hydra_message(error: BaseException) -> str:
    """The messages of an error and its cause, without Hydra's advice to force it with +."""
    lines: list[str] = []
    for e in (error, error.__cause__):
        for line in str(e or "").splitlines():
            line = line.strip()
            if line and not line.startswith(("full_key", "object_type", "reference_type", "To append", "Set the env")):
                lines.append(line)
    return re.sub(r"^Error merging override (.+?); ", r"\1: ", "; ".join(dict.fromkeys(lines)))
