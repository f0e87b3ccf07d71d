"""Two labelled domains: digits of two sources, clothes and their degraded selves, and folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.datasets.domains import DegradedDomains, DigitDomains, DomainFolders, degraded
from gan_lab.datasets.fashion_mnist import DEBIAN


def test_digits_are_as_many_as_published_and_lie_in_domains() -> None:
    pytest.importorskip("sklearn")
    data = DigitDomains()
    train, test = data.load("train"), data.load("test")
    assert train.lengths == {"": 4000, "target": 1400}
    assert test.lengths == {"": 1000, "target": 397}
    assert train.columns["sample"].shape[1:] == train.columns["other"].shape[1:] == (16, 16, 1)
    assert train.columns["other_label"].bincount().min() > 100


def test_a_digit_of_eight_pixels_is_scikit_learns() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    store = DigitDomains(source="optdigits", target="optdigits", image_size=8).load("train")
    values = store.columns["sample"][..., 0].double() * 16 / 255
    assert np.abs(values.numpy() - datasets.load_digits().images[:1400]).max() <= 16 / 255 / 2 + 1e-9


def test_a_nearest_neighbour_across_domains_is_as_good_as_was_measured_elsewhere() -> None:
    """scikit-learn's classifier: about 0.71 from MNIST and 0.51 to it, cropped to the box of its digits."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    store = DigitDomains(image_size=8).load("train")
    test = DigitDomains(image_size=8).load("test")
    ours, theirs = (store.columns[name].flatten(1).double().numpy() for name in ("sample", "other"))
    labels = store.columns["label"].numpy(), store.columns["other_label"].numpy()
    everyone = torch.cat([store.columns["other_label"], test.columns["other_label"]]).numpy()
    pictures = torch.cat([store.columns["other"], test.columns["other"]]).flatten(1).double().numpy()
    model = neighbors.KNeighborsClassifier(1)
    assert model.fit(ours, labels[0]).score(pictures, everyone) == pytest.approx(0.72, abs=0.03)
    assert model.fit(theirs, labels[1]).score(ours, labels[0]) == pytest.approx(0.51, abs=0.03)


def test_degradations_are_what_they_say() -> None:
    pictures = np.zeros((2, 9, 9, 1), dtype=np.uint8)
    pictures[:, 4, 4] = 250
    assert (degraded(pictures, "inversion", "train") == 255 - pictures).all()
    blurred = degraded(pictures, "blur", "train")
    assert (blurred[:, 2:7, 2:7] == 10).all()
    assert blurred.sum() == 2 * 25 * 10
    grey = np.full((50, 9, 9, 1), 128, dtype=np.uint8)
    assert degraded(grey, "noise", "train").std() == pytest.approx(64, rel=0.1)
    assert (degraded(grey, "noise", "train") == degraded(grey, "noise", "train")).all()


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_no_garment_is_in_both_domains() -> None:
    test = DegradedDomains(change="inversion").load("test")
    assert test.lengths == {"": 5000, "target": 5000}
    seen = {row.numpy().tobytes() for row in test.columns["sample"]}
    again = [row for row in 255 - test.columns["other"] if row.numpy().tobytes() in seen]
    assert len(again) <= 5, "Fashion-MNIST itself has a few twins"


def folder(path: Path, classes: str, value: int) -> Path:
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), value + number, np.uint8)).save(path / name / "a.png")
    return path


def test_folders_of_the_same_classes_are_two_domains(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one", "ab", 10), folder(tmp_path / "other", "ab", 90)
    data = DomainFolders(path=str(one), other_path=str(other), image_size=8)
    store = data.load()
    assert store.columns["sample"][:, 0, 0, 0].tolist() == [10, 11]
    assert store.columns["other"][:, 0, 0, 0].tolist() == [90, 91]
    assert store.columns["other_label"].tolist() == [0, 1]
    assert data.splits == ("train",)


def test_folders_of_other_classes_are_refused_with_their_names(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one", "ab", 10), folder(tmp_path / "other", "ac", 90)
    with pytest.raises(ValueError, match=r"other classes \(b, c in one alone\)"):
        DomainFolders(path=str(one), other_path=str(other), image_size=8)
