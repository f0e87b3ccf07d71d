"""Two small classifiers whose weights are part of the package, for distances between grey pictures.

`nox -s extractors` trains them. training.py has the recipe, and each file's metadata has its test accuracy.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gan_lab.feature_extractors import Features
from gan_lab.registry import feature_extractors

WEIGHTS = Path(__file__).parent / "weights"
SIDE, PADDED = 28, 32  # pixels: the classifiers' input, and the padded size of the data sets
DIMENSIONS = 64


class SmallClassifier(nn.Module):
    """Two convolutions, 64 features, and the logits of 10 classes: 162 thousand parameters.

    The features are standardized over the training pictures (batch normalization without scale and shift), so that
    all directions have the same weight and distances are in a readable range.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 5, stride=2, padding=2),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48 * 7 * 7, DIMENSIONS),
            nn.BatchNorm1d(DIMENSIONS, affine=False),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(DIMENSIONS, num_classes))

    def forward(self, pictures: Tensor) -> Features:
        """Pictures, float [B, 1, 28, 28] in [0, 1]."""
        features = self.body(pictures)
        return Features(features, self.head(features))


class ShippedClassifier(SmallClassifier):
    """A classifier with shipped weights. Its input is 28 px: the centre of 32 px, to which other sizes are resized.

    Raises ValueError for pictures that are not grey, not square, or smaller than 28 px.
    """

    name: str
    layer = f"features ({DIMENSIONS})"

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        super().__init__()
        if len(sample_shape) != 3 or sample_shape[0] != 1 or not SIDE <= sample_shape[1] == sample_shape[2]:
            raise ValueError(
                f"feature_extractor={self.name} sees square grey pictures of {SIDE} px or more, not samples of shape "
                f"{tuple(sample_shape)}"
            )
        size = sample_shape[1]
        self.resize = {SIDE: "none", PADDED: f"centre {SIDE} of {PADDED}"}.get(
            size, f"{size} to {PADDED} bilinear antialiased, centre {SIDE}"
        )
        file = WEIGHTS / f"{self.name}.safetensors"
        self.weights_hash = hashlib.sha256(file.read_bytes()).hexdigest()
        self.classifies = self.name  # the data set whose classes it predicts
        try:
            self.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{file} is damaged; install the package again") from error

    def forward(self, pictures: Tensor) -> Features:
        """Pictures, uint8 [B, 1, H, H]."""
        return super().forward(centre(pictures.to(torch.get_default_dtype()) / 255))

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """The maps [B, 24, 14, 14] and [B, 48, 7, 7] after both rectifiers, for a distance that can be trained on.

        Pictures are float [B, 1, H, H] in [0, 1].
        """
        first, second = self.body[:3], self.body[3:6]
        maps = [first(centre(pictures))]
        return [*maps, second(maps[0])]

    def stages(self) -> list[nn.Module]:
        """The two convolutions with their rectifiers, for a discriminator; batch norm is folded into them.

        Pictures, float [B, 1, H, W] in [0, 1] of any size, to [B, 24, H/2, W/2], and these to [B, 48, H/4, W/4].
        """
        layers: list[Any] = list(self.body)
        return [nn.Sequential(fuse_conv_bn_eval(*layers[i : i + 2]), layers[i + 2]) for i in (0, 3)]


def centre(pictures: Tensor) -> Tensor:
    """Pictures [B, 1, H, H] without the padded border: [B, 1, 28, 28]."""
    if pictures.shape[-1] not in (SIDE, PADDED):
        pictures = functional.interpolate(pictures, PADDED, mode="bilinear", antialias=True, align_corners=False)
    border = (pictures.shape[-1] - SIDE) // 2
    return pictures[..., border : border + SIDE, border : border + SIDE]


@feature_extractors.register("mnist5k")
class MNIST5kClassifier(ShippedClassifier):
    """Trained on the 4,000 training digits of mnist5k."""

    name = "mnist5k"


@feature_extractors.register("fashion_mnist")
class FashionMNISTClassifier(ShippedClassifier):
    """Trained on the 60,000 training pictures of Fashion-MNIST."""

    name = "fashion_mnist"
