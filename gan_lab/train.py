"""The one assembly: a config becomes parts, parts become a task, a task becomes a game."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import platform
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lab import registry
from gan_lab.config import Evaluation, Tracking, Trainer, refuse_targets
from gan_lab.core.forward_pass import key
from gan_lab.core.hooks import EMA
from gan_lab.core.loop import Game
from gan_lab.core.runtime import Runtime, choose_device, has_bf16_units
from gan_lab.datasets.store import Store, cache_folder
from gan_lab.datasets.validation import Validation
from gan_lab.feature_extractors.choice import NotAtHand
from gan_lab.metrics.evaluator import Evaluator
from gan_lab.metrics.reference import has_test
from gan_lab.optimization import build_optimizers, build_schedules, correct_for_lazy_phases, scheduled


@dataclass
class Assembly:
    """Everything that a run consists of, built and fitting together."""

    trainer: Trainer
    evaluation: Evaluation
    tracking: Tracking
    dataset: Any
    data: Store
    game: Game
    ema: EMA | None
    evaluator: Evaluator
    held_out: Store | None  # data that training does not see, where somebody looks at them
    about: dict[str, Any]  # what a checkpoint must say besides its state: enough to sample without data
    notes: list[str] = field(default_factory=list)  # what a person should know of how it came about

    @property
    def sampled_nets(self) -> nn.ModuleDict:
        """The networks that pictures and scores are made with."""
        return self.ema.average if self.ema else self.game.nets

    @property
    def weights(self) -> str:
        return f"ema {self.trainer.ema}" if self.ema else "last"


def sections(config: DictConfig) -> tuple[Trainer, Evaluation, Tracking]:
    """The stable sections, checked. Raises ValueError with the range or the choices of a value that is not allowed."""
    trainer = registry.read(Trainer, config.trainer, "trainer")
    evaluation = registry.read(Evaluation, config.evaluation, "evaluation")
    tracking = registry.read(Tracking, config.tracking, "tracking")
    if trainer.ema == 1:
        raise ValueError("trainer.ema=1.0: an average that never moves; use a decay below 1, such as 0.999")
    return trainer, evaluation, tracking


def check_parts(config: DictConfig) -> None:
    """Raise ValueError where some part's name or arguments are wrong. Builds nothing."""
    refuse_targets(OmegaConf.to_container(config), "the config")
    if config.resume not in ("auto", "never"):
        raise registry.unknown("resume", config.resume, ("auto", "never"))
    sections(config)
    for group, kind in registry.GROUPS.items():
        if kind.listed:
            for name, node in (config.get(group) or {}).items():
                kind.arguments(node, f"{group}/{name}")
        else:
            kind.arguments(registry.node(config, group), group)


@functools.lru_cache(maxsize=2)
def _data_set(settings: str, validation: int) -> Any:
    dataset = registry.datasets.build(OmegaConf.create(json.loads(settings)))
    return Validation(dataset, validation) if validation else dataset


@functools.lru_cache(maxsize=2)
def _store(dataset: Any) -> Store:
    store: Store = dataset.load("train")
    return store


def data_set(config: DictConfig) -> Any:
    """The data set that a config names: one object, and so one store, for all jobs of a sweep in one process."""
    settings = OmegaConf.to_container(config.dataset, resolve=True, enum_to_str=True)
    validation = OmegaConf.select(config, "evaluation.validation", default=0)
    return _data_set(json.dumps(settings, sort_keys=True), validation)


def supplied_values(sample_shape: tuple[int, ...], num_classes: int | None) -> dict[str, Any]:
    """What a data set says of its samples, by the names under which parts ask for it."""
    values: dict[str, Any] = {"sample_shape": sample_shape, "num_classes": num_classes}
    if len(sample_shape) == 3:
        channels, height, width = sample_shape
        values |= {"image_channels": channels, "image_size": height if height == width else (height, width)}
    return values


