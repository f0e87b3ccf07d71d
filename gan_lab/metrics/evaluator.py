"""Scores of samples: which ones there are for some data, one pass over the samples for all of them, and provenance."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab import __version__
from gan_lab.datasets.store import Store, unscale
from gan_lab.metrics.base import Metric, OfSamples
from gan_lab.metrics.evidence import Evidence, Reference
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

# Samples in [-1, 1], float [n, C, H, W] or points [n, 2], and the classes [n] they were asked for, where that matters.
Samples = Iterator[tuple[Tensor, Tensor | None]]
Draw = Callable[[int, int], Samples]  # of a number and a noise seed
Scores = dict[str, dict[str, Any]]  # {name: {"value": number, provenance...}}


FEWEST = 10  # pictures of a split: each must have more neighbours than the measures ask for


class NotFinite(ValueError):
    """A generator that has diverged."""


class Evaluator:
    """The measures of a data set through one feature extractor (or none), with everything that is computed once.

    `names` chooses them; None takes all that can be had, and `notes` says which could not. `why_none` says why there is
    no extractor. Raises ValueError for a name that is unknown, or that cannot be measured here, with the reason.
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
    ) -> None:
        self.dataset, self.data, self.extractor = dataset, data, extractor
        self.device = torch.device(device)
        if self.device.type == "meta":  # networks without values are still checked against the data
            self.device = torch.device("cpu")
        self.tell: Callable[[str], object] = lambda line: None
        self.notes: list[str] = []
        self.absent: dict[str, str] = {}  # measures that the last samples could not be given, and why
        self.dimensions, self.num_classes = 0, 0  # of the extractor
        self._splits: tuple[Store, Store | None] | None = None
        self._reference: Reference | None = None
        self.seen: Evidence | None = None  # the pictures that were measured last, with their features
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

    # -- which ones ------------------------------------------------------------------------------------------------

    def _choose(self, names: Sequence[str] | None, why_none: str | None) -> dict[str, Metric]:
        """The measures by their words."""
        lower: Sequence[str] = getattr(self.dataset, "lower_is_better", ())
        own = {
            word: OfSamples(word, measure, "lower" if word in lower else "higher")
            for word, measure in getattr(self.dataset, "metrics", {}).items()
        }
        known: dict[str, Metric] = own | {name: cls() for name, cls in metrics.classes.items()}
        # fd_test has fd's word, too: the first one registered is meant by it
        bare = {metric.bare: name for name, metric in reversed(known.items()) if metric.bare}
        if names is None:
            able = {word: metric for word, metric in known.items() if word in own or not self._lacks(metric)}
            if self.extractor is None and not own and why_none:
                self.notes.append(f"no scores: {why_none}")
            return able
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
            if word not in own and (lack := self._lacks(metric)):
                why = why_none if self.extractor is None and why_none else lack
                raise ValueError(f"evaluation.metrics={name} cannot be measured: {why}")
            chosen[word] = metric
        return chosen

    def _lacks(self, metric: Metric) -> str | None:
        """What it needs that is not there."""
        extractor, dataset = self.extractor, self.dataset
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
        """Raise ValueError where a measure that was asked for takes more samples than that; note the others."""
        few = {word: metric.minimum(self.dimensions) for word, metric in self.metrics.items()}
        few = {word: minimum for word, minimum in few.items() if minimum > samples}
        if few and names is not None:
            word, minimum = max(few.items(), key=lambda item: item[1])
            raise ValueError(f"{key}={samples}: {word} takes {minimum:,} samples at least")
        if few:
            told = ", ".join(f"{word} takes {minimum:,}" for word, minimum in few.items())
            self.notes.append(f"{key}={samples} is too few for some scores: {told}")

    @property
    def names(self) -> dict[str, Metric]:
        """The measures by the names of their numbers."""
        return {metric.name(self.identity): metric for metric in self.metrics.values()}

    def selecting(self, word: str | None, samples: int) -> tuple[str, bool] | None:
        """The number by which checkpoints are chosen, and whether less of it is better.

        It is the first one that so many samples suffice for, unless named. Raises ValueError for one that is not
        measured, that takes more samples, or that says nothing about better and worse.
        """
        if word is not None and word not in self.metrics:
            raise unknown("evaluation.select_by", word, self.metrics)
        directed = {word: metric for word, metric in self.metrics.items() if metric.better}
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
        """The split "test", where it is loaded."""
        return self._splits[1] if self._splits else None

    # -- measuring -------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """The data's splits, before anything else: what is wrong with them is found then, and not at the first score.

        Raises ValueError where they cannot be had, or are too few to compare with.
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
        """What samples are compared with, in `tell`'s hearing: the first time may take minutes."""
        assert self.extractor is not None
        if self._reference is None:
            self.load()
            assert self._splits is not None
            self._reference = reference(*self._splits, self.extractor, self.device, self.tell)
        return self._reference

    def look(self, samples: Samples) -> Evidence:
        """All that there is to see in samples, in one pass. Raises NotFinite for pictures that are not."""
        raw, asked, features, logits = [], [], [], []
        for batch, label in rebatched(samples):
            pictures = batch
            if batch.dim() == 4:
                if not torch.isfinite(batch).all():
                    raise NotFinite("some samples are not finite")
                pictures = unscale(batch)
            raw.append(pictures)
            if label is not None:
                asked.append(label)
            if self.extractor is not None:
                seen = extract(self.extractor, pictures)
                features.append(seen.features)
                if seen.class_logits is not None:
                    logits.append(seen.class_logits)
        return Evidence(
            torch.cat(raw),
            torch.cat(asked) if asked else None,
            torch.cat(features) if features else None,
            torch.cat(logits) if logits else None,
            self.reference if self.extractor is not None else None,
        )

    def __call__(self, draw: Draw, num: int, seeds: Sequence[int], **provenance: Any) -> Scores:
        """Every measure of `num` samples, those of `over_noise` as the mean over all noise seeds.

        Samples that are not finite have no scores: None, with the reason.
        """
        about = {"samples": num, **provenance, "versions": versions()}
        found: dict[str, list[Mapping[str, Any]]] = {}
        self.seen, self.absent = None, {}
        for i, seed in enumerate(seeds):
            chosen = {
                word: metric
                for word, metric in self.metrics.items()
                if num >= metric.minimum(self.dimensions) and (i == 0 or metric.over_noise)
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
            if i == 0 and self.extractor is not None:
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
        """A number's provenance: what must be equal for two of them to be comparable, and what may be of interest."""
        known: dict[str, Any] = {**about, "noise_seeds": list(seeds), "better": metric.better}
        extractor = self.extractor
        if isinstance(metric, OfSamples) or extractor is None:
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
            known["validation"] = held  # pictures, which "test" then means
        if metric.split:
            split = self.reference.test if metric.split == "test" else self.reference.train
            assert split is not None
            known |= {"reference": split.digest[:16], "reference_samples": len(split)}
        return known


def versions() -> dict[str, str]:
    """What the numbers were computed with: they may differ in the last digits between versions."""
    fidelity = importlib.metadata.version("torch-fidelity")
    torches = {"torch": str(torch.__version__), "torch_fidelity": fidelity}
    return {"gan_lab": __version__, "python": platform.python_version(), **torches}


def rebatched(samples: Samples) -> Samples:
    """The same samples in batches of the extractor's size: they come in smaller chunks."""
    waiting: list[tuple[Tensor, Tensor | None]] = []
    for chunk in samples:
        waiting.append(chunk)
        if sum(len(part) for part, _ in waiting) >= BATCH:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(chunks: list[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    labels = [label for _, label in chunks if label is not None]
    return torch.cat([part for part, _ in chunks]), torch.cat(labels) if labels else None


def _folded(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One entry of several noise seeds' entries: means of the numbers, and the values' standard deviation.

    A standard error is then the mean of each seed's own.
    """
    if len(entries) == 1:
        return dict(entries[0])
    folded = dict(entries[0])
    for name, first in entries[0].items():
        if isinstance(first, (int, float)):
            folded[name] = sum(entry[name] for entry in entries) / len(entries)
    values = torch.tensor([entry["value"] for entry in entries]).double()
    return folded | {"values": values.tolist(), "deviation_over_noise": float(values.std())}
