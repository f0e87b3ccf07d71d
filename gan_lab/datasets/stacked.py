"""Stacked MNIST (Metz et al. 2017, arXiv 1611.02163, section 3.3.1): data with a thousand countable modes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.nested import labelled_pictures
from gan_lab.datasets.stacked_modes import Classify, classified_modes, mode_of, modes_kl, modes_reached
from gan_lab.datasets.store import Store, scale, unscale
from gan_lab.neighbours import NearestNeighbour
from gan_lab.registry import Positive, datasets, feature_extractors

CHANNELS = 3
CHUNK = 2_000  # pictures stacked between two writes
KNOWN = 10_000  # at most so many pictures to find the nearest among; more would take minutes
AT_ONCE = 1_000  # pictures classified at a time


@datasets.register("stacked")
class Stacked:
    """Three random pictures of a grey data set with k classes, as the channels of one picture: k^3 classes.

    `source` is any such data set, and `path` its folder, if it reads one. The class is c0 k^2 + c1 k + c2; for digits,
    100 c0 + 10 c1 + c2. The draw is the same in every run; split "test" has its own draw, from the source's "test".
    Metrics: `modes` and `kl` of stacked_modes.py. Their classifier is the one that ships for the source, which is right
    for 99.4 % of unseen digits; for other sources, and pictures of less than 28 px, the nearest neighbour among the
    source's pictures (93 % of unseen digits).
    Raises ValueError for a source that is not grey or has no labels.
    """

    splits = ("train", "test")
    draws_again = True

    def __init__(
        self,
        *,
        source: str = "mnist5k",
        path: str | None = None,
        image_size: Positive | tuple[Positive, Positive] = 32,
        samples: Positive = 50_000,
    ) -> None:
        self.source, self.samples = labelled_pictures(source, path, image_size, grey=True), samples
        self.sample_shape = (CHANNELS, *self.source.sample_shape[1:])
        self.num_classes = self.source.num_classes**CHANNELS
        self._modes: tuple[str, Tensor] | None = None  # of the samples that were last classified

    def load(self, split: str = "train") -> Store:
        """Pictures, uint8 [N, H, W, 3], and classes, written in chunks. The cache key has the source's content."""
        source = self.source.load(split).columns
        content = [_digest(source["sample"]), _digest(source["label"])]
        key = content_key(content, self.source.num_classes, self.samples, split, 1)
        return cached("stacked", key, lambda skipped: self._rows(source, split))

    def _rows(self, source: Mapping[str, Tensor], split: str) -> Rows:
        random = torch.Generator().manual_seed(0 if split == "train" else 1)
        drawn = torch.randint(len(source["sample"]), (self.samples, CHANNELS), generator=random)
        for rows in drawn.split(CHUNK):
            pictures = torch.cat([source["sample"][channel] for channel in rows.unbind(1)], dim=3)
            yield {
                "sample": pictures.numpy(),
                "label": mode_of(source["label"][rows], self.source.num_classes).numpy(),
            }

    @property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]:
        return {
            "modes": lambda samples: modes_reached(self._classified(samples)),
            "kl": lambda samples: modes_kl(self._classified(samples), self._known[1], CHANNELS),
        }

    lower_is_better = ("kl",)

    @functools.cached_property
    def _known(self) -> tuple[Classify, Tensor]:
        """What tells the classes of grey pictures, float [N, 1, H, W] in [-1, 1], and the share of each in the data."""
        columns = self.source.load("train").columns
        pictures, labels = columns["sample"], columns["label"]
        share = torch.bincount(labels, minlength=self.source.num_classes).double() / len(labels)
        if shipped := _shipped(self.source):
            return shipped, share
        # Evenly spaced rows, because a source may be sorted by class.
        chosen = torch.arange(min(KNOWN, len(labels))) * len(labels) // min(KNOWN, len(labels))
        return NearestNeighbour(scale(pictures[chosen]), labels[chosen]), share

    def _classified(self, samples: Tensor) -> Tensor:
        """The modes of samples, kept for the second measure, which uses the same samples: computing them is slow."""
        digest = _digest(samples)
        if self._modes is None or self._modes[0] != digest:
            self._modes = digest, classified_modes(samples, self._known[0], self.source.num_classes)
        return self._modes[1]


def _shipped(source: Any) -> Classify | None:
    """The classifier that ships for these pictures. None where there is none, or where it takes none of their size."""
    name = getattr(source, "feature_extractor", None)
    if name is None:
        return None
    try:
        network = feature_extractors.build(OmegaConf.create({"name": name}), sample_shape=source.sample_shape).eval()
    except ValueError:
        return None

    @torch.no_grad()
    def classify(pictures: Tensor) -> Tensor:
        return torch.cat(
            [network(unscale(rows).movedim(-1, 1)).class_logits.argmax(1) for rows in pictures.cpu().split(AT_ONCE)]
        )

    return classify


def _digest(values: Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(values.cpu().numpy()).data).hexdigest()
