"""Uses a part of the training data in place of the test data, to choose recipes and settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.core.forward_pass import key
from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.store import Store, raw_bytes, take

CHUNK = 10_000  # rows written at once


class Validation:
    """A data set whose split "test" has `count` random rows of its "train", the same ones in every run.

    The real test rows are not used, so that final scores can be reported on them. All other attributes are the data
    set's own. A second domain also gets `count` held-out rows, with its own draw. Where the data set names a column by
    `split_by`, rows with equal values in it stay together: whole groups are taken from "train", and "test" has the
    first `count` rows of them. Raises ValueError where no row would be left to train on, and for data whose rows share
    parts (`draws_again`).
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
        if name == "dataset":  # not set yet while the object is copied or unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def load(self, split: str = "train") -> Store:
        whole = self.dataset.load("train")
        by = getattr(self.dataset, "split_by", None)
        chosen = {
            domain: self._chosen(domain, length, None if domain or not by else whole.columns[by])[split]
            for domain, length in whole.lengths.items()
        }
        others = [
            (name, hashlib.sha256(raw_bytes(column)).hexdigest())
            for name, column in sorted(whole.columns.items())
            if name != "sample"
        ]
        # A separate store, not an index into the whole one, so that a large store stays memory-mapped.
        about = [part for part in (whole.domains, by) if part]
        name = content_key(whole.digest, others, self.validation, split, *about, 2)
        known = whole.skipped if split == "train" else {}
        return cached(
            "validation",
            name,
            lambda skipped: _rows(whole, chosen, skipped, known),
            domains=whole.domains,
            mapped=whole.mapped,
        )

    def _chosen(self, domain: str, length: int, groups: Tensor | None) -> dict[str, Tensor]:
        """The sorted row numbers of a domain for each split. Rows of one group, by `groups` [N], are not divided."""
        about = (domain, length) if domain else (length,)
        drawn = torch.randperm(length, generator=torch.Generator().manual_seed(key("validation", *about)))
        test, train = drawn[: self.validation], drawn[self.validation :]
        if groups is not None:
            group = groups[drawn]
            held, count = torch.zeros(length, dtype=torch.bool), 0
            while count < min(self.validation, length):  # add all rows of the next row's group
                held |= group == group[~held][0]
                count = int(held.sum())
            test, train = drawn[held][: self.validation], drawn[~held]
        if not len(train):
            of_domain = f" of domain {domain}" if domain else ""
            raise ValueError(
                f"evaluation.validation={self.validation} of {length:,} pictures{of_domain} leaves none to train on"
            )
        return {"train": train.sort().values, "test": test.sort().values}


def _rows(whole: Store, chosen: Mapping[str, Tensor], skipped: dict[str, str], known: Mapping[str, str]) -> Rows:
    skipped.update(known)
    for domain, rows in chosen.items():
        columns = {name: column for name, column in whole.columns.items() if whole.domain_of(name) == domain}
        for part in rows.split(CHUNK):
            yield {name: take(column, part).numpy() for name, column in columns.items()}
