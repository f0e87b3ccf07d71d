"""Our extractors as torch-fidelity takes them, and pictures as it reads them: for checks against its own verdict."""

from __future__ import annotations

from typing import Any

import torch_fidelity
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_fidelity import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY


class Pictures(Dataset):  # type: ignore[type-arg]
    """uint8 [N, H, W, C] as uint8 [C, H, W] one by one."""

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures.permute(0, 3, 1, 2)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return self.pictures[index]


def register(name: str, extractor: nn.Module) -> str:
    """Make an extractor known to torch-fidelity under a name, which is returned."""

    class Wrapped(FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
            super().__init__(name, features_list)
            self.net = extractor

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
            seen = self.net(pictures)
            return tuple({"features": seen.features, "logits": seen.class_logits}[name] for name in self.features_list)

    if name not in FEATURE_EXTRACTORS_REGISTRY:
        torch_fidelity.register_feature_extractor(name, Wrapped)
    return name
