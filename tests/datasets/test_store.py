"""The store: exact pixels of every kind of column, and domains that correspond to nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.datasets.cache import cached
from gan_lab.datasets.store import Store, height_width, resize, scale, unscale
from gan_lab.datasets.validation import Validation

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(7, dtype=np.int64)


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_scaling_is_undone_exactly_for_every_value() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(unscale(scale(values)), values)


def test_scaling_maps_black_to_minus_one_and_white_to_one() -> None:
    values = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 2, 1)
    assert scale(values).flatten().tolist() == [-1.0, 1.0]
    ramp = scale(torch.arange(256, dtype=torch.uint8).reshape(1, 1, 256, 1)).flatten()
    assert torch.allclose(ramp.double(), torch.linspace(-1, 1, 256, dtype=torch.float64), atol=1e-6)


def test_unscaling_clips_and_leaves_its_input_alone() -> None:
    images = torch.tensor([-3.0, -1.0, 0.0, 1.0, 7.0]).reshape(1, 1, 1, 5)
    before = images.clone()
    assert unscale(images).flatten().tolist() == [0, 0, 128, 255, 255]  # 127.5 to the even neighbour
    assert torch.equal(images, before)


def test_fetched_images_are_the_chosen_rows_channels_last() -> None:
    found = Store({"sample": torch.from_numpy(IMAGES), "label": torch.from_numpy(LABELS)})
    batch = found.fetch("sample", torch.tensor([4, 0, 4]))
    assert batch.shape == (3, 3, 5, 6)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(
        batch, torch.from_numpy(IMAGES[[4, 0, 4]].transpose(0, 3, 1, 2) / 127.5 - 1).float(), atol=1e-6
    )
    assert found.fetch("label", torch.tensor([4, 0, 4])).tolist() == [4, 0, 4]
    assert np.array_equal(found.columns["sample"].numpy(), IMAGES), "fetching changed the store"


def test_fetched_points_are_not_scaled() -> None:
    points = torch.randn(5, 2)
    assert torch.equal(Store({"sample": points}).fetch("sample", torch.tensor([1, 3])), points[[1, 3]])
    assert "label" not in Store({"sample": points})


@pytest.mark.parametrize("size", [(3, 3), (10, 12), (5, 9), (4, 13)])
def test_resizing_agrees_with_pillow(size: tuple[int, int]) -> None:
    resized = resize(IMAGES, size)
    for image, original in zip(resized, IMAGES, strict=True):
        expected = np.asarray(Image.fromarray(original).resize(size[::-1], Image.Resampling.BILINEAR), dtype=int)
        assert np.abs(image.astype(int) - expected).max() <= 1


def test_resizing_to_the_same_size_changes_nothing() -> None:
    assert resize(IMAGES, (5, 6)) is IMAGES


def test_an_image_size_is_a_square_or_height_and_width() -> None:
    assert (height_width(32), height_width((16, 32))) == ((32, 32), (16, 32))


# -- sixteen bits, float, masks ----------------------------------------------------------------------------------------

DEEP = np.random.default_rng(1).integers(0, 65536, (7, 5, 6, 2), dtype=np.uint16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scaling_sixteen_bits_is_undone_exactly_for_every_value(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_default_dtype", lambda: dtype)
    values = torch.from_numpy(np.arange(65536, dtype=np.uint16).reshape(1, 256, 256, 1))
    scaled = scale(values)
    assert scaled.dtype == dtype
    assert (scaled.min(), scaled.max()) == (-1, 1)
    assert torch.equal(unscale(scaled, torch.uint16), values)


def test_unscaling_to_sixteen_bits_clips_rounds_and_leaves_its_input_alone() -> None:
    images = torch.tensor([-3.0, -1.0, 0.0, 1.0, 7.0], dtype=torch.bfloat16).reshape(1, 1, 1, 5)
    before = images.clone()
    found = unscale(images, torch.uint16)
    assert found.dtype == torch.uint16
    assert found.flatten().tolist() == [0, 0, 32768, 65535, 65535]
    assert torch.equal(images, before)


def test_sixteen_bit_pictures_are_fetched_by_row_in_the_range_of_the_networks() -> None:
    found = Store({"sample": torch.from_numpy(DEEP)}).fetch("sample", torch.tensor([4, 0, 4]))
    assert (found.shape, found.dtype) == ((3, 2, 5, 6), torch.float32)
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = DEEP[[4, 0, 4]].transpose(0, 3, 1, 2) / 32767.5 - 1
    assert np.abs(found.double().numpy() - expected).max() < 1e-6
    assert found.abs().max() > 0.99, "they are not cut to half of their range"


def test_float_pictures_keep_their_values_there_and_back() -> None:
    pictures = torch.randn(4, 5, 6, 9, generator=torch.Generator().manual_seed(0))  # any number of channels
    found = Store({"sample": pictures}).fetch("sample", torch.tensor([2, 1]))
    assert torch.equal(found, pictures[[2, 1]].permute(0, 3, 1, 2))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(unscale(found, torch.float32), pictures[[2, 1]])


def test_masks_keep_their_values_as_classes_and_other_columns_are_as_they_are() -> None:
    mask = torch.randint(0, 256, (3, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    tokens = torch.arange(12).reshape(3, 4)
    found = Store({"mask": mask, "tokens": tokens})
    rows = torch.tensor([2, 0])
    assert found.fetch("mask", rows).dtype == torch.int64
    assert torch.equal(found.fetch("mask", rows), mask[rows].long())
    assert torch.equal(found.fetch("tokens", rows), tokens[rows])


# -- columns and domains -----------------------------------------------------------------------------------------------


def translation() -> Store:
    """Two domains: five sources with targets, and three pictures of another style with labels."""
    columns = {
        "other": torch.from_numpy(DEEP[:3]),
        "source": torch.from_numpy(IMAGES[:5]),
        "target": torch.linspace(-1, 1, 5 * 4 * 4 * 3).reshape(5, 4, 4, 3),
        "mask": torch.from_numpy(IMAGES[:5, ..., 0]),
        "other_label": torch.tensor([7, 8, 9]),
    }
    return Store(columns, {"bad.png": "it is cut"}, {"b": ["other", "other_label"]})


def test_the_main_domain_gives_the_length_and_every_domain_has_its_own() -> None:
    found = translation()
    assert len(found) == 5
    assert found.lengths == {"": 5, "b": 3}
    assert list(found.lengths) == ["", "b"]
    assert {name: found.domain_of(name) for name in found.columns} == {
        "other": "b", "source": "", "target": "", "mask": "", "other_label": "b"
    }  # fmt: skip
    with pytest.raises(KeyError):
        found.domain_of("nothing")


def test_columns_of_a_domain_that_differ_in_length_and_columns_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="as many rows: sample 7, label 6"):
        _ = Store({"sample": torch.from_numpy(IMAGES), "label": torch.arange(6)}).lengths
    with pytest.raises(ValueError, match="domains name other, and there is no such column: sample"):
        Store({"sample": torch.from_numpy(IMAGES)}, domains={"b": ["other"]})


def test_the_digest_of_samples_stays_what_it_was() -> None:
    head = f"torch.uint8 {IMAGES.shape}".encode()
    expected = hashlib.sha256(head + hashlib.sha256(IMAGES.tobytes()).digest()).hexdigest()
    found = Store({"sample": torch.from_numpy(IMAGES), "label": torch.from_numpy(LABELS)})
    assert found.digest == found.digest_of("sample") == expected
    assert found.digest_of("label") != expected


def test_without_samples_the_digest_is_of_every_column_and_domain() -> None:
    def change(name: str) -> Store:
        changed = translation()
        changed.columns[name] = changed.columns[name].clone()
        changed.columns[name][0] = changed.columns[name][1]
        return changed

    whole = translation()
    apart = Store(whole.columns, domains={"c": ["other", "other_label"]})
    assert whole.digest == translation().digest
    assert len({store.digest for store in (whole, apart, *map(change, whole.columns))}) == 7


def test_every_kind_of_column_and_domain_comes_back_from_the_cache(cache: Path) -> None:
    whole = translation()

    def rows(skipped: dict[str, str]) -> object:
        skipped |= whole.skipped
        arrays = {name: column.numpy() for name, column in whole.columns.items()}
        for part in (slice(0, 2), slice(2, None)):
            yield {name: arrays[name][part] for name in ("source", "target", "mask")}
        yield {name: arrays[name] for name in ("other", "other_label")}

    for _ in range(2):  # made, then read
        found = cached("toy", "key", rows, domains=whole.domains, verify=True)  # type: ignore[arg-type]
        assert (found.skipped, found.lengths, found.domains) == (whole.skipped, {"": 5, "b": 3}, whole.domains)
        assert all(torch.equal(found.columns[name], column) for name, column in whole.columns.items())
        assert all(found.columns[name].dtype == column.dtype for name, column in whole.columns.items())
        assert found.digest == whole.digest


def test_a_domain_of_which_nothing_could_be_read_is_refused(cache: Path) -> None:
    def rows(skipped: dict[str, str]) -> object:
        skipped["b/1.png"] = "it is cut"
        yield {"sample": IMAGES}

    with pytest.raises(ValueError, match=r"no picture could be read for other \(b/1\.png: it is cut\)"):
        cached("toy", "key", rows, domains={"b": ["other"]})  # type: ignore[arg-type]


class Held:
    """A data set of that store."""

    def load(self, split: str = "train") -> Store:
        assert split == "train"
        return translation()


def test_rows_are_held_out_of_every_column_alike_and_of_each_domain_on_its_own(cache: Path) -> None:
    whole, parts = translation(), {split: Validation(Held(), 2).load(split) for split in ("train", "test")}
    assert {split: part.lengths for split, part in parts.items()} == {"train": {"": 3, "b": 1}, "test": {"": 2, "b": 2}}
    places = {}
    for split, part in parts.items():
        for name, column in part.columns.items():
            known = whole.columns[name]
            rows = [next(i for i, other in enumerate(known) if torch.equal(row, other)) for row in column]
            places[split, name] = rows
    for names, count in ((("source", "target", "mask"), 5), (("other", "other_label"), 3)):
        for split in parts:
            assert places[split, names[0]] == sorted(places[split, names[0]])
            assert all(places[split, name] == places[split, names[0]] for name in names)
        assert sorted(places["train", names[0]] + places["test", names[0]]) == list(range(count))
    with pytest.raises(ValueError, match=r"evaluation\.validation=3 of 3 pictures of domain b leaves none"):
        Validation(Held(), 3).load()
