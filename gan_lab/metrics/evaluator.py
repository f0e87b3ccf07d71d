"""Scores of samples: chooses the measures for a data set, computes them in one pass, and adds their provenance."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab import __version__
from gan_lab.datasets.columns import described
from gan_lab.datasets.store import Store, unscale
from gan_lab.metrics.base import Metric, OfSamples
from gan_lab.metrics.inputs import MetricInputs, Reference
from gan_lab.metrics.reference import (
    BATCH,
    changed_settings,
    check,
    extract,
    has_test,
    identity,
    reference,
    weights_hash,
)
from gan_lab.registry import metrics, unknown

Example = Mapping[str, Tensor]  # columns: "sample", float [n, C, H, W] in [-1, 1] or points [n, 2], and others
Draw = Callable[[int, int], Iterator[Example]]  # (number, noise seed) -> batches of examples
Scores = dict[str, dict[str, Any]]  # {name: {"value": number, provenance...}}


FEATURES, LOGITS = "features of the extractor", "logits of the extractor"  # columns beside those of a task
FEWEST = 10  # pictures of a split; with fewer, a picture has too few neighbours for some measures


class NotFinite(ValueError):
    """Samples are not finite: the generator has diverged."""


class Evaluator:
    """The measures of a data set with one feature extractor (or none), and the values that are computed only once.

    `names` chooses the measures. None takes those that the task names, else all that are possible; `notes` lists those
    that are not. `why_none` is the reason where there is no extractor. `task` is the task that makes the examples, or
    None for pictures from another source (its `columns`, `measures`, `reference` and `bar` are read: see
    `tasks.contract.Task`). Raises ValueError for a name that is unknown, or that cannot be measured, with the reason.
    """

    def __init__(
        self,
        dataset: Any,
        data: Callable[[], Store],
        extractor: nn.Module | None,
        names: Sequence[str] | None,
        *,
        why_none: str | None = None,
        device: torch.device | str = "cpu",
        task: Any = None,
    ) -> None:
        self.dataset, self.data, self.extractor, self.task = dataset, data, extractor, task
        self.column: str = getattr(task, "reference", "sample")  # the data's column that samples are compared with
        known = described(dataset).get(self.column)
        self.eight_bits = known is None or known.dtype == "uint8"
        self.device = torch.device(device)
        if self.device.type == "meta":  # networks without values are still checked against the data
            self.device = torch.device("cpu")
        self.tell: Callable[[str], object] = lambda line: None
        self.gathered: Callable[[Generator[Example]], Generator[Example]] = lambda own: own  # with other ranks' batches
        self.notes: list[str] = []
        self.absent: dict[str, str] = {}  # measures without a value for the last samples -> the reason
        self.dimensions, self.num_classes = 0, 0  # of the extractor
        self._splits: tuple[Store, Store | None] | None = None
        self._reference: Reference | None = None
        self.seen: MetricInputs | None = None  # the pictures of the last measurement, with their features
        self.identity = ""
        if extractor is not None:
            if not hasattr(extractor, "name"):
                extractor.name = type(extractor).__name__  # type: ignore[assignment]
            if not hasattr(extractor, "resize"):
                extractor.resize = "its own"  # type: ignore[assignment]
            self.identity = identity(extractor)
            extractor.requires_grad_(False).eval().to(self.device)
            self.dimensions, self.num_classes = check(extractor, tuple(dataset.sample_shape))
        self.metrics = self._choose(names, why_none)
        if not any(metric.uses_features for metric in self.metrics.values()) and self._named_by_task(names):
            self.extractor = None

    # -- the choice of measures ------------------------------------------------------------------------------------

    def _choose(self, names: Sequence[str] | None, why_none: str | None) -> dict[str, Metric]:
        """The measures by their words."""
        lower: Sequence[str] = getattr(self.dataset, "lower_is_better", ())
        bars: Sequence[str] = getattr(self.dataset, "bars", ())  # that depend on no network
        own = {
            word: OfSamples(word, measure, "lower" if word in lower else "higher", constant=word in bars)
            for word, measure in getattr(self.dataset, "metrics", {}).items()
        }
        known: dict[str, Metric] = own | {name: cls() for name, cls in metrics.classes.items()}
        # fd_test inherits fd's reserved word; the word means the one that was registered first
        bare = {metric.bare: name for name, metric in reversed(known.items()) if metric.bare}
        if names is None:
            offered = {word: metric for word, metric in known.items() if not self._lacks(metric)}
            if (named := self._named_by_task(names)) is not None:
                self.notes += [f"no {w}: {self._lacks(known[w])}" for w in named if w in known.keys() - offered.keys()]
                return {word: offered[word] for word in named if word in offered}
            if self.extractor is None and not own and why_none:
                self.notes.append(f"no scores: {why_none}")
            return offered
        chosen: dict[str, Metric] = {}
        for name in names:
            word = bare.get(name, name)
            if word not in known:
                raise unknown("evaluation.metrics", name, known)
            metric = known[word]
            if name in bare and metric.name(self.identity).split("/")[0] != name:
                raise ValueError(
                    f"evaluation.metrics={name}: this word belongs to feature_extractor=inception-v3-compat with its "
                    f"published weights; with another one it is {word}"
                )
            if lack := self._lacks(metric):
                why = why_none if metric.uses_features and self.extractor is None and why_none else lack
                raise ValueError(f"evaluation.metrics={name} cannot be measured: {why}")
            chosen[word] = metric
        return chosen

    def _named_by_task(self, names: Sequence[str] | None) -> Sequence[str] | None:
        named: Sequence[str] | None = getattr(self.task, "measures", None)
        return named if names is None else None

    def _lacks(self, metric: Metric) -> str | None:
        """The reason why a measure is not possible; None where it is."""
        columns = getattr(self.task, "columns", frozenset({"sample", "label"}))
        if missing := (metric.reads | (metric.needs & {"bar", "reconstruction"})) - columns:
            return f"this task's examples have no {' and no '.join(sorted(missing))}"
        return metric.lacks() or (self._lacks_for_features(metric) if metric.uses_features else None)

    def _lacks_for_features(self, metric: Metric) -> str | None:
        extractor, dataset = self.extractor, self.dataset
        if not self.eight_bits:
            return "feature extractors see pictures of 8 bits, and these data have others"
        if extractor is None:
            return "it needs a feature extractor; see gan-lab list feature_extractors"
        if "class_logits" in metric.needs and not self.num_classes:
            return f"feature_extractor={extractor.name} does not classify"
        own = getattr(dataset, "feature_extractor", None)
        tells = self.num_classes == dataset.num_classes and getattr(extractor, "classifies", own) == own
        if "classes" in metric.needs and not tells:
            return f"feature_extractor={extractor.name} does not tell this data set's classes"
        if "test" in metric.needs and not has_test(dataset):
            return "the data set has no held-out pictures, a split test"
        return None

    def check_number(self, samples: int, names: Sequence[str] | None, key: str) -> None:
        """Check the number of samples. A requested measure that needs more raises ValueError; others get a note."""
        few = {word: metric.minimum(self.dimensions) for word, metric in self.metrics.items()}
        few = {word: minimum for word, minimum in few.items() if minimum > samples}
        if few and names is not None:
            word, minimum = max(few.items(), key=lambda item: item[1])
            raise ValueError(f"{key}={samples}: {word} takes {minimum:,} samples at least")
        if few:
            needed = ", ".join(f"{word} takes {minimum:,}" for word, minimum in few.items())
            self.notes.append(f"{key}={samples} is too few for some scores: {needed}")

    @property
    def names(self) -> dict[str, Metric]:
        """The measures by the names of their numbers."""
        return {metric.name(self.identity): metric for metric in self.metrics.values()}

    def selecting(self, word: str | None, samples: int) -> tuple[str, bool] | None:
        """The name of the score that selects checkpoints, and whether less is better; None where there is none.

        Without `word`, it is the first one for which `samples` are enough. Raises ValueError for a measure that is not
        computed, that needs more samples, or that has no direction.
        """
        if word is not None and word not in self.metrics:
            raise unknown("evaluation.select_by", word, self.metrics)
        directed = {word: metric for word, metric in self.metrics.items() if metric.better and not metric.constant}
        if word is not None and self.metrics[word].constant:
            raise ValueError(f"evaluation.select_by={word}: it is the same for all checkpoints; choose another")
        if word is not None and word not in directed:
            raise ValueError(f"evaluation.select_by={word}: more of it is neither better nor worse")
        enough = {word: metric for word, metric in directed.items() if metric.minimum(self.dimensions) <= samples}
        if word is not None and word not in enough:
            least = directed[word].minimum(self.dimensions)
            raise ValueError(f"evaluation.select_by={word} takes evaluation.selection_samples={least} at least")
        metric = enough[word] if word else next(iter(enough.values()), None)
        return (metric.name(self.identity), metric.better == "lower") if metric else None

    @property
    def held_out(self) -> Store | None:
        """The split "test", if it is loaded."""
        return self._splits[1] if self._splits else None

    # -- measuring -------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the data's splits, so that errors in them are found before training and not at the first score.

        Raises ValueError where they cannot be loaded, or have too few pictures.
        """
        if self.extractor is None or self._splits is not None:
            return
        train, test = self.data(), self.dataset.load("test") if has_test(self.dataset) else None
        for split, store in (("train", train), ("test", test)):
            if store is not None and len(store) < FEWEST:
                raise ValueError(
                    f"split {split} has {len(store)} pictures; scores compare with {FEWEST} at least: "
                    "evaluation.metrics=[] goes without"
                )
        self._splits = train, test

    @property
    def reference(self) -> Reference:
        """The data that samples are compared with. The first call may take minutes; `tell` receives a line then."""
        assert self.extractor is not None
        if self._reference is None:
            self.load()
            assert self._splits is not None
            self._reference = reference(*self._splits, self.extractor, self.device, self.tell, self.column)
        return self._reference

    def prepared(self, examples: Iterator[Example]) -> Generator[Example]:
        """What measures see of examples, in batches: samples as they are stored, other columns, and features.

        Raises NotFinite for samples that are not.
        """
        for batch in rebatched(examples):
            sample = batch["sample"]
            if sample.dim() == 4:
                if not torch.isfinite(sample).all():
                    raise NotFinite("some samples are not finite")
                sample = unscale(sample) if self.eight_bits else sample
            seen = {**batch, "sample": sample}
            if self.extractor is not None:
                features, logits = extract(self.extractor, sample)
                seen |= {FEATURES: features} if logits is None else {FEATURES: features, LOGITS: logits}
            yield seen

    def look(self, examples: Iterator[Example]) -> MetricInputs:
        """The inputs of the measures, from one pass over the examples. Raises NotFinite for samples that are not."""
        columns: dict[str, list[Tensor]] = {}
        with contextlib.closing(self.gathered(self.prepared(examples))) as batches:
            for batch in batches:
                for name, column in batch.items():
                    columns.setdefault(name, []).append(column)
        joined = {name: torch.cat(parts) for name, parts in columns.items()}
        raw, features, logits = joined.pop("sample"), joined.pop(FEATURES, None), joined.pop(LOGITS, None)
        return MetricInputs(
            raw,
            joined,
            features,
            logits,
            self.reference if self.extractor is not None else None,
            getattr(self.task, "bar", None),
            getattr(self.task, "reconstruct", None),
            None if self.extractor is None else functools.partial(_features, self.extractor),
            self.data,
        )

    def __call__(self, draw: Draw, num: int, seeds: Sequence[int], **provenance: Any) -> Scores:
        """All measures of `num` samples; those with `over_noise` as the mean over all noise seeds.

        Samples that are not finite get None as the value, with the reason. Measures that are constant are left out of
        scores for selection.
        """
        about = {"samples": num, **provenance, "versions": versions()}
        selection = bool(provenance.get("selection"))
        found: dict[str, list[Mapping[str, Any]]] = {}
        self.seen, self.absent = None, {}
        for i, seed in enumerate(seeds):
            chosen = {
                word: metric
                for word, metric in self.metrics.items()
                if num >= metric.minimum(self.dimensions)
                and (i == 0 or metric.over_noise)
                and not (metric.constant and selection)
            }
            if not chosen:
                break
            try:
                seen = self.look(draw(num, seed))
            except NotFinite as error:
                return {
                    metric.name(self.identity): {"value": None, "why": str(error)} | self._about(metric, about, seeds)
                    for metric in chosen.values()
                }
            about["samples"] = len(seen)  # fewer than `num` where the data have fewer rows
            if i == 0 and self.extractor is not None and not getattr(self.task, "needs_data", False):
                self.seen = seen
            for word, metric in chosen.items():
                value = metric(seen)
                if value is None:
                    self.absent[word] = metric.absent
                else:
                    entry = value if isinstance(value, Mapping) else {"value": value}
                    found.setdefault(word, []).append(entry)
        return {
            self.metrics[word].name(self.identity): _folded(entries)
            | self._about(self.metrics[word], about, seeds[: len(entries)])
            for word, entries in found.items()
        }

    def _about(self, metric: Metric, about: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
        """A number's provenance: fields that must be equal for two numbers to be compared, and further facts."""
        known: dict[str, Any] = {**about, "noise_seeds": list(seeds), "better": metric.better}
        extractor = self.extractor
        if not metric.uses_features or extractor is None:
            return known
        known |= {
            "extractor": extractor.name,
            "extractor_weights": weights_hash(extractor),
            "extractor_settings": changed_settings(extractor),
            "layer": getattr(extractor, "layer", None),
            "resize": extractor.resize,
            "quantization": "uint8",
            "split": metric.split,
        }
        if held := getattr(self.dataset, "validation", 0):
            known["validation"] = held  # training pictures that are used as split "test"
        if metric.split:
            split = self.reference.test if metric.split == "test" else self.reference.train
            assert split is not None
            known |= {"reference": split.digest[:16], "reference_samples": len(split)}
        return known


def versions() -> dict[str, str]:
    """Versions of the software: numbers may differ in the last digits between them."""
    fidelity = importlib.metadata.version("torch-fidelity")
    torches = {"torch": str(torch.__version__), "torch_fidelity": fidelity}
    return {"gan_lab": __version__, "python": platform.python_version(), **torches}


def rebatched(examples: Iterator[Example]) -> Iterator[Example]:
    """The same examples, which come in small chunks, in batches for the extractor."""
    waiting: list[Example] = []
    for chunk in examples:
        waiting.append(chunk)
        if sum(len(part["sample"]) for part in waiting) >= BATCH:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _features(extractor: nn.Module, pictures: Tensor) -> Tensor:
    return extract(extractor, pictures).features


def _joined(chunks: list[Example]) -> Example:
    return {name: torch.cat([part[name] for part in chunks]) for name in chunks[0]}


def _folded(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One entry from those of several noise seeds: the means of all numbers, and the values' standard deviation.

    A standard error is the mean of the seeds' standard errors.
    """
    if len(entries) == 1:
        return dict(entries[0])
    folded = dict(entries[0])
    for name, first in entries[0].items():
        if isinstance(first, (int, float)):
            folded[name] = sum(entry[name] for entry in entries) / len(entries)
    values = torch.tensor([entry["value"] for entry in entries]).double()
    return folded | {"values": values.tolist(), "deviation_over_noise": float(values.std())}
