"""Registers parts, sections and experiments with Hydra."""

from __future__ import annotations

from typing import Any

from gan_lab import registry
from gan_lab.config import quick_hydra
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
    quick_hydra.quicken()
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

    config = OmegaConf.masked_copy(composed, [name for name in composed if name != "hydra"])
    OmegaConf.set_struct(config, True)
    return config
