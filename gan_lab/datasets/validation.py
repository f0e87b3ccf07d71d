"""A part of the training data in place of the test data: what recipes and settings may be chosen by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gan_lab.core.forward_pass import key
from gan_lab.datasets.store import Rows, Store, cached, content_key

CHUNK = 10_000  # pictures written at once


class Validation:
    """A data set whose "test" are `count` pictures of its "train", drawn at random and alike in every run.

    Its real test pictures stay unseen, so that what was chosen by these can be reported on them. Everything else is the
    data set's own. Raises ValueError where so many would leave nothing to train on.
    """

    splits = ("train", "test")

    def __init__(self, dataset: Any, count: int) -> None:
        self.dataset, self.count = dataset, count

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def load(self, split: str = "train") -> Store:
        whole = self.dataset.load("train")
        if self.count >= len(whole):
            raise ValueError(f"evaluation.validation={self.count} of {len(whole):,} pictures leaves none to train on")
        generator = torch.Generator().manual_seed(key("validation", len(whole)))
        drawn = torch.randperm(len(whole), generator=generator)
        chosen = (drawn[: self.count] if split == "test" else drawn[self.count :]).sort().values
        # A store of its own, and not an index into the whole: what is large stays mapped from the disk.
        name = content_key(whole.digest, self.count, split, 1)
        return cached("validation", name, lambda skipped: _rows(whole, chosen.numpy(), skipped))


def _rows(whole: Store, chosen: np.ndarray, skipped: dict[str, str]) -> Rows:
    skipped.update(whole.skipped)
    for start in range(0, len(chosen), CHUNK):
        rows = torch.from_numpy(chosen[start : start + CHUNK])
        yield {name: column.index_select(0, rows).numpy() for name, column in whole.columns.items()}
