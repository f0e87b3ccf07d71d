"""Inpainting: holes against drawing them by hand, and the filling against scikit-image."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_lab.degradations.inpainting import SEGMENTS, STROKES, Inpainting, free_form
from tests.degradations.draws import RowDraw, pictures


def test_a_centre_hole_is_a_rectangle_in_the_middle() -> None:
    degradation, target = Inpainting(share=0.5), pictures(2, 3, 16, 24)
    source = degradation(target, RowDraw([0, 1]))
    expected = torch.zeros(16, 24)
    expected[4:12, 6:18] = 1
    assert torch.equal(source[1, 3], expected)
    assert torch.equal(source[:, :3], target * (1 - expected))


def test_a_hole_that_is_nothing_or_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share=0\.01 leaves no hole in pictures of 16 x 24"):
        Inpainting(share=0.01).input_shape((3, 16, 24))
    with pytest.raises(ValueError, match="share=1 leaves no known pixel"):
        Inpainting(share=1.0).input_shape((3, 16, 24))
    assert Inpainting(hole="free_form", share=1.0).input_shape((3, 16, 24)) == (4, 16, 24)


def by_hand(height: int, width: int, choices: Any, brushes: Any, lengths: Any) -> Any:
    """One picture's strokes as the paper's algorithm 1 draws them: one segment after another, in plain numbers."""
    y, x = np.mgrid[:height, :width].astype(float)
    hole = np.zeros((height, width), bool)
    for s in range(1 + int(choices[0] * 3)):
        low = 2 * math.pi / 5 - brushes[s, 1] * 2 * math.pi / 15
        high = 2 * math.pi / 5 + brushes[s, 2] * 2 * math.pi / 15
        at = (math.floor(brushes[s, 3] * width), math.floor(brushes[s, 4] * height))
        radius = (12 + 28 * brushes[s, 5]) / 256 * min(height, width) / 2
        for i in range(4 + int(brushes[s, 0] * 8)):
            angle = low + (high - low) * brushes[s, 6 + i]
            angle = 2 * math.pi - angle if i % 2 == 0 else angle
            mean = math.hypot(height, width) / 8
            length = min(max(mean + mean / 2 * lengths[s, i], 0), 2 * mean)
            to = (
                math.floor(min(max(at[0] + length * math.cos(angle), 0), width - 1)),
                math.floor(min(max(at[1] + length * math.sin(angle), 0), height - 1)),
            )
            u, v = to[0] - at[0], to[1] - at[1]
            t = np.clip(((x - at[0]) * u + (y - at[1]) * v) / max(u * u + v * v, 1), 0, 1)
            hole |= np.hypot(x - at[0] - t * u, y - at[1] - t * v) <= radius
            at = to
    hole = hole[:, ::-1] if choices[1] < 0.5 else hole
    return hole[::-1] if choices[2] < 0.5 else hole


def numbers(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(count, 3, generator=generator),
        torch.rand(count, STROKES, 6 + SEGMENTS, generator=generator),
        torch.randn(count, STROKES, SEGMENTS, generator=generator),
    )


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 32), (24, 40)])
def test_free_form_holes_are_those_drawn_by_hand(height: int, width: int) -> None:
    drawn = numbers(40)
    found = free_form(height, width, *drawn)
    for row in range(40):
        expected = by_hand(height, width, *(part[row].double().numpy() for part in drawn))
        assert np.array_equal(found[row, 0].numpy(), expected), f"row {row}"


@pytest.mark.parametrize("size", [32, 64])
def test_free_form_holes_take_the_same_share_of_any_size(size: int) -> None:
    share = free_form(size, size, *numbers(400)).double().mean((1, 2, 3))
    # 0.153 with a standard error of 0.002: 1,500 pictures of 256 pixels, drawn by Pillow with the authors' constants
    assert float(share.mean()) == pytest.approx(0.153, abs=4 * float(share.std()) / 20 + 0.004)


@pytest.mark.parametrize("value", [0.0, 1 - 2**-24])
def test_extreme_numbers_still_draw_a_hole(value: float) -> None:
    shapes = ((1, 3), (1, STROKES, 6 + SEGMENTS), (1, STROKES, SEGMENTS))
    for length in (-9.0, 0.0, 9.0):
        choices, brushes, lengths = (torch.full(shape, value) for shape in shapes)
        hole = free_form(16, 24, choices, brushes, lengths + length)
        assert 0 < hole.sum() < hole.numel()


def test_known_pixels_are_pasted_into_the_output() -> None:
    degradation, target = Inpainting(hole="free_form"), pictures(3, 3, 32, 32)
    source = degradation(target, RowDraw(range(3)))
    output = torch.full_like(target, 0.5, requires_grad=True)
    finished = degradation.finish(output, source)
    hole = degradation.mask_of(source).expand_as(target)
    assert torch.equal(finished, torch.where(hole, 0.5, target))
    finished.sum().backward()
    assert output.grad is not None
    assert torch.equal(output.grad, hole.float())


def test_the_filling_is_scikit_images_and_leaves_known_pixels() -> None:
    restoration = pytest.importorskip("skimage.restoration")
    degradation, target = Inpainting(), pictures(2, 2, 16, 20)
    source = degradation(target, RowDraw([0, 1]))
    solved = degradation.solve(source)
    hole = degradation.mask_of(source)
    assert torch.equal(solved.masked_fill(hole, 0), source[:, :-1])
    one = restoration.inpaint_biharmonic(target[1, 1].double().numpy(), hole[1, 0].numpy())
    torch.testing.assert_close(solved[1, 1], torch.from_numpy(one).float(), atol=1e-5, rtol=0)


def test_a_plane_is_filled_exactly() -> None:
    plane = torch.linspace(-0.5, 0.5, 16).expand(1, 1, 12, 16) + torch.linspace(-0.2, 0.2, 12)[:, None]
    degradation = Inpainting()
    solved = degradation.solve(degradation(plane, RowDraw([0])))  # its fourth derivatives are 0
    torch.testing.assert_close(solved, plane, atol=1e-5, rtol=0)


def test_pictures_without_a_hole_or_without_a_known_pixel_stay() -> None:
    target = pictures(2, 1, 8, 8)
    whole = torch.cat([target, torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])], 1)
    assert torch.equal(Inpainting().solve(whole), target)


def test_transparent_pixels_of_a_users_file_are_the_hole() -> None:
    picture, alpha = pictures(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    alpha[..., 2:4, 3:6] = 0.2
    source = Inpainting().source_of(picture, alpha)
    assert torch.equal(source[:, 3:], (alpha < 1).float())
    assert torch.equal(source[:, :3], picture * (alpha == 1))


def test_a_users_file_with_nothing_to_fill_in_or_nothing_known_is_refused() -> None:
    picture, opaque = pictures(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    for alpha in (None, opaque):
        with pytest.raises(ValueError, match=r"has no transparent pixels: .* make what is to be filled in transparent"):
            Inpainting().source_of(picture, alpha)
    with pytest.raises(ValueError, match="is all transparent"):
        Inpainting().source_of(picture, 0 * opaque)


def test_without_scikit_image_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("skimage"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    source = Inpainting()(pictures(1, 3, 8, 8), RowDraw([0]))
    with pytest.raises(ValueError, match=r'needs scikit-image: pip install "hydra-gan-lab\[images\]"'):
        Inpainting().solve(source)
