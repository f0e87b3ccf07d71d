"""Measures of adaptation and attack, by closed forms and by other libraries."""

from __future__ import annotations

import pytest
import torch

from gan_lab.metrics.adaptation import LabelFree, TargetAccuracy, a_distance, coral, information, nearest_label
from gan_lab.metrics.attacks import AttackSuccess, ChangeL2, ChangeMax, TransferSuccess
from gan_lab.metrics.inputs import MetricInputs

SURE = 50 * torch.eye(3)


def test_information_is_one_for_sure_and_even_classes_and_nought_without_knowledge() -> None:
    assert information(SURE) == pytest.approx(1)
    assert information(torch.zeros(5, 3)) == pytest.approx(0, abs=1e-9)
    assert information(SURE[[0, 0, 0]]) == pytest.approx(0, abs=1e-9), "all of one class"


def test_the_distance_is_two_for_apart_and_nought_for_alike() -> None:
    random = torch.Generator().manual_seed(0)
    source, target = (torch.randn(2000, 4, generator=random) for _ in range(2))
    assert a_distance(source, target) < 0.15
    assert a_distance(source, target + 20) == 2
    # Unit normals at distance 2: the best error is Phi(-1) = 0.1587.
    shifted = target + torch.tensor([2.0, 0, 0, 0])
    assert a_distance(source, shifted) == pytest.approx(2 * (1 - 2 * 0.1587), abs=0.08)


def test_coral_gives_the_source_the_targets_moments() -> None:
    random = torch.Generator().manual_seed(0)
    source = torch.randn(50_000, 3, generator=random) * 30
    target = torch.randn(50_000, 3, generator=random) @ torch.tensor([[30.0, 9, 0], [0, 60, 3], [0, 0, 90]]) + 7
    made = coral(source, target)
    # The identity that is added to both covariances is the source's mean variance: C_t + v of 2 v, and C_s = v.
    unit = torch.cov(source.T).diagonal().mean() * torch.eye(3)
    torch.testing.assert_close(torch.cov(made.T), (torch.cov(target.T) + unit) / 2, rtol=0.05, atol=20)
    torch.testing.assert_close(made.mean(0), target.mean(0), rtol=0, atol=0.1)


def test_the_nearest_gives_its_label() -> None:
    known, labels = torch.tensor([[0.0], [10.0]]), torch.tensor([4, 7])
    assert nearest_label(torch.tensor([[1.0], [8.0], [-3.0]]), known, labels).tolist() == [4, 7, 4]


def adapted(**columns: torch.Tensor) -> MetricInputs:
    return MetricInputs(torch.zeros(len(columns["label"]), 1, 2, 2), columns)


def test_accuracy_is_of_the_targets_rows_and_the_selecting_one_reads_no_label_of_theirs() -> None:
    columns = {"domain": torch.tensor([0, 1, 1, 1]), "class_logits": SURE[[0, 0, 1, 2]]}
    seen = adapted(label=torch.tensor([0, 0, 1, 1]), **columns)
    assert TargetAccuracy()(seen)["value"] == pytest.approx(2 / 3)  # type: ignore[index]
    other = adapted(label=torch.tensor([0, 2, 2, 0]), **columns)
    assert LabelFree()(seen) == LabelFree()(other) == pytest.approx(1)
    assert LabelFree()(adapted(label=torch.tensor([1, 0, 1, 1]), **columns)) == pytest.approx(0.5)


def test_success_counts_what_was_right_and_is_then_wrong() -> None:
    columns = {"label": torch.tensor([0, 0, 1, 2]), "clean_logits": SURE[[0, 0, 1, 0]]}
    free = adapted(**columns, goal=torch.full((4,), -1), attacked_logits=SURE[[1, 0, 2, 0]])
    assert AttackSuccess()(free)["value"] == pytest.approx(2 / 3)  # type: ignore[index]
    aimed = adapted(**columns, goal=torch.full((4,), 1), attacked_logits=SURE[[1, 2, 1, 1]])
    found = AttackSuccess()(aimed)
    assert found is not None
    assert (found["value"], found["pictures"]) == (0.5, 2), "neither a picture of the goal, nor one that was wrong"
    columns["goal"] = torch.full((4,), -1)
    seen = adapted(**columns, witness_logits=SURE[[0, 1, 1, 2]], transferred_logits=SURE[[0, 0, 2, 1]])
    assert TransferSuccess()(seen)["value"] == 0.5  # type: ignore[index]
    columns["clean_logits"] = SURE[[1, 1, 2, 1]]
    assert AttackSuccess()(adapted(**columns, attacked_logits=SURE[[1, 0, 2, 0]])) is None


def test_norms_are_of_pixels_between_nought_and_one() -> None:
    sample = torch.zeros(1, 1, 2, 2)
    sample[0, 0, 0] = torch.tensor([0.6, 0.8])
    seen = MetricInputs(sample, {"source": torch.zeros(1, 1, 2, 2)})
    assert ChangeL2()(seen)["value"] == pytest.approx(0.5)
    assert ChangeMax()(seen)["value"] == pytest.approx(0.4)
