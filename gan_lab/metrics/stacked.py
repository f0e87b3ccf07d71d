"""How many of the 1,000 modes of Stacked MNIST samples reach, and how evenly.

The task is of Metz et al. (2017, arXiv 1611.02163, section 3.3.1), the usual count of 26,000 samples of VEEGAN
(Srivastava et al. 2017, arXiv 1705.07761) and PacGAN (Lin et al. 2018, arXiv 1712.04086). Each channel of a sample is
classified by itself, and the classes of all channels together name its mode.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Classify = Callable[[Tensor], Tensor]  # grey pictures, float [N, 1, H, W] in [-1, 1] -> classes, int64 [N]
AT_ONCE = 512  # pictures compared at a time: their distances stay in the processor's cache


def mode_of(classes: Tensor, num_classes: int) -> Tensor:
    """The modes, int64 [N], of classes [N, C] of channels, which are their digits to the base `num_classes`."""
    mode = torch.zeros(len(classes), dtype=torch.int64, device=classes.device)
    for channel in classes.unbind(1):
        mode = mode * num_classes + channel
    return mode


def classified_modes(samples: Tensor, classify: Classify, num_classes: int) -> Tensor:
    """The modes, int64 [n], of samples [N, C, H, W] in [-1, 1]; those that are not finite are left out."""
    finite = samples[torch.isfinite(samples).flatten(1).all(1)]
    classes = classify(finite.flatten(0, 1).unsqueeze(1)).unflatten(0, finite.shape[:2])
    return mode_of(classes, num_classes)


def modes_reached(modes: Tensor) -> float:
    """How many different modes there are in modes [N]."""
    return float(torch.unique(modes).numel())


def modes_kl(modes: Tensor, class_share: Tensor, channels: int = 3) -> float:
    """KL(samples || data) = sum_m s_m log(s_m / d_m) in nats: s the histogram of modes [N], d the data's distribution.

    This is the direction of the literature ("reverse KL"): finite where samples miss modes. The channels of the data
    are drawn independently, so d is the product of the shares [k] of their classes, uniform where these are equal. For
    a perfect generator of M modes it is not 0 but about (M - 1) / 2N: 0.02 for 26,000 samples. Infinite where a sample
    is of a class that the data do not have; nan without samples.
    """
    share = class_share.double()
    data = share
    for _ in range(channels - 1):
        data = torch.outer(data, share).flatten()
    drawn = torch.bincount(modes.cpu(), minlength=len(data)).double() / len(modes)
    reached = drawn > 0
    return float((drawn[reached] * (drawn[reached] / data[reached]).log()).sum()) if len(modes) else float("nan")


class NearestNeighbour:
    """The class of the nearest of some known pictures, by the Euclidean distance of pixels: needs no training.

    Pictures are float [M, 1, H, W] in [-1, 1], labels int64 [M].
    """

    def __init__(self, pictures: Tensor, labels: Tensor) -> None:
        known = pictures.flatten(1).float()
        self.differs = known.amin(0) < known.amax(0)  # a pixel that all share adds the same to every distance
        known = known[:, self.differs]
        self.known, self.labels, self.squares = known.T.contiguous(), labels, known.square().sum(1)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        found = []
        known, squares, differs = (part.to(pictures.device) for part in (self.known, self.squares, self.differs))
        for chosen in pictures.flatten(1).float().split(AT_ONCE):
            # |x - y|^2 = |x|^2 - 2xy + |y|^2, of which the first part is the same for every y
            found.append(torch.addmm(squares, chosen[:, differs], known, alpha=-2).argmin(1))
        nearest = torch.cat(found) if found else torch.empty(0, dtype=torch.int64)
        return self.labels[nearest.to(self.labels.device)].to(pictures.device)
