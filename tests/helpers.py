"""What several tests need."""

from __future__ import annotations

from omegaconf import DictConfig

from gan_lab.config import composition, hydra_store


def compose(*overrides: str) -> DictConfig:
    """A config as a job gets it."""
    import tests.toy_data  # noqa: F401

    hydra_store.publish()
    return hydra_store.without_hydra(composition.compose(list(overrides)))
