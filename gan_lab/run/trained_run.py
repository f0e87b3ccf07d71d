"""Loads a trained run from its directory: its task with trained networks, and its data where examples need them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab import registry
from gan_lab.config.composition import check_parts
from gan_lab.config.sections import sections
from gan_lab.core.files import named
from gan_lab.core.restore import check_part
from gan_lab.core.runtime import choose_device, inference
from gan_lab.datasets.columns import described_by, from_plain
from gan_lab.datasets.store import Store
from gan_lab.metrics.reference import has_test
from gan_lab.run import saved as saved_runs
from gan_lab.run.assembly import data_set
from gan_lab.run.memory import Affordable
from gan_lab.run.parts import build_task, supplied_values
from gan_lab.tasks.contract import Example, joined


class TrainedRun:
    """A checkpoint of a run directory, or an exported run, ready to sample, with averaged weights where there are some.

    `which` is newest (the newest valid one), best (by the scores seen while training) or a number of images. Raises
    ValueError where there is no run, no such checkpoint, or a plug-in of the run is missing.
    """

    def __init__(
        self, path: Path, device: str = "auto", which: str = "newest", saved: saved_runs.Saved | None = None
    ) -> None:
        self.path = path
        self._standing: contextlib.ExitStack | None = None
        with named(path):
            self._load(saved or saved_runs.read(path, which), device)

    def _load(self, saved: saved_runs.Saved, device: str) -> None:
        self.saved, self.config, self.about, self.images = saved, saved.config, saved.about, saved.images
        try:
            check_parts(self.config)
        except ValueError as error:
            where = self.path / "config.yaml" if self.path.is_dir() else self.path
            raise ValueError(f"{where}: {error}") from error
        trainer, self._evaluation, _ = sections(self.config)
        if missing := [name for name in self.about["plugins"] if name not in registry.plugins()]:
            raise ValueError(
                f"{self.path} was trained with plug-ins; set GAN_LAB_PLUGINS='{' '.join(self.about['plugins'])}' "
                f"(missing: {', '.join(missing)})"
            )
        shape, num_classes = tuple(self.about["sample_shape"]), self.about["num_classes"]
        columns = self.about.get("columns")  # older versions did not save them
        self.columns = from_plain(columns) if columns else described_by(shape, num_classes)
        self.inner: dict[str, TrainedRun] = {}  # the runs that the task is built from, by their path in the config
        with Affordable():
            values = supplied_values(shape, num_classes)
            self.task = build_task(self.config, self.columns, values, 0, self._inner_task)
        self.nets: nn.ModuleDict = self.task.nets
        self.weights = saved.averaged_by or "last"
        if saved.nets is not None:
            check_part(self.nets, saved.nets, "task/nets")
            self.nets.load_state_dict(saved.nets)
            self._load_memory(saved.memory, choose_device(device))
        if saved.averaged is not None:
            self.weights = f"ema {trainer.ema}"
            averaged = nn.ModuleDict({name: self.task.nets[name] for name in self.task.averaged})
            check_part(averaged, saved.averaged, "hook/EMA")
            averaged.load_state_dict(saved.averaged)
        self.nets.to(choose_device(device))

    def _inner_task(self, path: str) -> Any:
        inner = self.saved.inner
        if inner is not None and path not in inner:
            raise ValueError(f"{self.path} does not hold the run {path}, which it is built from")
        self.inner[path] = run = TrainedRun(Path(path), "cpu", saved=inner[path] if inner is not None else None)
        return run.task

    @property
    def to_save(self) -> saved_runs.Saved:
        """All that is needed to use it elsewhere: the weights that make the examples, and no other state."""
        memory = {
            name: part.state_dict()
            for name, part in self._memory(self.saved.memory).items()
            if name not in self.task.for_training
        }
        return replace(
            self.saved, nets=self.nets.state_dict(), averaged=None, memory=memory,
            averaged_by=None if self.weights == "last" else self.weights,
            inner={path: run.to_save for path, run in self.inner.items()},
        )  # fmt: skip

    def _memory(self, saved: Mapping[str, Any]) -> dict[str, nn.Module]:
        """What the task has learnt besides its networks, such as running moments, as far as it was saved."""
        parts = vars(self.task).items()
        modules = {name: part for name, part in parts if isinstance(part, nn.Module) and part is not self.nets}
        return {name: part for name, part in modules.items() if name in saved}

    def _load_memory(self, saved: Mapping[str, Any], device: torch.device) -> None:
        for name, part in self._memory(saved).items():
            check_part(part, saved[name], f"task/{name}")
            part.load_state_dict(saved[name])
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
        if not self.truncates:
            names = [name for name, cls in registry.generators.classes.items() if hasattr(cls, "truncation")]
            raise ValueError(
                f"--truncation {psi:g}: the networks of {self.path} have no mean style to go towards; these generators "
                f"have one: {', '.join(sorted(names))}"
            )
        for net in self._with_mean_style:
            net.truncation = psi

    @contextlib.contextmanager
    def truncated(self, psi: float | None) -> Iterator[None]:
        """A context of `truncate`; None changes nothing."""
        before = [net.truncation for net in self._with_mean_style]
        try:
            if psi is not None:
                self.truncate(psi)
            yield
        finally:
            for net, usual in zip(self._with_mean_style, before, strict=True):
                net.truncation = usual

    @property
    def truncates(self) -> bool:
        """Whether `truncate` can do something."""
        return bool(self._with_mean_style)

    @property
    def _with_mean_style(self) -> list[Any]:
        return [net for net in self.nets.values() if hasattr(net, "truncation")]

    @property
    def batch_norm(self) -> str:
        """The statistics of batch norm for examples: `running` ones, each `batch`'s own, or `standing` ones."""
        return "running" if self._standing else self._evaluation.batch_norm

    def settle(self) -> None:
        """Take standing statistics now, and keep them, where each call would take its own, at some seconds each."""
        if self.batch_norm == "standing":
            stack = contextlib.ExitStack()
            stack.enter_context(inference(self.nets, "standing", self.task.warm))
            self._standing = stack

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
