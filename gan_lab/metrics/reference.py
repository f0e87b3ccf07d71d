"""Features of pictures, and the data's features from a cache whose key has everything that they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.store import Store
from gan_lab.feature_extractors import Features
from gan_lab.metrics.distances import Moments, Statistics
from gan_lab.metrics.inputs import Reference, ReferenceSplit

BATCH = 128  # pictures in the extractor at once
Tell = Callable[[str], object]


def identity(extractor: nn.Module) -> str:
    """`<name>-<8 hex digits>`: a hash of its weights, and of settings that are not defaults and not in the name."""
    digest, settings = weights_hash(extractor), changed_settings(extractor)
    if settings:
        digest = hashlib.sha256(json.dumps([digest, settings], sort_keys=True, default=str).encode()).hexdigest()
    return f"{extractor.name}-{digest[:8]}"


def changed_settings(extractor: nn.Module) -> dict[str, Any]:
    """Settings other than the defaults that may change features although the weights are the same."""
    settings: dict[str, Any] = getattr(extractor, "settings", {})
    named = ("weights", *getattr(extractor, "settings_in_name", ()))
    return {name: value for name, value in settings.items() if name not in named}


def weights_hash(extractor: nn.Module) -> str:
    """The extractor's own `weights_hash`, else a hash of the names, shapes and values of all weights and buffers."""
    if known := getattr(extractor, "weights_hash", None):
        return str(known)
    digest = hashlib.sha256()
    for name, value in sorted(extractor.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value.cpu().numpy()).data)
    return digest.hexdigest()


def check(extractor: nn.Module, sample_shape: tuple[int, ...]) -> tuple[int, int]:
    """The number of dimensions of its features and of its classes (0: none), from a trial with two pictures.

    Raises ValueError where the trial fails.
    """
    name = getattr(extractor, "name", type(extractor).__name__)
    channels, height, width = sample_shape
    blank = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    try:
        features, class_logits = extract(extractor, blank)
    except Exception as error:  # extractors may raise any exception
        why = " ".join(str(error).split())[:200]
        raise ValueError(
            f"feature_extractor={name} cannot see samples of shape {tuple(sample_shape)}: {why}"
        ) from error
    if features.dim() != 2 or len(features) != 2:
        raise ValueError(
            f"feature_extractor={name} returns features of shape {tuple(features.shape)} for 2 pictures; wanted are "
            "[2, D]: choose another layer, or flatten it"
        )
    return features.shape[1], 0 if class_logits is None else class_logits.shape[1]


@torch.no_grad()
def extract(extractor: nn.Module, pictures: Tensor) -> Features:
    """Features, float32 on the CPU, of pictures uint8 [B, H, W, C]."""
    device = next((tensor.device for tensor in (*extractor.parameters(), *extractor.buffers())), torch.device("cpu"))
    seen = extractor(pictures.permute(0, 3, 1, 2).to(device))
    seen = seen if isinstance(seen, Features) else Features(seen)
    logits = seen.class_logits
    return Features(seen.features.float().cpu(), None if logits is None else logits.float().cpu())


def reference(
    train: Store,
    test: Store | None,
    extractor: nn.Module,
    device: torch.device,
    tell: Tell,
    column: str = "sample",
) -> Reference:
    """The features of one column of the data. Distances are computed on the device if it supports float64."""
    known = _known(train, extractor, "train", tell, column)
    held_out = None if test is None else _known(test, extractor, "test", tell, column)
    return Reference(known, held_out, device if device.type == "cuda" else torch.device("cpu"))


def has_test(dataset: Any) -> bool:
    return "test" in getattr(dataset, "splits", ())


def _known(store: Store, extractor: nn.Module, split: str, tell: Tell, column: str) -> ReferenceSplit:
    pictures, digest = store.columns[column], store.digest_of(column)
    about = (identity(extractor), weights_hash(extractor), getattr(extractor, "layer", None), extractor.resize)
    key = content_key(digest, *about, 1)

    def rows(_: dict[str, str]) -> Rows:
        tell(f"looking at {len(store):,} {split} pictures with {extractor.name}, once: the cache keeps what it sees")
        moments = Moments()
        for batch in pictures.split(BATCH):
            features = extract(extractor, batch).features
            moments.add(features)
            yield {"features": features.numpy()}
        finished = moments.finish()
        yield {"mean": finished.mean.numpy()[None], "covariance": finished.covariance.numpy()}

    columns = cached("features", key, rows, verify=True, mapped=store.mapped).columns
    known = Statistics(columns["mean"][0], columns["covariance"])
    return ReferenceSplit(columns["features"], known, digest, pictures, store.columns.get("label"))
