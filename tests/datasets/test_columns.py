"""What data sets say of their columns is what their stores hold."""

from __future__ import annotations

import json

import pytest
import torch

import tests.toy_data
from gan_lab.datasets.columns import Column, described, from_plain, to_plain
from gan_lab.datasets.mixture import Mixture

COLUMNS = {
    "source": Column("picture", (4, 8, 12), "uint16", (-1.0, 1.0)),
    "label": Column("label", (), "int64", num_classes=7),
    "points": Column("points", (2,), "float32"),
}


@pytest.mark.parametrize("dataset", [tests.toy_data.ToyPictures(image_size=(8, 12)), Mixture(samples=20)])
def test_columns_follow_from_the_shape_and_the_classes(dataset: object) -> None:
    store = dataset.load()  # type: ignore[attr-defined]
    columns = described(dataset)
    assert columns.keys() == store.columns.keys()
    for name, column in columns.items():
        rows = store.fetch(name, torch.arange(5))
        assert (5, *column.shape) == rows.shape
        assert column.dtype == str(store.columns[name].dtype).removeprefix("torch.")
        assert column.range is None or (rows.min() >= column.range[0] and rows.max() <= column.range[1])
    classes = dataset.num_classes  # type: ignore[attr-defined]
    assert columns["label"] == Column("label", (), "int64", num_classes=classes)


def test_without_classes_there_is_no_label_and_own_columns_go_first() -> None:
    class Unlabelled:
        sample_shape, num_classes = (3, 4, 5), None

    assert described(Unlabelled()) == {"sample": Column("picture", (3, 4, 5), "uint8", (-1.0, 1.0))}

    class Own(Unlabelled):
        columns = COLUMNS

    assert described(Own()) == COLUMNS
    assert described(Own()) is not COLUMNS


def test_columns_come_back_from_plain_types() -> None:
    plain = to_plain(COLUMNS)
    assert from_plain(plain) == COLUMNS
    assert from_plain(json.loads(json.dumps(plain))) == COLUMNS
