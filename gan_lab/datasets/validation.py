"""A part of the training data in place of the test data: what recipes and settings may be chosen by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gan_lab.core.forward_pass import key
from gan_lab.datasets.store import Rows, Store, cached, content_key

CHUNK = 10_000  # pictures written at once


class Validation:
    """A data set whose "test" are `count` pictures of its "train", drawn at random and alike in every run.

    Its real test pictures stay unseen, so that what was chosen by these can be reported on them. Everything else is the
    data set's own. Raises ValueError where so many would leave nothing to train on, and for data that are drawn from
    the same few pictures again and again.
    """

    splits = ("train", "test")

    def __init__(self, dataset: Any, count: int) -> None:
        if getattr(dataset, "draws_again", False):
            raise ValueError(
                f"evaluation.validation={count}: pictures of this data set share their parts, so those held out would "
                "be no unseen ones; set it to 0"
            )
        self.dataset, self.validation = dataset, count

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not there yet, in the middle of being copied
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def load(self, split: str = "train") -> Store:
        whole = self.dataset.load("train")
        if self.validation >= len(whole):
            raise ValueError(
                f"evaluation.validation={self.validation} of {len(whole):,} pictures leaves none to train on"
            )
        generator = torch.Generator().manual_seed(key("validation", len(whole)))
        drawn = torch.randperm(len(whole), generator=generator)
        chosen = (drawn[: self.validation] if split == "test" else drawn[self.validation :]).sort().values
        others = [
            (name, hashlib.sha256(np.ascontiguousarray(column.numpy()).data).hexdigest())
            for name, column in sorted(whole.columns.items())
            if name != "sample"
        ]
        # A store of its own, and not an index into the whole: what is large stays mapped from the disk.
        name = content_key(whole.digest, others, self.validation, split, 2)
        told = whole.skipped if split == "train" else {}
        return cached("validation", name, lambda skipped: _rows(whole, chosen.numpy(), skipped, told))


def _rows(whole: Store, chosen: np.ndarray, skipped: dict[str, str], told: Mapping[str, str]) -> Rows:
    skipped.update(told)
    for start in range(0, len(chosen), CHUNK):
        rows = torch.from_numpy(chosen[start : start + CHUNK])
        yield {name: column.index_select(0, rows).numpy() for name, column in whole.columns.items()}
