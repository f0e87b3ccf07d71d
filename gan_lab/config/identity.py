"""What makes two configs the same: the config's hash, a sweep job's name, and settings by dotted keys."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

# Settings that are not in a config's hash: the run's folder, tracking, device, processes and duration.
# A search is not in it either: the values that it chooses are in each job's own config.
UNHASHED = ("run_dir", "sweep_dir", "sweep_name", "resume", "tracking", "hydra", "search")
UNHASHED_TRAINER = ("device", "images", "rollbacks", "profile", "processes", "timeout")
HOW = ("device", "profile", "processes", "timeout")  # of them, those that only say how it is computed
# Settings added later, with the value that corresponds to older runs. At that value they are not in the hash.
ADDED: dict[str, dict[str, Any]] = {
    "evaluation": {"validation": 0},
    "trainer": {"compile_mode": "default", "batch_norm": "synchronized"},
    "task": {"packing": 1},
    "dataset": {"radius": None, "spacing": None},
    "discriminator": {"weights": None},
    "schedule": {"warmup": 0},  # of each
}


def config_hash(config: dict[str, Any]) -> str:
    """Sixteen hex digits of everything in a resolved config that decides what is trained."""
    kept = {name: value for name, value in config.items() if name not in (*UNHASHED, "experiment")}
    kept["trainer"] = {name: value for name, value in config["trainer"].items() if name not in UNHASHED_TRAINER}
    for section, settings in ADDED.items():
        if section in kept:
            kept[section] = _without(settings, kept[section])
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _without(settings: Mapping[str, Any], values: Any) -> Any:
    """A section, and those in it, without the settings that have the value given for them."""
    if not isinstance(values, Mapping):
        return values
    return {k: _without(settings, v) for k, v in values.items() if k not in settings or v != settings[k]}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted keys. Regularizers also get one key with all their names, `r1+lecam`."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            if prefix == "" and key == "regularizer":
                result[key] = "+".join(map(str, value)) or "none"
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = tuple(map(str, value)) if isinstance(value, list) else value
    return result


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """A short and unique label for each key, for the head of a table: `generator.learning_rate`, `seed`."""
    labels = {key: ".".join(key.removeprefix("trainer.").split(".")[-2:]) for key in keys}
    times = Counter(labels.values())
    return {key: label if times[label] == 1 else key for key, label in labels.items()}


def job_name(overrides: Iterable[str]) -> str:
    """The name of a sweep job's folder: a hash of its sorted overrides, without those that do not change training."""
    kept = sorted(override for override in overrides if not unhashed(override.partition("=")[0].lstrip("+")))
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:12]


def unhashed(key: str) -> bool:
    """Whether a key only sets the run's folder, its tracking, or how it is computed."""
    return re.split(r"[./]", key)[0] in UNHASHED or key in {f"trainer.{name}" for name in HOW}


def resolved(config: Any, **changes: Any) -> dict[str, Any]:
    """The config as plain types, interpolations resolved."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(name): value for name, value in container.items()} | changes
