"""Measures of masks against other libraries, by hand, and against a search of all windows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_lab.datasets.store import Store
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.segmentation import (
    Dice,
    Hausdorff95,
    NearestMaskBar,
    Sensitivity,
    WindowBar,
    best_window,
    brightness,
    dice,
    hausdorff,
)


def seen(found: Tensor, mask: Tensor, pixel: tuple[float, float] = (1.0, 1.0), **more: object) -> MetricInputs:
    columns = {"found": found, "mask": mask, "pixel": torch.tensor([pixel]).expand(len(mask), 2)}
    return MetricInputs(torch.zeros(len(mask), 1, *mask.shape[1:]), columns, **more)  # type: ignore[arg-type]


def blob(rows: slice, columns: slice, size: tuple[int, int] = (20, 24)) -> Tensor:
    mask = torch.zeros(1, *size, dtype=torch.int64)
    mask[0, rows, columns] = 1
    return mask


def test_dice_is_over_all_pixels_of_all_pictures() -> None:
    torch.manual_seed(0)
    found, mask = (torch.randint(0, 2, (5, 8, 9)) for _ in range(2))
    both = float((found * mask).sum())
    assert dice(found, mask) == pytest.approx(2 * both / float(found.sum() + mask.sum()))
    assert dice(mask, mask) == 1
    assert Dice()(seen(1 - mask, mask)) == 0


def of_class(found: Tensor, mask: Tensor, k: int) -> float:
    ours, truth = found == k, mask == k
    return 2 * float((ours & truth).sum()) / float(ours.sum() + truth.sum())


def test_of_several_classes_it_is_the_mean_without_the_background() -> None:
    torch.manual_seed(0)
    found, mask = (torch.randint(0, 4, (5, 8, 9)) for _ in range(2))
    assert dice(found, mask) == pytest.approx(np.mean([of_class(found, mask, k) for k in (1, 2, 3)]))
    mask[mask == 2] = 0  # a class that no mask has says nothing
    assert dice(found, mask) == pytest.approx(np.mean([of_class(found, mask, k) for k in (1, 3)]))


def test_sensitivity_is_the_share_that_was_found() -> None:
    mask, found = blob(slice(2, 12), slice(3, 13)), blob(slice(2, 12), slice(3, 9))
    assert Sensitivity()(seen(found, mask)) == pytest.approx(0.6)


def test_without_anything_to_find_there_is_no_number() -> None:
    empty = torch.zeros(3, 5, 5, dtype=torch.int64)
    for measure in (Dice(), Sensitivity(), Hausdorff95()):
        assert measure(seen(empty + 1, empty)) is None


@pytest.mark.parametrize("pixel", [(1.0, 1.0), (2.0, 0.5)])
def test_the_distance_of_outlines_is_monais(pixel: tuple[float, float]) -> None:
    metrics = pytest.importorskip("monai.metrics", reason="the extra medical is not installed")
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        top, left = (int(torch.randint(1, 6, (), generator=generator)) for _ in range(2))
        a, b = blob(slice(top, top + 9), slice(left, left + 7)), blob(slice(5, 15), slice(2, 20))
        a[0, 3, 21] = 1  # far away
        theirs = metrics.compute_hausdorff_distance(
            a[:, None].float(), b[:, None].float(), include_background=True, percentile=95, spacing=list(pixel)
        )
        assert hausdorff(a[0].bool().numpy(), b[0].bool().numpy(), list(pixel)) == pytest.approx(float(theirs))


def test_a_shift_is_as_far_as_its_pixels_are_wide() -> None:
    a, b = blob(slice(4, 12), slice(4, 12)), blob(slice(4, 12), slice(7, 15))
    result = Hausdorff95()(seen(torch.cat([a, a, a * 0]), torch.cat([b, a, a]), (1.0, 2.0)))
    assert result is not None
    assert result["value"] == pytest.approx(3.0)  # the mean of 6 mm and 0
    assert result["of_one_mask_alone"] == 1


def test_the_best_window_is_that_of_a_search() -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 12, (3, 6, 6), generator=generator) * 20
    mask = ((levels > 60) & (levels < 180)).long() ^ (torch.rand(3, 6, 6, generator=generator) < 0.1).long()
    low, high = best_window(levels, mask)

    def of(low: int, high: int) -> float:
        return dice(((levels >= low) & (levels <= high)).long(), mask)

    best = max(of(a, b) for a, b in itertools.combinations_with_replacement(range(0, 221, 20), 2))
    assert of(low, high) == pytest.approx(best)


def test_bars_need_training_masks_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = (torch.rand(6, 1, 8, 8, generator=generator) * 255).round()
    mask = (pictures[:, 0] > 150).to(torch.uint8)
    train = Store({"sample": pictures.permute(0, 2, 3, 1).to(torch.uint8), "mask": mask})
    near = pictures[[4, 1]] / 127.5 - 1
    inputs = MetricInputs(
        near, {"mask": mask[[4, 1]].long(), "found": mask[[4, 1]].long() * 0, "pixel": torch.ones(2, 2)},
        train=lambda: train,
    )  # fmt: skip
    assert NearestMaskBar()(inputs) == 1
    result = WindowBar()(inputs)
    assert result is not None
    assert result["value"] == 1  # type: ignore[index]


def test_brightness_is_the_level_of_an_eight_bit_picture() -> None:
    pixels = torch.arange(256)
    assert torch.equal(brightness((pixels / 127.5 - 1)[None, None, None])[0, 0], pixels)
