"""The mean absolute difference, and measures of the way back."""

from __future__ import annotations

import math

import pytest
import torch

from gan_lab.metrics.inputs import MetricInputs
from gan_lab.registry import load, metrics

load()


def seen() -> MetricInputs:
    """Way there: off by 0.2 of 1 everywhere. Way back: by 0.1, and the bar by 0.4."""
    truth = torch.zeros(3, 1, 16, 16)
    columns = {"target": truth, "reverse_target": truth, "reverse_sample": truth + 0.2, "source": truth + 0.8}
    return MetricInputs(truth + 0.4, columns, bar=lambda columns: ("input", columns["source"]))


@pytest.mark.parametrize(
    ("name", "value"), [("l1", 0.2), ("l1_b_to_a", 0.1), ("l1_bar", 0.4), ("psnr_b_to_a", -20 * math.log10(0.1))]
)
def test_they_are_what_they_say(name: str, value: float) -> None:
    found = metrics.classes[name]()(seen())
    assert found["value"] == pytest.approx(value, rel=1e-5)


def test_the_way_back_is_clipped_to_the_range_of_pictures() -> None:
    inputs = seen()
    inputs.columns["reverse_sample"] = torch.full((3, 1, 16, 16), 5.0)
    assert metrics.classes["l1_b_to_a"]()(inputs)["value"] == pytest.approx(0.5)


def test_equal_pictures_have_a_structural_similarity_of_one_on_the_way_back() -> None:
    inputs = seen()
    inputs.columns["reverse_sample"] = inputs.columns["reverse_target"] = torch.rand(3, 1, 16, 16)
    assert metrics.classes["ssim_b_to_a"]()(inputs)["value"] == pytest.approx(1)
