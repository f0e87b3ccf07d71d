"""Feature extractors: networks whose features are used to compare samples with data.

An extractor is a module that maps pictures, uint8 [B, C, H, W], to `Features`, or to a tensor of features [B, D]. Its
attributes `resize` (how it changes a picture first) and `layer` (which layer it returns) are optional; both are part of
a distance's provenance. Its weights never change: their hash is part of the name of every number. One family a file;
the registry imports every module here.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """The output of an extractor for a batch of pictures."""

    features: Tensor  # float [B, D]
    class_logits: Tensor | None = None  # float [B, k] where it classifies
