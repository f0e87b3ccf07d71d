"""Counts the modes of Stacked MNIST, 1,000 for digits, that samples reach, and compares their distribution.

The task is from Metz et al. (2017, arXiv 1611.02163, section 3.3.1); the usual number of 26,000 samples is from VEEGAN
(Srivastava et al. 2017, arXiv 1705.07761) and PacGAN (Lin et al. 2018, arXiv 1712.04086). Each channel of a sample is
classified separately; the classes of all channels give the mode.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Classify = Callable[[Tensor], Tensor]  # grey pictures, float [N, 1, H, W] in [-1, 1] -> classes, int64 [N]


def mode_of(classes: Tensor, num_classes: int) -> Tensor:
    """The modes, int64 [N], from the channels' classes [N, C], read as digits to the base `num_classes`."""
    mode = torch.zeros(len(classes), dtype=torch.int64, device=classes.device)
    for channel in classes.unbind(1):
        mode = mode * num_classes + channel
    return mode


def classified_modes(samples: Tensor, classify: Classify, num_classes: int) -> Tensor:
    """The modes, int64 [n], of samples [N, C, H, W] in [-1, 1]. Samples that are not finite are left out."""
    finite = samples[torch.isfinite(samples).flatten(1).all(1)]
    classes = classify(finite.flatten(0, 1).unsqueeze(1)).unflatten(0, finite.shape[:2])
    return mode_of(classes, num_classes)


def modes_reached(modes: Tensor) -> float:
    """The number of different modes in modes [N]."""
    return float(torch.unique(modes).numel())


def modes_kl(modes: Tensor, class_share: Tensor, channels: int = 3) -> float:
    """KL(samples || data) = sum_m s_m log(s_m / d_m) in nats: s the histogram of modes [N], d the data's distribution.

    This is the direction used in the literature ("reverse KL"): it is finite where samples miss modes. The channels of
    the data are drawn independently, so d is the product of the classes' shares [k], uniform where these are equal. For
    a perfect generator of M modes it is not 0 but about (M - 1) / 2N: 0.02 for 26,000 samples. It is infinite where a
    sample has a class that the data do not have, and nan without samples.
    """
    share = class_share.double()
    data = share
    for _ in range(channels - 1):
        data = torch.outer(data, share).flatten()
    drawn = torch.bincount(modes.cpu(), minlength=len(data)).double() / len(modes)
    reached = drawn > 0
    return float((drawn[reached] * (drawn[reached] / data[reached]).log()).sum()) if len(modes) else float("nan")
