"""What every registered degradation keeps to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from gan_lab.degradations import Degradation
from gan_lab.registry import degradations, load, supplied
from tests.degradations.draws import RowDraw, pictures

load()
# Settings beside the defaults under which a degradation draws or makes something else.
MORE: dict[str, list[dict[str, Any]]] = {
    "super_resolution": [{"factor": 4}, {"factor": 8, "levels": None}],
    "inpainting": [{"hole": "free_form"}],
}
ANY = [name for name, cls in degradations.classes.items() if not supplied(cls)]  # those of any pictures
EVERY = [(name, settings) for name in ANY for settings in ({}, *MORE.get(name, []))]
every = pytest.mark.parametrize(("name", "settings"), EVERY, ids=str)


def build(name: str, settings: dict[str, Any]) -> Degradation:
    made: Degradation = degradations.build(OmegaConf.create({"name": name, **settings}))
    return made


@every
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_sources_and_solutions_have_the_shapes_it_says(name: str, settings: dict[str, Any], channels: int) -> None:
    degradation, target = build(name, settings), pictures(2, channels, 24, 40)
    source = degradation(target, RowDraw([0, 1]))
    assert source.shape == (2, *degradation.input_shape((channels, 24, 40)))
    assert degradation.solve(source).shape == target.shape
    assert degradation.finish(target, source).shape == target.shape
    assert torch.equal(target, pictures(2, channels, 24, 40)), "the target has been written to"


@every
def test_a_row_has_the_same_source_in_any_batch(name: str, settings: dict[str, Any]) -> None:
    degradation, target = build(name, settings), pictures(5, 3, 24, 40)
    together = degradation(target.contiguous(memory_format=torch.channels_last), RowDraw(range(5)))
    apart = torch.cat([degradation(target[i : i + 1], RowDraw([i])) for i in reversed(range(5))]).flip(0)
    assert torch.equal(together, apart)


@every
def test_it_says_which_streams_it_draws(name: str, settings: dict[str, Any]) -> None:
    degradation, draw = build(name, settings), RowDraw([0])
    degradation(pictures(1, 3, 24, 40), draw)
    assert draw.streams <= set(degradation.streams)


@every
def test_sources_are_made_on_the_targets_device(name: str, settings: dict[str, Any]) -> None:
    degradation, target = build(name, settings), torch.empty(2, 3, 24, 40, device="meta")
    source = degradation(target, RowDraw([0, 1], device="meta"))  # torch refuses to mix it with the CPU
    assert source.device.type == degradation.finish(target, source).device.type == "meta"


@every
def test_the_trivial_solution_beats_a_grey_picture(name: str, settings: dict[str, Any]) -> None:
    y, x = torch.meshgrid(torch.arange(32) / 5, torch.arange(40) / 7, indexing="ij")
    target = torch.stack([(x + y).sin(), (x - y).cos()])[:, None].expand(-1, 3, -1, -1)
    degradation = build(name, settings)
    solution = degradation.solve(degradation(target, RowDraw([0, 1])))
    grey = target.mean((1, 2, 3), keepdim=True)
    assert (solution - target).square().mean() < (grey - target).square().mean()


@pytest.mark.parametrize("name", ["super_resolution", "denoising"])
def test_a_users_own_picture_is_the_source(name: str) -> None:
    picture = pictures(1, 3, 10, 14)
    assert torch.equal(build(name, {}).source_of(picture), picture)
    assert torch.equal(build(name, {}).source_of(picture, torch.ones(1, 1, 10, 14)), picture)


def test_unknown_settings_are_refused_by_their_names() -> None:
    with pytest.raises(ValueError, match=r"degradation has no key sigm\. Did you mean sigma"):
        build("denoising", {"sigm": 1})
    with pytest.raises(ValueError, match=r"degradation\.hole"):
        build("inpainting", {"hole": "round"})
