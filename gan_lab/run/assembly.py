"""Builds a run from its config: the parts, the task with its networks, and the game."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lab import registry
from gan_lab.config.composition import check_parts
from gan_lab.config.identity import config_hash, resolved
from gan_lab.config.sections import Evaluation, Tracking, Trainer, sections
from gan_lab.core.batch_norm import share_statistics
from gan_lab.core.hooks import EMA, Hook
from gan_lab.core.loop import Game
from gan_lab.core.runtime import Runtime, fastest_precision, has_bf16_units
from gan_lab.core.types import Phase
from gan_lab.datasets.cache import cache_folder
from gan_lab.datasets.columns import described, to_plain
from gan_lab.datasets.store import Store
from gan_lab.datasets.trusted_files import make_private
from gan_lab.datasets.validation import Validation
from gan_lab.feature_extractors.choice import NoExtractor
from gan_lab.metrics.evaluator import Evaluator
from gan_lab.metrics.reference import has_test
from gan_lab.run.memory import Affordable
from gan_lab.run.optimization import build_optimizers, build_schedules, correct_for_lazy_phases, scheduled
from gan_lab.run.parts import build_task, supplied_values
from gan_lab.run.place import device_of, place
from gan_lab.run.ranks import Ranks


@dataclass
class Assembly:
    """All parts of a run, built and checked against each other."""

    trainer: Trainer
    evaluation: Evaluation
    tracking: Tracking
    dataset: Any
    data: Store
    game: Game
    ema: EMA | None
    evaluator: Evaluator
    held_out: Store | None  # data that training does not use; None without such data or a use for them
    about: dict[str, Any]  # saved in a checkpoint beside the state: enough to sample without the data
    notes: list[str] = field(default_factory=list)  # lines about the assembly for the user
    ranks: Ranks = field(default_factory=Ranks)  # the processes that train it, once they have joined
    # The checkpoints that the directory had when it was checked, and the state of the newest whole one.
    resumed: tuple[list[int], dict[str, Any] | None] | None = None

    @property
    def sampled_nets(self) -> nn.ModuleDict:
        """The networks that make examples: averaged ones where there are some, else those that are trained."""
        return nn.ModuleDict({**self.game.nets, **(self.ema.average if self.ema else {})})

    @property
    def example_data(self) -> Store:
        """The data for examples of a task that needs data: held-out data, if there are any."""
        task: Any = self.game.task
        return self.held_out if task.needs_data and self.held_out is not None else self.data

    @property
    def periods(self) -> tuple[int, int, int]:
        """Images between two pictures, scores and checkpoints."""
        scored = self.evaluation.every if self.evaluator.metrics else 0
        return self.tracking.samples_every, scored, self.trainer.checkpoint_every

    @property
    def weights(self) -> str:
        return f"ema {self.trainer.ema}" if self.ema else "last"


@functools.lru_cache(maxsize=2)
def _data_set(settings: str, validation: int) -> Any:
    dataset = registry.datasets.build(OmegaConf.create(json.loads(settings)))
    return Validation(dataset, validation) if validation else dataset


@functools.lru_cache(maxsize=2)
def _store(dataset: Any) -> Store:
    store: Store = dataset.load("train")
    return store


def data_set(config: DictConfig) -> Any:
    """The data set of a config. Jobs of a sweep in one process share the object, and so its store."""
    settings = OmegaConf.to_container(config.dataset, resolve=True, enum_to_str=True)
    validation = OmegaConf.select(config, "evaluation.validation", default=0)
    return _data_set(json.dumps(settings, sort_keys=True), validation)


def assemble(config: DictConfig) -> Assembly:
    """Build all parts of a config. Raises ValueError for a part that does not exist or does not fit the others."""
    check_parts(config)
    trainer, evaluation, tracking = sections(config)
    if trainer.compile:
        with contextlib.suppress(OSError):  # jobs of a sweep share compiled code
            make_private(folder := cache_folder() / "compiled")  # others must not put code there
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    # Networks on the meta device have shapes and no numbers: for tests. `check_directory` refuses it.
    device = torch.device("meta") if trainer.device == "meta" else device_of(trainer)
    at = place()
    runtime = Runtime(
        device,
        fastest_precision(device) if trainer.precision == "auto" else trainer.precision,
        channels_last=trainer.channels_last,
        compile=trainer.compile_mode if trainer.compile else None,
        deterministic=trainer.deterministic,
        threads=trainer.threads,
        rank=at.rank,
        world=at.world if at.world > 1 else trainer.processes,
    )
    dataset = data_set(config)
    values = supplied_values(tuple(dataset.sample_shape), dataset.num_classes)
    with Affordable():
        task = build_task(config, described(dataset), values, trainer.seed)
    task.check_duration(trainer.images)
    task.check_batch(trainer.batch_size // (trainer.micro_batches * runtime.world))
    if evaluation.batch_norm == "standing" and task.needs_data:
        raise ValueError(
            f"evaluation.batch_norm=standing is of samples from noise, and task={config.task.name} makes none; choose "
            "running or batch"
        )
    evaluator = build_evaluator(config, dataset, evaluation, runtime.device, task)
    shared = share_statistics(task.nets, trainer.batch_norm) if runtime.world > 1 else []
    runtime.place(task.nets)
    loss = registry.losses.build(config.loss)
    regularizers = {
        name: registry.regularizers.build(node, f"regularizer/{name}", **values)
        for name, node in (config.get("regularizer") or {}).items()
    }
    phases = task.phases(loss, regularizers)
    optimizers = build_optimizers(config, task)
    if trainer.lazy_correction:
        correct_for_lazy_phases(optimizers, phases)
    schedules = build_schedules(config, trainer.images)
    data = _store(dataset)  # last: errors above are found before a large folder is decoded
    evaluator.load()
    held_out = evaluator.held_out
    if held_out is None and (tracking.health or task.needs_data) and has_test(dataset):
        held_out = dataset.load("test")
    game = Game(
        task,
        phases,
        optimizers,
        data.on(runtime.device),
        runtime=runtime,
        batch_size=trainer.batch_size,
        micro_batches=trainer.micro_batches,
        seed=trainer.seed,
        reuse_fakes=trainer.reuse_fakes,
        hooks=[*scheduled(schedules, optimizers, regularizers, phases), *shared],
    )
    if isinstance(augment := getattr(task, "augment", None), Hook):
        game.add(augment)
    ema = None
    if trainer.ema:
        ema = EMA(nn.ModuleDict({name: task.nets[name] for name in task.averaged}), trainer.ema)
        game.add(ema)
    about = {
        "sample_shape": list(dataset.sample_shape),
        "num_classes": dataset.num_classes,
        "columns": to_plain(described(dataset)),
        "class_names": list(getattr(dataset, "class_names", None) or ()),
        "total_images": trainer.images,
        "depends_on_duration": [group for group, schedule in schedules.items() if schedule.depends_on_duration],
        "plugins": registry.plugins(),
        "threads": torch.get_num_threads(),
        "processes": runtime.world,
        "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
    }
    notes = [*_advice(task), *_late(phases, trainer), *_speed(trainer, runtime), *evaluator.notes]
    return Assembly(trainer, evaluation, tracking, dataset, data, game, ema, evaluator, held_out, about, notes)


def agreement(config: DictConfig, assembly: Assembly) -> dict[str, str]:
    """In what all ranks of a run must agree, each by a short text."""
    settings = f"{config_hash(resolved(config))} for {assembly.trainer.images} images"
    return {"config": settings, "data": assembly.data.digest, "torch": torch.__version__}


def build_evaluator(
    config: DictConfig,
    dataset: Any,
    evaluation: Evaluation,
    device: torch.device,
    task: Any = None,
    *,
    selecting: bool = True,
) -> Evaluator:
    """The evaluator of a run's samples. Raises ValueError for a requested score that cannot be measured.

    Without a task, it scores pictures from another source. With `selecting`, it also checks the score that selects a
    checkpoint during training.
    """
    extractor, why = None, None
    values = supplied_values(tuple(dataset.sample_shape), dataset.num_classes) | {"dataset": dataset}
    if evaluation.metrics != []:
        cls, arguments = registry.feature_extractors.arguments(config.feature_extractor)
        defaults = {name: default for name, _, default in registry.parameters(cls)}
        with torch.random.fork_rng(devices=[]):  # the extractor's initial weights draw random numbers
            try:
                extractor = registry.feature_extractors.build(config.feature_extractor, **values)
                extractor.settings = {name: value for name, value in arguments.items() if value != defaults[name]}
            except NoExtractor as error:
                why = str(error)
    evaluator = Evaluator(
        dataset, lambda: _store(dataset), extractor, evaluation.metrics, why_none=why, device=device, task=task
    )  # fmt: skip
    evaluator.check_number(evaluation.samples, evaluation.metrics, "evaluation.samples")
    number = evaluation.selection_samples
    if selecting and evaluation.every:
        evaluator.check_number(number, evaluation.metrics, "evaluation.selection_samples")
    if selecting:
        evaluator.selecting(evaluation.select_by, number)
    return evaluator


def _advice(task: Any) -> list[str]:
    """A line where only one of the networks gets the label: this runs, but is rarely intended."""
    conditioning = {name: getattr(net, "conditioning", None) for name, net in task.nets.items()}
    g, d = conditioning.get("generator"), conditioning.get("discriminator")
    if g not in (None, "none") and d == "none":
        return ["only the generator gets the class: D cannot check that it uses it; see discriminator.conditioning"]
    if d not in (None, "none") and g == "none":
        return ["only the discriminator gets the class: it will recognize fakes by it; see generator.conditioning"]
    return []


def _late(phases: Sequence[Phase], trainer: Trainer) -> list[str]:
    """A line where a stage begins after the end of the run."""
    late = [phase for phase in phases if phase.start >= trainer.images]
    names = " and ".join(phase.name for phase in late)
    return [f"trainer.images={trainer.images:,}: {names} would begin after {late[0].start:,} images"] if late else []


def _speed(trainer: Trainer, runtime: Runtime) -> list[str]:
    """Lines about the side effects of settings for speed."""
    lines = []
    if trainer.reuse_fakes:
        lines.append("trainer.reuse_fakes: G trains on the fakes that D saw; that is another algorithm")
    if runtime.precision == "bf16" and runtime.device.type == "cpu" and not has_bf16_units():
        lines.append("this CPU has no units for bf16: trainer.precision=fp32 may be faster here")
    return lines


def describe(config: DictConfig, assembly: Assembly) -> list[str]:
    """Lines that describe a run: task, networks, loss, data, device, and notes."""
    game, trainer = assembly.game, assembly.trainer
    nets = "  ".join(
        f"{name} {config[name].name if name in config else type(net).__name__} "
        f"({sum(p.numel() for p in net.parameters()):,} parameters)"
        for name, net in game.nets.items()
    )
    regularizers = "".join(f" + {name}" for name in config.get("regularizer") or {})
    shape = " x ".join(map(str, assembly.dataset.sample_shape))
    degraded = f", {config.degradation.name}" if config.get("degradation") else ""
    count = torch.get_num_threads()
    threads = f" with {count} thread{'s' if count > 1 else ''}" if game.runtime.device.type == "cpu" else ""
    if game.runtime.world > 1:
        threads += f" in each of {game.runtime.world} processes"
    lines = [
        f"task {config.task.name}  {nets}  loss {config.loss.name}{regularizers}",
        f"data {config.dataset.name} ({len(assembly.data):,} of {shape}{degraded})  {trainer.images:,} images in "
        f"batches of {trainer.batch_size}  on {game.runtime.device}{threads}, {game.runtime.precision}",
    ]
    lines += assembly.notes
    if skipped := assembly.data.skipped:
        number = "a picture" if len(skipped) == 1 else f"{len(skipped):,} pictures"
        lines.append(f"skipped {number} that cannot be read (quarantine.json lists all):")
        lines += [f"  {name}: {why}" for name, why in list(skipped.items())[:5]]
        lines += [f"  and {len(skipped) - 5:,} more"] if len(skipped) > 5 else []
    return lines


def state_bytes(assembly: Assembly) -> int:
    """An estimate of a checkpoint's size in bytes: weights, two moments of Adam for each, and the average."""
    numbers = sum(p.numel() for p in assembly.game.nets.parameters()) * 3
    numbers += sum(p.numel() for p in assembly.ema.average.parameters()) if assembly.ema else 0
    return math.ceil(numbers * 4 * 1.05) + 100_000
