"""`auto`, which chooses an extractor that fits the data and needs no download, and `none`."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from torch import nn

from gan_lab.feature_extractors.fidelity import INCEPTION, downloaded
from gan_lab.registry import feature_extractors


class NoExtractor(ValueError):
    """No extractor fits the data, or its weights are not on this machine. With `auto`, feature metrics are skipped."""


@feature_extractors.register("auto")
def auto(dataset: Any, sample_shape: tuple[int, ...]) -> nn.Module:
    """The data set's own extractor, else Inception if its weights were downloaded before. Nothing is downloaded.

    Raises NoExtractor where there is neither.
    """
    own = getattr(dataset, "feature_extractor", None)
    if own is None and len(sample_shape) != 3:
        raise NoExtractor("these samples are points, and no extractor is made for them")
    if own is None and not downloaded(INCEPTION):
        raise NoExtractor(
            "none ships for these data, and Inception's weights are not here: feature_extractor=inception-v3-compat "
            "downloads them, feature_extractor.weights=FILE reads them"
        )
    name = own or INCEPTION
    try:
        extractor: nn.Module = feature_extractors.build(OmegaConf.create({"name": name}), sample_shape=sample_shape)
    except ValueError as error:
        raise NoExtractor(str(error)) from error
    return extractor


@feature_extractors.register("none")
def none() -> nn.Module:
    """No extractor. Measures that need one are skipped."""
    raise NoExtractor("feature_extractor=none")
