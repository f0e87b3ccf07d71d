"""Measures of the codes of pictures: how long they are, and how much of a codebook they use."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.metrics.base import OfColumns
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.restoration import mean
from gan_lab.registry import metrics


@metrics.register("bits")
class Bits(OfColumns):
    """The mean length of a picture's code in bits: log2 of the codebook's size an entry, or the divergence of `kl`."""

    word, reads, headline = "bits", frozenset({"bits"}), True

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        return mean(seen["bits"].double())


class OfCodebook(OfColumns):
    """A number of how often each entry is used by all pictures together."""

    reads, headline = frozenset({"codes", "bits"}), True

    @abstractmethod
    def of(self, shares: Tensor) -> float:
        """The number, from the entries' shares [size]."""

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        codes = seen["codes"]
        size = round(2 ** (float(seen["bits"][0]) / codes[0].numel()))  # all codes have one length
        shares = torch.bincount(codes.flatten(), minlength=size).double() / codes.numel()
        return {"value": self.of(shares), "size": size}


@metrics.register("codebook_use")
class CodebookUse(OfCodebook):
    """The share of a codebook's entries that occur."""

    word = "codebook_use"

    def of(self, shares: Tensor) -> float:
        return float((shares > 0).double().mean())


@metrics.register("perplexity")
class Perplexity(OfCodebook):
    """The exponential of the entropy of the entries' shares: as many entries, equally used, would have it."""

    word = "perplexity"

    def of(self, shares: Tensor) -> float:
        return float(torch.special.entr(shares).sum().exp())