def build_task(config: DictConfig, sample_shape: tuple[int, ...], num_classes: int | None, seed: int) -> Any:
    """The task with its networks, initialized on the CPU from the seed. Needs no data."""
    values = supplied_values(sample_shape, num_classes)

    def make(kind: registry.Registry, **changes: Any) -> nn.Module:
        net: nn.Module = kind.build(config[kind.groups[0]], **{**values, **changes})
        return net

    torch.manual_seed(key(seed, "initialization"))
    return registry.tasks.build(
        config.task,
        make_generator=functools.partial(make, registry.generators),
        make_discriminator=functools.partial(make, registry.discriminators),
        augment=registry.augmentations.build(config.augment, **values),
        **values,
    )


def assemble(config: DictConfig) -> Assembly:
    """Build everything that a config names. Raises ValueError for what does not exist or does not fit together."""
    check_parts(config)
    trainer, evaluation, tracking = sections(config)
    if trainer.compile:
        with contextlib.suppress(OSError):  # what one job of a sweep has compiled, the others find
            (folder := cache_folder() / "compiled").mkdir(parents=True, exist_ok=True)
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    runtime = Runtime(
        choose_device(trainer.device),
        trainer.precision,
        channels_last=trainer.channels_last,
        compile=trainer.compile_mode if trainer.compile else None,
        deterministic=trainer.deterministic,
        threads=trainer.threads,
    )
    dataset = data_set(config)
    evaluator = build_evaluator(config, dataset, evaluation, runtime.device)
    task = build_task(config, tuple(dataset.sample_shape), dataset.num_classes, trainer.seed)
    runtime.place(task.nets)
    loss = registry.losses.build(config.loss)
    values = supplied_values(tuple(dataset.sample_shape), dataset.num_classes)
    regularizers = {
        name: registry.regularizers.build(node, f"regularizer/{name}", **values)
        for name, node in (config.get("regularizer") or {}).items()
    }
    phases = task.phases(loss, regularizers)
    optimizers = build_optimizers(config, task)
    if trainer.lazy_correction:
        correct_for_lazy_phases(optimizers, phases)
    schedules = build_schedules(config, trainer.images)
    data = _store(dataset)  # last: what does not fit together is found before a large folder is decoded
    evaluator.load()
    held_out = evaluator.held_out
    if held_out is None and tracking.health and has_test(dataset):
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
        hooks=scheduled(schedules, optimizers, regularizers),
    )
    ema = None
    if trainer.ema:
        ema = EMA(nn.ModuleDict({name: task.nets[name] for name in task.averaged}), trainer.ema)
        game.add(ema)
    about = {
        "sample_shape": list(dataset.sample_shape),
        "num_classes": dataset.num_classes,
        "class_names": list(getattr(dataset, "class_names", None) or ()),
        "total_images": trainer.images,
        "depends_on_duration": [group for group, schedule in schedules.items() if schedule.depends_on_duration],
        "plugins": registry.plugins(),
        "threads": torch.get_num_threads(),
        "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
    }
    notes = [*_advice(task), *_speed(trainer, runtime), *evaluator.notes]
    return Assembly(trainer, evaluation, tracking, dataset, data, game, ema, evaluator, held_out, about, notes)


