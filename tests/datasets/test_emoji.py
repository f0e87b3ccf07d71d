"""Emoji: what makes a base, what is held out, and packages that are missing or not the published ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.datasets.cache import cache_folder
from gan_lab.datasets.columns import described
from gan_lab.datasets.emoji import MAKERS, VERSION, Emoji, base_of, is_held_out, on_white
from gan_lab.datasets.validation import Validation

FILES = [cache_folder() / "downloads" / f"emoji-datasource-{maker}-{VERSION}.tgz" for maker, _ in MAKERS.values()]
needs_packages = pytest.mark.skipif(
    not all(file.is_file() for file in FILES), reason="the npm packages of emoji are not in the cache folder"
)


@pytest.mark.parametrize(
    ("names", "base"),
    [
        (("1f44b", "1f44b-1f3fb", "1f44b-1f3ff"), "1f44b"),  # a waving hand in three tones
        (("1f469-1f3fd-200d-1f680", "1f468-200d-1f680", "1f9d1-200d-1f680"), "1f9d1-1f680"),  # astronauts
        (("1f3c3-200d-2642-fe0f-200d-27a1-fe0f", "1f3c3-1f3fc-200d-2640-fe0f"), "1f3c3"),  # runners, either way
        (("1f1e8-1f1ed",), "1f1e8-1f1ed"),  # Switzerland
        (("0023-fe0f-20e3",), "0023-20e3"),
        (("1f3fb", "27a1-fe0f", "2640-fe0f"), None),  # a swatch, an arrow, a sign: nothing but modifiers
    ],
)
def test_tones_genders_and_directions_are_of_one_base(names: tuple[str, ...], base: str | None) -> None:
    for name in names:
        assert base_of(name) == (name if base is None else base)


def test_missing_and_other_packages_are_refused_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"npm pack --pack-destination \S+ emoji-datasource-google@16.0.0 emoji-data"):
        Emoji().load()
    (tmp_path / FILES[0].name).write_bytes(b"not a package")
    with pytest.raises(ValueError, match=r"its SHA-256 is not that of the published package"):
        Emoji(path=str(tmp_path)).load()


def test_transparent_pixels_become_white() -> None:
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2, :, 3] = 255  # opaque black above, nothing below
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    made = on_white(file.getvalue(), (4, 4))
    assert (made[:2] == 0).all()
    assert (made[2:] == 255).all()


@pytest.mark.slow
@needs_packages
def test_the_pairs_are_those_of_both_makers_and_no_base_is_in_both_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,786 pairs; a copy of the input has an L1 of .168 and 12.0 dB, on white at 32 px."""
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))
    dataset = Emoji(path=str(FILES[0].parent))
    train, test = dataset.load("train"), dataset.load("test")
    assert len(train) + len(test) == 3786
    assert len(test) == 385
    assert train.lengths == {"": 3401, "b": 3401}
    assert train.columns.keys() == described(dataset).keys()
    assert not set(train.columns["base"].tolist()) & set(test.columns["base"].tolist())
    a, b = (torch.cat([store.columns[name] for store in (train, test)]).double() / 255 for name in ("a", "a_as_b"))
    assert float((a - b).abs().mean()) == pytest.approx(0.168, abs=1e-3)
    assert float((-10 * (a - b).square().mean((1, 2, 3)).log10()).mean()) == pytest.approx(12.0, abs=0.05)
    assert torch.equal(train.columns["b_as_a"], train.columns["a"])
    held = Validation(dataset, 100).load("test")
    kept = Validation(dataset, 100).load("train")
    assert not set(held.columns["base"].tolist()) & set(kept.columns["base"].tolist())


def test_what_is_held_out_hangs_on_the_base_alone() -> None:
    assert is_held_out("1f44b") == is_held_out(base_of("1f44b-1f3fb"))
    share = np.mean([is_held_out(str(number)) for number in range(4000)])
    assert share == pytest.approx(1 / 8, abs=0.02)
