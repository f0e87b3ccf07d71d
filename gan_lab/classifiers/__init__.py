"""Classifiers: `C(image [B, C, H, W] in [-1, 1]) -> class logits [B, num_classes]`, in two halves.

`features` maps images to [B, feature_dim], and `head` maps those to logits: a game may have two copies of one half, or
may show features to a discriminator. One architecture family a file; the registry imports every module here.
"""

from __future__ import annotations

from torch import Tensor, nn


class Classifier(nn.Module):
    """A classifier with the halves `features` and `head`. Subclass it, make both, and register the class."""

    features: nn.Module  # images [B, C, H, W] to [B, feature_dim]
    head: nn.Module  # [B, feature_dim] to logits [B, num_classes]
    feature_dim: int

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(image))
        return logits
