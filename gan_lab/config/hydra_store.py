"""Registers parts, sections and experiments with Hydra."""

from __future__ import annotations

from typing import Any

from gan_lab import registry
from gan_lab.config.identity import job_name
from gan_lab.config.launchers import CHOICES
from gan_lab.config.presets import RECIPES, shipped_experiments
from gan_lab.config.sections import SCHEMAS


def publish() -> None:
    """Store parts, sections and experiments in Hydra's ConfigStore.

    Raises ValueError for an experiment file that is not plain data.
    """
    from hydra.core.config_store import ConfigStore

    registry.publish()
    store = ConfigStore.instance()
    store.store(name="schema", node=SCHEMAS, provider="gan_lab.config.sections")
    for group, name, node in CHOICES:
        store.store(group=group, name=name, node=node, provider="gan_lab.config.launchers")
    for group in RECIPES:
        store.store(group=group, name="none", node={}, package="_global_", provider="gan_lab")
    for name, node in shipped_experiments().items():
        store.store(group="experiment", name=name, node=node, package="_global_", provider="gan_lab")
    register_resolvers()


def register_resolvers() -> None:
    """Register the functions that interpolations in config.yaml call. A sweep's worker processes need them, too."""
    from omegaconf import OmegaConf

    from gan_lab.config.trust import variable

    OmegaConf.register_new_resolver("gan_lab.job", job_name, replace=True)
    OmegaConf.register_new_resolver("oc.env", variable, replace=True)


def without_hydra(composed: Any) -> Any:
    """A copy of a composed config without Hydra's own node: the config of a run."""
    from omegaconf import OmegaConf

    config = composed.copy()
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    OmegaConf.set_struct(config, True)
    return config
