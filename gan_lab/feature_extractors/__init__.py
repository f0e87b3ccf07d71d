"""Feature extractors: what samples are compared by. One family a file; the registry imports every module here.

An extractor is a module that maps pictures, uint8 [B, C, H, W], to `Features`, or to a bare tensor of features [B, D].
It may say how it changes a picture before it looks (`resize`) and which of its layers it returns (`layer`), both of
which belong to what a distance means. Its weights never change: their hash is part of the name of every number.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """What an extractor sees in pictures."""

    features: Tensor  # float [B, D]
    class_logits: Tensor | None = None  # float [B, k] where it classifies
