"""Small convolutional classifiers of small pictures."""

from __future__ import annotations

from torch import nn

from gan_lab.classifiers import Classifier
from gan_lab.layers import ImageSize, sides
from gan_lab.registry import Positive, Share, classifiers

SMALLEST = 4  # pixels a side


def _check(name: str, image_size: ImageSize) -> tuple[int, int]:
    """Height and width. Raises ValueError for pictures that are too small to be halved twice."""
    height, width = sides(image_size)
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"classifier={name} halves a picture twice, and {height} x {width} pixels are too few; give "
            f"dataset.image_size={SMALLEST} at least"
        )
    return height, width


@classifiers.register("lenet")
class LeNet(Classifier):
    """Two convolutions of 5 x 5, each with pooling, and two linear layers (LeCun et al. 1998, doi 10.1109/5.726791).

    As the MNIST network of Ganin et al. 2016 (arXiv 1505.07818, figure 4a) it has rectified units and pools maxima.
    """

    def __init__(
        self,
        image_size: ImageSize,
        image_channels: int,
        num_classes: int,
        *,
        width: Positive = 16,
        feature_dim: Positive = 64,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        height, across = _check("lenet", image_size)
        self.feature_dim = feature_dim
        layers: list[nn.Module] = []
        for inside, outside in ((image_channels, width), (width, 2 * width)):
            layers += [nn.Conv2d(inside, outside, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        flat = 2 * width * (height // 4) * (across // 4)
        layers += [nn.Flatten(), nn.Dropout(dropout), nn.Linear(flat, feature_dim), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(feature_dim, num_classes)


@classifiers.register("all_convolutional")
class AllConvolutional(Classifier):
    """Strided convolutions of 3 x 3 and a mean over places (Springenberg et al. 2015, arXiv 1412.6806, table 1).

    Batch normalization after each convolution, which the paper does not have, lets it learn in minutes.
    """

    def __init__(self, image_size: ImageSize, image_channels: int, num_classes: int, *, width: Positive = 16) -> None:
        super().__init__()
        _check("all_convolutional", image_size)
        self.feature_dim = 4 * width
        layers: list[nn.Module] = []
        plan = ((image_channels, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2), (4 * width, 4 * width, 1))
        for inside, outside, stride in plan:
            convolution = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4 * width, num_classes)
