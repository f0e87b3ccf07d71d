"""A part of the training data in place of the test data: what recipes and settings may be chosen by."""

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
    """A data set whose "test" are `count` rows of its "train", drawn at random and alike in every run.

    Its real test rows stay unseen, so that what was chosen by these can be reported on them. Everything else is the
    data set's own. Of a second domain as many rows are held out, drawn on their own. Where the data set names a column
    by `split_by`, rows that are equal in it go together: so many are held out in whole groups, and the last group's
    rest is left aside. Raises ValueError where so many would leave nothing to train on, and for data that are drawn
    from the same few pictures again and again.
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
        # A store of its own, and not an index into the whole: what is large stays mapped from the disk.
        about = [part for part in (whole.domains, by) if part]
        name = content_key(whole.digest, others, self.validation, split, *about, 2)
        told = whole.skipped if split == "train" else {}
        return cached("validation", name, lambda skipped: _rows(whole, chosen, skipped, told), domains=whole.domains)

    def _chosen(self, domain: str, length: int, groups: Tensor | None) -> dict[str, Tensor]:
        """The numbers of a domain's rows that belong to each split, ascending; groups [N] of rows are not divided."""
        about = (domain, length) if domain else (length,)
        drawn = torch.randperm(length, generator=torch.Generator().manual_seed(key("validation", *about)))
        test, train = drawn[: self.validation], drawn[self.validation :]
        if groups is not None:
            of = groups[drawn]
            held, count = torch.zeros(length, dtype=torch.bool), 0
            while count < min(self.validation, length):  # the group of the next row, with all of its rows
                held |= of == of[~held][0]
                count = int(held.sum())
            test, train = drawn[held][: self.validation], drawn[~held]
        if not len(train):
            of_domain = f" of domain {domain}" if domain else ""
            raise ValueError(
                f"evaluation.validation={self.validation} of {length:,} pictures{of_domain} leaves none to train on"
            )
        return {"train": train.sort().values, "test": test.sort().values}


def _rows(whole: Store, chosen: Mapping[str, Tensor], skipped: dict[str, str], told: Mapping[str, str]) -> Rows:
    skipped.update(told)
    for domain, rows in chosen.items():
        columns = {name: column for name, column in whole.columns.items() if whole.domain_of(name) == domain}
        for part in rows.split(CHUNK):
            yield {name: take(column, part).numpy() for name, column in columns.items()}
