"""What makes two configs the same: the config's hash, a sweep job's name, and settings by dotted keys."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

# What a config's hash leaves out: where a run lies, how it is watched, on what it runs, and how long.
# A search only chooses values that each of its jobs then says itself.
UNHASHED = ("run_dir", "sweep_dir", "sweep_name", "resume", "tracking", "hydra", "search")
UNHASHED_TRAINER = ("device", "images", "rollbacks", "profile")
# What runs did before a setting was added, whatever its default becomes: at that value it is left out, too.
ADDED: dict[str, dict[str, Any]] = {"evaluation": {"validation": 0}, "trainer": {"compile_mode": "default"}}


def config_hash(config: dict[str, Any]) -> str:
    """Sixteen hex digits of everything in a resolved config that decides what is trained."""
    kept = {name: value for name, value in config.items() if name not in (*UNHASHED, "experiment")}
    kept["trainer"] = {name: value for name, value in config["trainer"].items() if name not in UNHASHED_TRAINER}
    for section, settings in ADDED.items():
        kept[section] = {name: v for name, v in kept[section].items() if name not in settings or v != settings[name]}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted keys. Parts that are chosen as a list get one more key with their names, `r1+lecam`."""
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
    """Names by keys, short enough for a table's head and not alike: `generator.learning_rate`, `seed`."""
    found = {key: ".".join(key.removeprefix("trainer.").split(".")[-2:]) for key in keys}
    times = Counter(found.values())
    return {key: label if times[label] == 1 else key for key, label in found.items()}


def job_name(overrides: Iterable[str]) -> str:
    """A sweep job's folder: a hash of its sorted overrides, less those that do not change what is trained."""
    kept = sorted(override for override in overrides if not unhashed(override.partition("=")[0].lstrip("+")))
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:12]


def unhashed(key: str) -> bool:
    """Whether a key says only where a run lies, how it is watched or on what it runs."""
    return re.split(r"[./]", key)[0] in UNHASHED or key in ("trainer.device", "trainer.profile")


def resolved(config: Any, **changes: Any) -> dict[str, Any]:
    """The config as plain types, interpolations resolved."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(name): value for name, value in container.items()} | changes
