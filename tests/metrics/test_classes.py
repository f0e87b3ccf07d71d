"""The inception score and the histogram of classes."""

from __future__ import annotations

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from gan_lab.metrics.classes import class_histogram, inception_score


def test_sure_answers_spread_over_ten_classes_score_ten_and_unsure_ones_one() -> None:
    sure = torch.nn.functional.one_hot(torch.arange(1_000) % 10, 10).float() * 1_000
    value, _ = inception_score(sure, splits=1)
    assert value == pytest.approx(10)
    assert inception_score(torch.zeros(1_000, 10))[0] == pytest.approx(1)
    one_class = torch.zeros(1_000, 10)
    one_class[:, 3] = 1_000
    assert inception_score(one_class)[0] == pytest.approx(1)


@pytest.mark.parametrize("count", [500, 503])
def test_it_equals_torch_fidelitys(count: int) -> None:
    logits = torch.randn(count, 12, generator=torch.Generator().manual_seed(0)) * 3
    theirs = isc_features_to_metric(logits)
    value, deviation = inception_score(logits)
    assert value == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert deviation == pytest.approx(theirs["inception_score_std"], rel=1e-9)


def test_the_histogram_is_a_total_variation() -> None:
    label = torch.arange(100) % 10
    assert class_histogram(label, label, 10)["value"] == 0
    collapsed = class_histogram(torch.zeros(50, dtype=torch.long), label, 10)
    assert collapsed["value"] == pytest.approx(0.9)
    assert collapsed["shares"][0] == 1
    half = class_histogram(torch.arange(100) % 5, label, 10)
    assert half["value"] == pytest.approx(0.5)
