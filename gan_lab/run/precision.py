"""`trainer.precision=auto`: what this machine is fastest in, or what the run in the directory was begun in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.reading import read_config
from gan_lab.config.sections import sections
from gan_lab.core.runtime import choose_device, fastest_precision

Precision = Literal["fp32", "bf16"]


def settle_precision(config: DictConfig, path: Path) -> None:
    """Replace `auto` in a run's config, which then says what is computed, on any machine.

    A run that was begun elsewhere goes on as it was begun. Raises ValueError for a device that is not here.
    """
    trainer = sections(config)[0]
    if trainer.precision == "auto":
        config.trainer.precision = _begun_in(path) or fastest_precision(choose_device(trainer.device))


def _begun_in(path: Path) -> Precision | None:
    """The precision of the run in that directory; None where there is none."""
    file = path / "config.yaml"
    if not file.is_file():
        return None
    known = OmegaConf.select(read_config(file), "trainer.precision")
    return known if known in ("fp32", "bf16") else None
