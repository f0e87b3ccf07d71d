"""What several tests need."""

from __future__ import annotations

from omegaconf import DictConfig

from gan_lab import config, launch


def compose(*overrides: str) -> DictConfig:
    """A config as a job gets it."""
    import tests.toy_data  # noqa: F401

    config.publish()
    return config.without_hydra(launch._compose(list(overrides)))
