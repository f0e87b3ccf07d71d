"""`gan-lab train --help`: the choices of every group, and the config that the given words make."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.hydra_store import without_hydra
from gan_lab.config.presets import groups, options

HELP = """\
gan-lab train [-m] [FLAG ...] [key=value ...]

Trains one run, or with -m one for each combination of values (a,b or range(1,4)). The same command goes on where a
run or sweep was interrupted.

  group=choice     choose a part: generator=resnet
  key=value        set a value of the config below: trainer.images=100000
  -m               sweep: gan-lab train -m loss=minimax,hinge trainer.seed=1,2,3
  --config-dir DIR presets of your own, DIR/<group>/<name>.yaml
  --cfg job        show the config and stop
  --info           show what Hydra makes of it
  --hydra-help     Hydra's own flags

Groups and their choices:

{choices}

The config:

{config}"""


def help_text(composed: DictConfig, folders: Iterable[Path]) -> str:
    """The whole text. Hydra's own takes seconds, because it copies the config again for every group."""
    folders = list(folders)
    choices = "\n".join(f"{group}: {', '.join(options(group, folders))}" for group in groups())
    return HELP.format(choices=choices, config=OmegaConf.to_yaml(without_hydra(composed)))
