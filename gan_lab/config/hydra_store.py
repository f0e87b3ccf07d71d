"""Registers parts, sections and experiments with Hydra."""

from __future__ import annotations

import functools
from typing import Any

from gan_lab import registry
from gan_lab.config.identity import job_name
from gan_lab.config.launchers import CHOICES
from gan_lab.config.presets import RECIPES, shipped_experiments
from gan_lab.config.sections import SCHEMAS

NOTHING: dict[str, Any] = {}  # what a recipe called `none` sets


def publish() -> None:
    """Store parts, sections and experiments in Hydra's ConfigStore.

    Raises ValueError for an experiment file that is not plain data.
    """
    registry.publish()
    registry.publish_node(None, "schema", SCHEMAS, provider="gan_lab.config.sections")
    for group, name, node in CHOICES:
        registry.publish_node(group, name, node, provider="gan_lab.config.launchers")
    for group in RECIPES:
        registry.publish_node(group, "none", NOTHING, package="_global_", provider="gan_lab")
    for name, node in shipped_experiments().items():
        registry.publish_node("experiment", name, node, package="_global_", provider="gan_lab")
    share_the_store()
    register_resolvers()


def share_the_store() -> None:
    """Halve the time of a composition. For each, Hydra copies its repository, and with it the store of all our parts.

    What is read from the store is a copy in any case, so the store itself can be one and the same.
    """
    from hydra.core.config_store import ConfigStore

    store: Any = ConfigStore.instance()
    store.__deepcopy__ = functools.partial(_itself, store)  # no lambda or method: launchers pickle the store


def _itself(store: Any, memo: Any) -> Any:
    return store


def register_resolvers() -> None:
    """Register the functions that interpolations in config.yaml call. A sweep's worker processes need them, too."""
    from omegaconf import OmegaConf

    from gan_lab.config.trust import variable

    OmegaConf.register_new_resolver("gan_lab.job", job_name, replace=True)
    OmegaConf.register_new_resolver("oc.env", variable, replace=True)


def without_hydra(composed: Any) -> Any:
    """A copy of a composed config without Hydra's own node: the config of a run."""
    from omegaconf import OmegaConf

    config = OmegaConf.masked_copy(composed, [name for name in composed if name != "hydra"])
    OmegaConf.set_struct(config, True)
    return config
