"""Measures of masks, and solutions without a network to compare with.

Examples have `mask` and `found` [N, H, W], the true classes and those that were found; class 0 is the background, which
no measure counts. `pixel` [N, 2] is a pixel's height and width in mm, or 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gan_lab.datasets.store import scale
from gan_lab.metrics.base import OfColumns
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.restoration import mean
from gan_lab.registry import metrics

LEVELS = 256  # of brightness, among which a window is sought
AT_ONCE = 256
NO_CLASS = "no mask has a pixel that is not background"


def number_of_classes(*masks: Tensor) -> int:
    return max(2, *(int(mask.max()) + 1 for mask in masks))


def dice(found: Tensor, mask: Tensor) -> float:
    """2 |A and B| / (|A| + |B|) over all pixels of all pictures, the mean over the classes that are in the masks."""
    from torchmetrics.functional.segmentation import dice_score

    classes = number_of_classes(found, mask)
    each = dice_score(
        found[None].flatten(2), mask[None].flatten(2), classes, include_background=False, average="none",
        input_format="index",
    )[0]  # fmt: skip
    there = torch.bincount(mask.flatten(), minlength=classes)[1:] > 0
    return float(each[there].double().mean())


class OfMasks(OfColumns):
    """A number of the masks that were found. None without anything to find."""

    better: Literal["lower", "higher"] | None = "higher"
    headline, absent = True, NO_CLASS
    reads = frozenset({"found", "mask"})

    def of(self, seen: MetricInputs) -> float | Mapping[str, Any] | None:
        raise NotImplementedError

    def __call__(self, seen: MetricInputs) -> float | Mapping[str, Any] | None:
        return self.of(seen) if (seen["mask"] > 0).any() else None


@metrics.register("dice")
class Dice(OfMasks):
    """The Dice coefficient over all pixels of all pictures: 1 for equal masks; the mean over classes."""

    word = "dice"

    def of(self, seen: MetricInputs) -> float:
        return dice(seen["found"], seen["mask"])


@metrics.register("sensitivity")
class Sensitivity(OfMasks):
    """The share of a class's pixels that were found, over all pictures; the mean over classes."""

    word = "sensitivity"

    def of(self, seen: MetricInputs) -> float:
        found, mask = seen["found"], seen["mask"]
        classes = torch.unique(mask[mask > 0])
        return float(torch.stack([(found[mask == k] == k).double().mean() for k in classes]).mean())


@metrics.register("hausdorff95")
class Hausdorff95(OfMasks):
    """The 95th percentile of the distances between two outlines, in mm where a pixel's size is known, else in pixels.

    The larger of both directions' (MONAI's definition); the mean over pictures and classes that both masks have.
    """

    word, better, headline = "hausdorff95", "lower", False
    reads = frozenset({"found", "mask", "pixel"})
    absent = "no picture has a class in both masks"

    def of(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        distances, missed = [], 0
        for found, mask, pixel in zip(seen["found"], seen["mask"], seen["pixel"].tolist(), strict=True):
            for k in range(1, number_of_classes(found, mask)):
                ours, truth = (found == k).numpy(), (mask == k).numpy()
                if ours.any() and truth.any():
                    distances.append(hausdorff(ours, truth, pixel))
                elif ours.any() or truth.any():
                    missed += 1
        if not distances:
            return None
        return {**mean(torch.tensor(distances, dtype=torch.float64)), "of_one_mask_alone": missed}


def hausdorff(ours: np.ndarray, truth: np.ndarray, pixel: list[float], percentile: float = 95.0) -> float:
    """The larger percentile of the distances from each outline to the other, of masks bool [H, W] with pixels."""
    from scipy.ndimage import distance_transform_edt

    edges = [outline(mask) for mask in (ours, truth)]
    far = [distance_transform_edt(~edge, sampling=pixel) for edge in edges]
    return float(max(np.percentile(far[1][edges[0]], percentile), np.percentile(far[0][edges[1]], percentile)))


def outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that have a neighbour, of four, that is not in it; beyond the border nothing is."""
    from scipy.ndimage import binary_erosion

    found: np.ndarray = mask & ~binary_erosion(mask)
    return found


# -- without a network -------------------------------------------------------------------------------------------------


def brightness(pictures: Tensor) -> Tensor:
    """Pictures [N, C, H, W] in [-1, 1] as levels 0 to 255, int64 [N, H, W]: the mean of their channels."""
    return ((pictures.float().mean(1) + 1) * (LEVELS / 2)).long().clamp(0, LEVELS - 1)


@metrics.register("window_bar")
class WindowBar(OfMasks):
    """Dice of the window of brightness that is best on the training masks. Of two classes."""

    word, constant = "window_bar", True
    reads = frozenset({"sample", "mask"})

    def of(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        train = seen.train.columns
        if number_of_classes(train["mask"], seen["mask"]) > 2:
            self.absent = "it is of two classes"
            return None
        low, high = best_window(brightness(scale(train["sample"])), train["mask"])
        levels = brightness(seen["sample"])
        return {"value": dice(((levels >= low) & (levels <= high)).long(), seen["mask"]), "window": [low, high]}


def best_window(levels: Tensor, mask: Tensor) -> tuple[int, int]:
    """The lowest and the highest level of the window with the best Dice, of levels [N, H, W] and masks 0 and 1."""
    inside, all_of = (
        torch.cat([torch.zeros(1), torch.bincount(x.flatten(), minlength=LEVELS).cumsum(0)]).double()
        for x in (levels[mask > 0], levels)
    )
    # Sums over levels low to high are differences of cumulative ones, at [low, high + 1].
    hit, chosen = (x[None, :] - x[:, None] for x in (inside, all_of))
    score = torch.where(chosen > 0, 2 * hit / (chosen + inside[-1]), -1.0)
    best = int(score.argmax())
    return best // (LEVELS + 1), best % (LEVELS + 1) - 1


@metrics.register("nearest_mask_bar")
class NearestMaskBar(OfMasks):
    """Dice of the mask of the most similar training picture, by the distance of their pixels."""

    word, constant = "nearest_mask_bar", True
    reads = frozenset({"sample", "mask"})

    def of(self, seen: MetricInputs) -> float:
        train = seen.train.columns
        known = scale(train["sample"]).flatten(1).float()
        nearest = [torch.cdist(part, known).argmin(1) for part in seen["sample"].flatten(1).float().split(AT_ONCE)]
        return dice(train["mask"][torch.cat(nearest)].long(), seen["mask"])