def build_evaluator(
    config: DictConfig, dataset: Any, evaluation: Evaluation, device: torch.device, *, selecting: bool = True
) -> Evaluator:
    """What scores a run's samples. Raises ValueError for a score that was asked for and cannot be had.

    Without `selecting`, none need to suit the choice of a checkpoint while training.
    """
    extractor, why = None, None
    values = supplied_values(tuple(dataset.sample_shape), dataset.num_classes) | {"dataset": dataset}
    if evaluation.metrics != []:
        cls, arguments = registry.feature_extractors.arguments(config.feature_extractor)
        defaults = {name: default for name, _, default in registry.parameters(cls)}
        with torch.random.fork_rng(devices=[]):  # weights are initialized before they are loaded
            try:
                extractor = registry.feature_extractors.build(config.feature_extractor, **values)
                extractor.settings = {name: value for name, value in arguments.items() if value != defaults[name]}
            except NotAtHand as error:
                why = str(error)
    evaluator = Evaluator(
        dataset, lambda: _store(dataset), extractor, evaluation.metrics, why_none=why, device=device
    )  # fmt: skip
    evaluator.check_number(evaluation.samples, evaluation.metrics, "evaluation.samples")
    number = evaluation.selection_samples
    if selecting and evaluation.every:
        evaluator.check_number(number, evaluation.metrics, "evaluation.selection_samples")
    if selecting:
        evaluator.selecting(evaluation.select_by, number)
    return evaluator


def _advice(task: Any) -> list[str]:
    """A line where one network is told the label and the other is not: it runs, and is seldom meant."""
    told = {name: getattr(net, "conditioning", None) for name, net in task.nets.items()}
    g, d = told.get("generator"), told.get("discriminator")
    if g not in (None, "none") and d == "none":
        return ["only the generator is told the class: nothing makes it obey; see discriminator.conditioning"]
    if d not in (None, "none") and g == "none":
        return ["only the discriminator is told the class: it will know fakes by it; see generator.conditioning"]
    return []


def _speed(trainer: Trainer, runtime: Runtime) -> list[str]:
    """What a person should know of settings that are there for speed."""
    lines = []
    if trainer.reuse_fakes:
        lines.append("trainer.reuse_fakes: G trains on the fakes that D saw; that is another algorithm")
    if trainer.precision == "bf16" and runtime.device.type == "cpu" and not has_bf16_units():
        lines.append("this CPU has no units for bf16: trainer.precision=fp32 may be faster here")
    return lines


def describe(config: DictConfig, assembly: Assembly) -> list[str]:
    """A few lines for a person: what plays against what, on which data, where, and what is odd about it."""
    game, trainer = assembly.game, assembly.trainer
    nets = "  ".join(
        f"{name} {config[name].name if name in config else type(net).__name__} "
        f"({sum(p.numel() for p in net.parameters()):,} parameters)"
        for name, net in game.nets.items()
    )
    regularizers = "".join(f" + {name}" for name in config.get("regularizer") or {})
    shape = " x ".join(map(str, assembly.dataset.sample_shape))
    count = torch.get_num_threads()
    threads = f" with {count} thread{'s' if count > 1 else ''}" if game.runtime.device.type == "cpu" else ""
    lines = [
        f"{nets}  loss {config.loss.name}{regularizers}",
        f"data {config.dataset.name} ({len(assembly.data):,} of {shape})  {trainer.images:,} images in batches of "
        f"{trainer.batch_size}  on {game.runtime.device}{threads}, {trainer.precision}",
    ]
    lines += assembly.notes
    if skipped := assembly.data.skipped:
        number = "a picture" if len(skipped) == 1 else f"{len(skipped):,} pictures"
        lines.append(f"skipped {number} that cannot be read (quarantine.json lists all):")
        lines += [f"  {name}: {why}" for name, why in list(skipped.items())[:5]]
        lines += [f"  and {len(skipped) - 5:,} more"] if len(skipped) > 5 else []
    return lines


def resolved(config: DictConfig, **changes: Any) -> dict[str, Any]:
    """The config as plain types, interpolations resolved."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(name): value for name, value in container.items()} | changes


def state_bytes(assembly: Assembly) -> int:
    """About how many bytes a checkpoint will take: weights, two Adam moments each, and the average."""
    numbers = sum(p.numel() for p in assembly.game.nets.parameters()) * 3
    numbers += sum(p.numel() for p in assembly.ema.average.parameters()) if assembly.ema else 0
    return math.ceil(numbers * 4 * 1.05) + 100_000
