"""Loads a trained run from its directory: its task with trained networks, and its data where examples need them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab import registry
from gan_lab.config.composition import check_parts
from gan_lab.config.reading import read_config
from gan_lab.config.sections import sections
from gan_lab.core import checkpoint
from gan_lab.core.files import BadFile, is_count, named
from gan_lab.core.restore import check_part, counter, part_of
from gan_lab.core.runtime import choose_device, inference
from gan_lab.datasets.columns import described_by, from_plain
from gan_lab.datasets.store import Store
from gan_lab.metrics.reference import has_test
from gan_lab.run.assembly import data_set
from gan_lab.run.memory import Affordable
from gan_lab.run.parts import build_task, supplied_values
from gan_lab.tasks.contract import Example, joined
from gan_lab.tracking.run_directory import RunDirectory


class TrainedRun:
    """A checkpoint of a run directory, ready to sample, with averaged weights where the run has them.

    `which` is newest (the newest valid one), best (by the scores seen while training) or a number of images. Raises
    ValueError where there is no run, no such checkpoint, or a plug-in of the run is missing.
    """

    def __init__(self, path: Path, device: str = "auto", which: str = "newest") -> None:
        if not (path / "config.yaml").is_file():
            inside = sorted(file.parent.name for file in path.glob("*/config.yaml")) if path.is_dir() else []
            hint = f"; it holds runs: {', '.join(inside[:4])}{', ...' if len(inside) > 4 else ''}" if inside else ""
            raise ValueError(f"{path} is no run directory{hint or ' (there is no config.yaml)'}")
        self.path = path
        with named(path):
            self._load(path, which, device)

    def _load(self, path: Path, which: str, device: str) -> None:
        state = _state(path, which)
        self.config = read_config(path / "config.yaml")
        try:
            check_parts(self.config)
        except ValueError as error:
            raise ValueError(f"{path / 'config.yaml'}: {error}") from error
        trainer, self._evaluation, _ = sections(self.config)
        self.about = _about(state, path)
        self.images = counter(state, "game", "images")
        if missing := [name for name in self.about["plugins"] if name not in registry.plugins()]:
            raise ValueError(
                f"{path} was trained with plug-ins; set GAN_LAB_PLUGINS='{' '.join(self.about['plugins'])}' "
                f"(missing: {', '.join(missing)})"
            )
        shape, num_classes = tuple(self.about["sample_shape"]), self.about["num_classes"]
        columns = self.about.get("columns")  # older versions did not save them
        self.columns = from_plain(columns) if columns else described_by(shape, num_classes)
        with Affordable():
            self.task = build_task(self.config, self.columns, supplied_values(shape, num_classes), seed=0)
        parts = part_of(state, "game", "parts")
        self.nets: nn.ModuleDict = self.task.nets
        check_part(self.nets, part_of(parts, "task/nets"), "task/nets")
        self.nets.load_state_dict(parts["task/nets"])
        self._load_memory(parts, choose_device(device))
        self.weights = "last"
        if "hook/EMA" in parts:
            self.weights = f"ema {trainer.ema}"
            averaged = nn.ModuleDict({name: self.task.nets[name] for name in self.task.averaged})
            check_part(averaged, parts["hook/EMA"], "hook/EMA")
            averaged.load_state_dict(parts["hook/EMA"])
        self.nets.to(choose_device(device))

    def _load_memory(self, parts: Mapping[str, Any], device: torch.device) -> None:
        """What the task has learnt besides its networks, such as running moments."""
        for name, part in vars(self.task).items():
            saved = parts.get(f"task/{name}")
            if isinstance(part, nn.Module) and part is not self.nets and saved is not None:
                check_part(part, saved, f"task/{name}")
                part.load_state_dict(saved)
                part.to(device)

    def labels(self, text: str) -> Tensor:
        """Classes [n] from `3`, `3,5` or their names.

        Raises ValueError for a class that does not exist, and for a generator that does not use the class.
        """
        classes, names = self.about["num_classes"], self.about.get("class_names") or []
        if not self.task.takes_label:
            raise ValueError(f"--label {text}: task={self.config.task.name} of {self.path} makes nothing by classes")
        if not classes:
            raise ValueError(f"--label {text}: {self.path} was trained on data without labels")
        chosen = []
        for word in (word.strip() for word in text.split(",")):
            known = {name.lower(): i for i, name in enumerate(names)}
            label = int(word) if word.isdecimal() else known.get(word.lower(), classes)
            if label >= classes:
                called = f" ({', '.join(names)})" if 0 < len(names) <= 20 else ""
                raise ValueError(f"--label {word}: the classes of {self.path} are 0 to {classes - 1}{called}")
            chosen.append(label)
        self.require_class()
        return torch.tensor(chosen)

    def require_class(self) -> None:
        """Raise ValueError where the generator's output does not depend on the class."""
        with inference(self.nets, self.batch_norm, self.task.warm) as nets:
            uses_label = self.task.uses_label(nets)
        if not uses_label:
            raise ValueError(
                f"the generator of {self.path} is not told the class; train with generator.conditioning=batch_norm or "
                "concat, and discriminator.conditioning=projection or auxiliary"
            )

    def truncate(self, psi: float) -> None:
        """From now on make samples from mean + psi (style - mean): less varied and more typical for psi below 1.

        Karras et al. 2019, arXiv 1812.04948, appendix B. Raises ValueError for a generator without a mean
        style, and for a psi outside [-2, 2].
        """
        if not -2 <= psi <= 2:
            raise ValueError(f"--truncation {psi:g}: it must be at least -2 and at most 2; 1 changes nothing")
        able: list[Any] = [net for net in self.nets.values() if hasattr(net, "truncation")]
        if not able:
            names = [name for name, cls in registry.generators.classes.items() if hasattr(cls, "truncation")]
            raise ValueError(
                f"--truncation {psi:g}: the networks of {self.path} have no mean style to go towards; these generators "
                f"have one: {', '.join(sorted(names))}"
            )
        for net in able:
            net.truncation = psi

    @property
    def batch_norm(self) -> str:
        """The statistics of batch norm for examples: `running` ones, each `batch`'s own, or `standing` ones."""
        return self._evaluation.batch_norm

    @functools.cached_property
    def dataset(self) -> Any:
        """The data set that it was trained on."""
        return data_set(self.config)

    @functools.cached_property
    def data(self) -> Store | None:
        """The data from which examples are made; None where they are made from noise."""
        return self.example_data(self.dataset)

    def example_data(self, dataset: Any) -> Store | None:
        """The store of a data set from which examples are made: split "test" where there is one. None if not needed."""
        if not self.task.needs_data:
            return None
        store: Store = dataset.load("test" if has_test(dataset) else "train")
        return store

    def examples(self, num: int, seed: int, label: Tensor | None = None) -> Example:
        """Up to `num` examples; with several classes in `label`, these take turns.

        A seed gives the same examples on every device, up to rounding. Raises ValueError for samples that are not
        finite.
        """
        chosen = {} if label is None else {"label": label.repeat(-(-num // len(label)))[:num]}
        with inference(self.nets, self.batch_norm, self.task.warm) as nets:
            examples = joined(self.task.examples(nets, num, seed, self.data, **chosen))
        self.finite(examples["sample"])
        return examples

    def finite(self, samples: Tensor) -> Tensor:
        """The samples. Raises ValueError where they are not finite."""
        if not torch.isfinite(samples).all():
            raise ValueError(f"{self.path} makes samples that are not finite: it has diverged")
        return samples


def _about(state: Any, path: Path) -> dict[str, Any]:
    """What a checkpoint says of its run. Raises BadFile where it is not what a run has written."""
    about = part_of(state, "about")
    classes, shape = part_of(about, "num_classes"), part_of(about, "sample_shape")
    shaped = isinstance(shape, list) and 1 <= len(shape) <= 3 and all(map(is_count, shape))
    if not (shaped and (classes is None or is_count(classes)) and isinstance(part_of(about, "plugins"), list)):
        raise BadFile(f"the checkpoint of {path} does not say what it was trained on")
    return dict(about)


def _state(path: Path, which: str) -> dict[str, Any]:
    folder = path / "checkpoints"
    if which == "newest":
        state = checkpoint.load_newest(folder)
        if state is None:
            raise ValueError(f"{path} has no checkpoint yet; train it further: gan-lab train ... run_dir={path}")
        return state
    directory = RunDirectory(path)
    if which == "best" and directory.damage:
        raise ValueError(directory.damage)
    best: Mapping[str, Any] = directory.summary.get("best") or {}
    images = best.get("images") if which == "best" else int(which) if which.isdecimal() else None
    kept = checkpoint.kept(folder)
    if images not in kept:
        available = ", ".join(map(str, kept)) or "none"
        also = "" if best else "; it was not scored while it trained (evaluation.every), so none is best"
        raise ValueError(f"--checkpoint {which}: {path} has newest{', best' if best else ''}, {available}{also}")
    return checkpoint.load_of(folder, images)
