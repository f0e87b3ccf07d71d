"""All checks of a run before anything is written."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig

from gan_lab.config.identity import config_hash, resolved
from gan_lab.config.reading import read_config
from gan_lab.config.sections import sections
from gan_lab.core import checkpoint
from gan_lab.core.files import content_of, named
from gan_lab.core.hooks import Log
from gan_lab.core.restore import part_of
from gan_lab.core.runtime import choose_device
from gan_lab.run.assembly import Assembly, agreement, assemble, state_bytes
from gan_lab.run.health import remembered
from gan_lab.run.place import place
from gan_lab.run.precision import settle_precision
from gan_lab.run.ranks import Ranks
from gan_lab.run.warm_start import initialize_from
from gan_lab.tracking.run_directory import RunDirectory
from gan_lab.tracking.server import decide_mode


def preflight(config: DictConfig, path: Path) -> Assembly:
    """Build and check the parts of a run. Raises ValueError where the run cannot start. Writes nothing."""
    settle_precision(config, path)
    directory = RunDirectory(path)
    with joining(config) as ranks:
        assembly = assemble(config)
        check_directory(directory, assembly, config)
        if directory.locked():
            raise ValueError(f"run_dir={path} is in use: another process trains there")
        decide_mode(assembly.tracking.wandb.mode)
        return joined(ranks, config, assembly)


def ready(config: DictConfig, directory: RunDirectory, ranks: Ranks | None = None) -> Assembly:
    """Build the parts of a run, check that it can start or continue in the directory, and join the other ranks."""
    with joining(config, ranks) as ranks:
        assembly = assemble(config)
        check_directory(directory, assembly, config)
        return joined(ranks, config, assembly)


@contextlib.contextmanager
def joining(config: DictConfig, ranks: Ranks | None = None) -> Iterator[Ranks]:
    """A context for the checks of rank 0. If they fail, the other ranks end."""
    ranks = ranks or Ranks(place())
    ranks.timeout = sections(config)[0].timeout
    try:
        yield ranks
    except BaseException:
        ranks.end("cannot start")
        raise


def joined(ranks: Ranks, config: DictConfig, assembly: Assembly) -> Assembly:
    """The assembly, once all ranks are there. Raises ValueError where they do not agree."""
    orders = {"log_every": assembly.tracking.log_every, "periods": assembly.periods}
    ranks.join(agreement(config, assembly), assembly.game.runtime.device, orders)
    assembly.ranks = ranks
    return assembly


def _check_state(directory: RunDirectory, assembly: Assembly) -> None:
    """Read the state that the run goes on from. Raises ValueError where it does not fit the run."""
    kept = checkpoint.kept(directory.checkpoints)
    state = checkpoint.load_newest(directory.checkpoints)
    if state is not None:
        with content_of(f"the newest checkpoint of {directory.path}"), named(directory.path):
            assembly.game.check_state(part_of(state, "game"))
            float(part_of(state, "seconds"))
            if log := state.get("log"):
                Log(every=1, write=lambda record: None).recall(log, torch.device("cpu"))
            if memory := state.get("health"):
                remembered(memory, torch.device("cpu"))
    assembly.resumed = kept, state


def check_directory(directory: RunDirectory, assembly: Assembly, config: DictConfig) -> None:
    """Check that the run can start or continue in the directory, and give a new run the weights of `init_from`.

    Raises ValueError where it cannot, or where the disk has too little space.
    """
    choose_device(assembly.trainer.device)
    directory.check(config_hash(resolved(config)), config.resume)
    saved_config = directory.path / "config.yaml"
    if directory.summary and saved_config.exists():  # a job that could not be built has only a summary
        with content_of(saved_config):
            before = sections(read_config(saved_config))[0].images
        if before != assembly.trainer.images and (depends := assembly.about["depends_on_duration"]):
            raise ValueError(
                f"run_dir={directory.path} was planned for {before:,} images, and "
                f"schedule/{depends[0]}={config.schedule[depends[0]].name} depends on that: repeat "
                f"trainer.images={before}, or give another run_dir"
            )
    _check_state(directory, assembly)
    if config.init_from is not None and not directory.summary.get("images"):  # a continued run has its own weights
        initialize_from(assembly, str(config.init_from))
    parent = next(p for p in (directory.path, *directory.path.absolute().parents) if p.exists())
    selects = bool(assembly.evaluation.every and assembly.evaluator.metrics)
    kept = assembly.trainer.keep_checkpoints + selects  # the best is kept, too
    needed, free = (kept + 1) * state_bytes(assembly), shutil.disk_usage(parent).free
    if free < needed:
        raise ValueError(
            f"run_dir={directory.path}: its disk has {free / 1e6:,.1f} MB free, and {kept} checkpoints and one being "
            f"written take {needed / 1e6:,.1f} MB"
        )
