"""What presets from outside may say to Hydra, judged by the composed config: no filter of text is complete.

Hydra instantiates what stands in its own node (logging handlers by the factory key `()`, callbacks, launchers,
sweepers) and runs some of it before any code of ours. So with presets from outside, that node must be as if there were
none.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from gan_lab.config.identity import flat
from gan_lab.config.presets import CONF
from gan_lab.config.redaction import SHORTEST, holds_secret

# What the words and presets may change of it; and what Hydra itself notes there.
FREE = ("mode", "verbose", "sweeper", "launcher", "runtime", "overrides", "searchpath")
NOTED = ("override_dirname", "config_name")  # of hydra.job
QUEUES = ("_target_", "partition", "account", "qos", "cluster", "backend", "prefer", "require", "verbose")
LONG = 16  # characters; a shorter value of a secret variable may be a word that a config uses


# Variables of the environment that a config may read: places and numbers. Any other may be a secret, and configs are
# written to disk, printed and sent to W&B.
READABLE = ("HOME", "USER", "LOGNAME", "HOSTNAME", "TMPDIR", "SCRATCH", "SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES")


def variable(name: str, *default: Any) -> Any:
    """`${oc.env:NAME}` or `${oc.env:NAME,default}`, in OmegaConf's place. Raises ValueError for other variables."""
    if name not in READABLE:
        raise ValueError(
            f"${{oc.env:{name}}}: a config is written to disk, and this variable may be a secret; it may read "
            f"{', '.join(READABLE)}"
        )
    if name not in os.environ and not default:
        raise ValueError(f"${{oc.env:{name}}}: this environment has no such variable")
    return os.environ.get(name, *default)


def check_hydras_node(composed: DictConfig, words: Sequence[str] = ()) -> None:
    """Raise ValueError where presets change more of Hydra's node than its mode, sweeper and launcher, or name code.

    `words` are those of the command line, which may say more than presets.
    """
    found, ours = _plain(composed.hydra), _untouched()
    for name, value in found.items():
        if name not in FREE and _settled(name, value) != _settled(name, ours.get(name)):
            raise ValueError(
                f"the presets change hydra.{name}, which can run code or move folders; of Hydra they may set "
                "mode, sweeper and launcher only"
            )
    stored = _stored_choices()
    known = set(_targets(stored))
    for name in ("sweeper", "launcher"):
        if strange := [target for target in _targets(found.get(name)) if target not in known]:
            raise ValueError(f"hydra.{name} names code, {strange[0]}; choose an installed {name}: hydra/{name}=...")
    _check_launcher(found.get("launcher") or {}, stored, words)


def _check_launcher(launcher: dict[str, Any], stored: dict[str, Any], words: Sequence[str]) -> None:
    """Raise ValueError where presets give a launcher more than numbers, switches and the names of a cluster's queues.

    Other settings are lines of shell, addresses and further parameters: they run on the user's account.
    """
    ours: dict[str, Any] = next((n for n in stored.values() if n.get("_target_") == launcher.get("_target_")), {})
    for name, value in launcher.items():
        harmless = name in QUEUES or value is None or isinstance(value, (bool, int, float))
        on_command_line = any(word.lstrip("+").startswith(f"hydra.launcher.{name}") for word in words)
        if not harmless and not on_command_line and value != ours.get(name):
            raise ValueError(
                f"the presets set hydra.launcher.{name}, which can run anything on your account; if you want that, "
                f"say it on the command line: hydra.launcher.{name}=..."
            )


def check_secrets(composed: DictConfig) -> None:
    """Raise ValueError where a value is that of a secret variable: configs are written to disk, printed, and sent."""
    for key, value in flat(_plain(composed)).items():
        short = key.startswith("tracking.")
        if isinstance(value, (str, list)) and holds_secret(value, SHORTEST if short else LONG):
            raise ValueError(
                f"{key}: it holds the value of a variable that looks like a secret, and configs are written to disk; "
                "W&B reads WANDB_API_KEY itself"
            )


def _plain(config: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


@functools.cache
def _untouched() -> dict[str, Any]:
    """Hydra's node of a config without any preset from outside."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return _plain(hydra.compose("config", [], return_hydra_config=True).hydra)


def _settled(name: str, value: Any) -> Any:
    if name == "job" and isinstance(value, dict):
        return {key: inner for key, inner in value.items() if key not in NOTED}
    return value


def _stored_choices() -> dict[str, Any]:
    """The sweepers and launchers that are installed: each is a node in Hydra's store."""
    stored = ConfigStore.instance().repo["hydra"]
    nodes = [
        entry.node for name in ("sweeper", "launcher") for entry in stored[name].values() if hasattr(entry, "node")
    ]
    return {str(place): OmegaConf.to_container(node, resolve=False) for place, node in enumerate(nodes)}


def _targets(content: Any) -> Iterator[str]:
    """Every `_target_` in nested mappings and lists."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name == "_target_":
                yield str(value)
            else:
                yield from _targets(value)
    elif isinstance(content, list):
        for value in content:
            yield from _targets(value)
