"""ADA: its matrices against the paper's formulas, its moves against torch's own, its controller by hand."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from gan_lab import registry
from gan_lab.augment.ada import ADA, BLIT, COLOR, GEOMETRY, Draws, blit_matrix, color_matrix, geometry_matrix
from gan_lab.augment.warp import SYMLET, blitted, rotation, scaling, translation, warped
from gan_lab.core.runtime import Runtime
from tests.core.toys import Pass, ToyTask, make_game, networks

SIZES = [(16, 16), (12, 20)]


def pictures(num: int, channels: int = 3, size: tuple[int, int] = (16, 16)) -> Tensor:
    random = torch.Generator().manual_seed(num)
    return torch.rand(num, channels, *size, generator=random, dtype=torch.float64) * 2 - 1


def numbers(num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(num, 4, generator=random), torch.randn(num, 4, generator=random)


def chosen(num: int, operations: tuple[str, ...], *names: str) -> Tensor:
    return torch.tensor([name in names for name in operations]).expand(num, -1)


def every_choice(operations: tuple[str, ...]) -> Tensor:
    return torch.tensor(list(itertools.product([False, True], repeat=len(operations))))


def passes(num: int, micro_batches: int = 1) -> list[Pass]:
    game = make_game(batch_size=num, micro_batches=micro_batches)
    return [Pass(game, game.phases[0], 0, game.rows(i)) for i in range(micro_batches)]


def with_p(p: float, **settings: Any) -> ADA:
    ada = ADA(16, **settings)
    ada.p.fill_(p)
    return ada


# -- matrices, by the formulas of appendix B ---------------------------------------------------------------------------


def translate2d(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def scale2d(x: float, y: float) -> np.ndarray:
    return np.diag([x, y, 1.0])


def rotate2d(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])


def test_the_blit_is_a_mirroring_a_turn_and_a_whole_shift() -> None:
    for flags in every_choice(BLIT):
        uniform, normal = numbers(6)
        made = blit_matrix(flags.expand(6, -1), uniform, normal, 24, 40)
        for inverse, (u_mirror, u_turn, u_x, u_y) in zip(made.double().numpy(), uniform.numpy(), strict=True):
            g = np.eye(3)
            if flags[0]:
                g = scale2d(1 - 2 * int(u_mirror * 2), 1) @ g
            if flags[1]:
                g = rotate2d(-math.pi / 2 * int(u_turn * 4)) @ g
            if flags[2]:
                x, y = (-0.125 + 0.25 * float(u) for u in (u_x, u_y))
                g = translate2d(round(x * 40), round(y * 24)) @ g
            np.testing.assert_allclose(inverse, np.linalg.inv(g), atol=1e-5)


def test_the_geometry_is_a_scaling_two_rotations_around_a_stretching_and_a_shift() -> None:
    for flags in every_choice(GEOMETRY):
        uniform, normal = numbers(4)
        made = geometry_matrix(flags.expand(4, -1), uniform[:, :2], normal, 24, 40)
        for inverse, u, n in zip(made.double().numpy(), uniform.double().numpy(), normal.double().numpy(), strict=True):
            g = np.eye(3)
            if flags[0]:
                s = math.exp(0.2 * math.log(2) * n[0])  # log-normal
                g = scale2d(s, s) @ g
            if flags[1]:
                g = rotate2d(-(-math.pi + 2 * math.pi * u[0])) @ g
            if flags[2]:
                s = math.exp(0.2 * math.log(2) * n[1])
                g = scale2d(s, 1 / s) @ g
            if flags[3]:
                g = rotate2d(-(-math.pi + 2 * math.pi * u[1])) @ g
            if flags[4]:
                g = translate2d(0.125 * n[2] * 40, 0.125 * n[3] * 24) @ g
            np.testing.assert_allclose(inverse, np.linalg.inv(g), atol=2e-5)


def rotate3d(axis: np.ndarray, angle: float) -> np.ndarray:
    """By the exponential of the axis's cross product, homogeneous."""
    x, y, z = axis
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    result = np.eye(4)
    result[:3, :3] = torch.linalg.matrix_exp(angle * cross).numpy()
    return result


def test_colors_are_changed_in_the_papers_order() -> None:
    axis = np.array([1, 1, 1, 0]) / math.sqrt(3)
    grey = np.outer(axis, axis)
    for flags in every_choice(COLOR):
        uniform, normal = numbers(3)
        made = color_matrix(flags.expand(3, -1), uniform[:, :2], normal[:, :3], 3)
        for matrix, u, n in zip(made.double().numpy(), uniform.double().numpy(), normal.double().numpy(), strict=True):
            c = np.eye(4)
            if flags[0]:
                c[:3, 3] = 0.2 * n[0]
            if flags[1]:
                s = math.exp(0.5 * math.log(2) * n[1])
                c = np.diag([s, s, s, 1]) @ c
            if flags[2]:
                c = (np.eye(4) - 2 * grey * int(u[0] * 2)) @ c
            if flags[3]:
                c = rotate3d(axis[:3], -math.pi + 2 * math.pi * u[1]) @ c
            if flags[4]:
                c = (grey + (np.eye(4) - grey) * math.exp(math.log(2) * n[2])) @ c
            np.testing.assert_allclose(matrix, c[:3], atol=1e-5)


def test_a_grey_picture_gets_brightness_contrast_and_inversion() -> None:
    uniform, normal = numbers(50)
    made = color_matrix(chosen(50, COLOR, *COLOR), uniform[:, :2], normal[:, :3], 1)
    sign = 1 - 2 * (uniform[:, 0] >= 0.5).float()
    factor = sign * 2 ** (0.5 * normal[:, 1])
    torch.testing.assert_close(made[:, 0, 0], factor)
    torch.testing.assert_close(made[:, 0, 1], factor * 0.2 * normal[:, 0])
    # As for a grey one with three channels: hue and saturation do not see the grey axis.
    colour = color_matrix(chosen(50, COLOR, *COLOR), uniform[:, :2], normal[:, :3], 3)
    torch.testing.assert_close(colour[:, :, :3].sum(2), factor[:, None].expand(-1, 3), atol=1e-5, rtol=1e-5)


# -- moves -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_whole_shifts_are_rolls_with_reflected_edges(size: tuple[int, int]) -> None:
    images = pictures(1, size=size)
    for x, y in itertools.product((-2, 0, 1), (0, 2)):
        back = translation(torch.tensor([-float(x)]), torch.tensor([-float(y)]))
        made, inside = blitted(images, back), slice(2, -2)
        assert torch.equal(made[:, :, inside, inside], images.roll((y, x), (2, 3))[:, :, inside, inside])
        frame = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
        assert torch.equal(made, frame[:, :, 2 - y : size[0] + 2 - y, 2 - x : size[1] + 2 - x])
        # what the filter makes of the same shift, up to rounding
        filtered = warped(images, back.double())
        torch.testing.assert_close(filtered[:, :, inside, inside], made[:, :, inside, inside], atol=1e-6, rtol=0)


def test_quarter_turns_are_rot90_and_mirroring_is_flip() -> None:
    images, one = pictures(1), torch.ones(1)
    for turns in range(4):
        assert torch.equal(blitted(images, rotation(math.pi / 2 * turns * one)), images.rot90(turns, (2, 3)))
    assert torch.equal(blitted(images, scaling(-one, one)), images.flip(3))
    oblong = pictures(1, size=(12, 20))  # turned, its middle is seen, and what lies beyond its sides is reflected
    made = blitted(oblong, rotation(math.pi / 2 * one))
    assert torch.equal(made[:, :, :, 4:16], oblong.rot90(1, (2, 3))[:, :, 4:16])


def test_a_wave_is_moved_to_where_the_matrix_says() -> None:
    """A smooth picture, shifted by parts of pixels, rotated and scaled, against the wave itself at the moved places."""
    height, width = 32, 48
    y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))

    def wave(x: Tensor, y: Tensor) -> Tensor:
        return torch.cos(0.35 * x + 0.2 * y) + torch.sin(0.3 * y - 0.1 * x)

    image = wave(x, y[:, None])[None, None]
    one = torch.ones(1, dtype=torch.float64)
    inside = slice(12, -12)
    for back in (translation(0.3 * one, -1.7 * one), rotation(0.5 * one), scaling(0.8 * one, 1.1 * one)):
        (a, b, c), (d, e, f) = back[0, :2].tolist()
        expected = wave(a * x + b * y[:, None] + c, d * x + e * y[:, None] + f)
        made = warped(image, back)[0, 0]
        assert (made - expected)[inside, inside].abs().max() < 0.1
        assert (image[0, 0] - expected)[inside, inside].abs().max() > 0.4


def test_an_oblong_picture_whose_sides_differ_by_an_odd_number_is_turned_as_a_whole() -> None:
    rows = torch.arange(7.0)[None, None, :, None].expand(1, 1, 7, 6)
    made = blitted(rows, rotation(torch.tensor([math.pi / 2])))
    assert (made == made[:, :, :1]).all()  # a row has become a column
    assert made[0, 0, 0].diff().abs().tolist() == [1] * 5


@pytest.mark.parametrize("move", [blitted, warped])
def test_moves_are_differentiated_twice(move: Any) -> None:
    images = pictures(2, 1, (7, 6)).requires_grad_()
    uniform, normal = numbers(2)
    back = geometry_matrix(chosen(2, GEOMETRY, *GEOMETRY), uniform, normal, 7, 6).double()
    assert torch.autograd.gradcheck(lambda x: move(x, back), images, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: move(x, back).square(), images, fast_mode=True)


def test_the_wavelets_even_shifts_are_orthogonal_and_its_high_pass_filter_ignores_polynomials() -> None:
    """The properties that define a symlet of order 6: the taps themselves were not computed here."""
    taps = np.array(SYMLET) * 2**0.5
    for shift in range(6):
        assert np.dot(taps[2 * shift :], taps[: len(taps) - 2 * shift]) == pytest.approx(float(shift == 0), abs=1e-10)
    signs, place = (-1.0) ** np.arange(12), np.arange(12) / 11
    for power in range(6):
        assert np.dot(signs * taps, place**power) == pytest.approx(0, abs=1e-9)


# -- the augmentation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_probability_zero_nothing_changes_bit_for_bit(channels: int, dtype: torch.dtype) -> None:
    (forward,) = passes(8)
    images = pictures(8, channels).to(dtype)
    assert torch.equal(with_p(0)(forward, images, "real"), images)
    assert not torch.equal(with_p(0.5)(forward, images, "real"), images)


def test_what_is_not_drawn_for_a_row_leaves_it_as_it_is() -> None:
    (forward,) = passes(4000)
    images = pictures(4000, 1, (6, 6)).float()
    p = 0.3
    expected = {
        # half of the mirrorings, a quarter of the turns and, of 6 px, 4 of 9 shifts change nothing
        ("blit",): (1 - p / 2) * (1 - p * 3 / 4) * (1 - p * 5 / 9),
        ("geometry",): (1 - p) ** 4,  # both rotations together have probability p
        ("color",): (1 - p) ** 2 * (1 - p / 2),  # of grey pictures; half of the inversions change nothing
    }
    for policy, share in expected.items():
        seen = with_p(p, policy=policy)(forward, images, "real")
        same = (seen == images).flatten(1).all(1).double().mean().item()
        assert same == pytest.approx(share, abs=4 * 0.5 / 4000**0.5), policy


def test_parts_are_applied_in_order_and_edges_are_reflected_once() -> None:
    images, (uniform, normal) = pictures(5).float(), numbers(5)
    draws: list[Draws] = [
        (chosen(5, operations, *operations), uniform, normal) for operations in (BLIT, GEOMETRY, COLOR)
    ]
    made = ADA(16).applied(images, *draws)
    inverse = blit_matrix(*draws[0], 16, 16) @ geometry_matrix(*draws[1], 16, 16)
    matrix = color_matrix(*draws[2], 3)
    expected = torch.einsum("bij,bjhw->bihw", matrix[:, :, :3], warped(images, inverse)) + matrix[:, :, 3:, None]
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_gradients_reach_the_images_of_any_size(size: tuple[int, int]) -> None:
    (forward,) = passes(3)
    ada, images = with_p(0.9), pictures(3, size=size).requires_grad_()
    assert ada(forward, images, "fake").shape == images.shape
    assert torch.autograd.gradcheck(lambda x: ada(forward, x, "fake"), images, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: ada(forward, x, "fake").square(), images, fast_mode=True)


def test_real_and_fake_draw_for_themselves_and_micro_batches_see_their_rows() -> None:
    (forward,) = passes(8)
    ada, images = with_p(0.8), pictures(8).float()
    real = ada(forward, images, "real")
    assert not torch.equal(real, ada(forward, images, "fake"))
    assert torch.equal(real, ada(forward, images, "real"))
    parts = [ada(part, images[part.rows], "real") for part in passes(8, micro_batches=4)]
    torch.testing.assert_close(torch.cat(parts), real)
    assert ada(forward, images.bfloat16(), "real").dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ada(forward, images, "real"), real)


def test_it_needs_no_look_at_a_value() -> None:
    images = pictures(8).float().to("meta").requires_grad_()
    game = make_game(ToyTask(networks().to("meta")), runtime=Runtime(torch.device("meta")))
    ada = ADA(16).to("meta")
    ada(Pass(game, game.phases[0], 0, slice(0, 8)), images, "real").sum().backward()
    assert images.grad.is_meta
    ada.after_play(game, game.phases[0], said([1.0]) | {"skipped": [torch.zeros((), device="meta")]})


# -- the controller ----------------------------------------------------------------------------------------------------


def said(real: list[float], fake: float = 0.0, skipped: bool = False) -> dict[str, list[Tensor]]:
    """What a play of the discriminator records: a micro-batch for each number."""
    return {
        "real_logits": [torch.full((2,), value) for value in real],
        "fake_logits": [torch.full((2,), fake)],
        "skipped": [torch.tensor(float(skipped))],
    }


def playing(boundary: float | None = 0.0, images: int = 0) -> Any:
    return SimpleNamespace(task=SimpleNamespace(boundary=boundary), runtime=Runtime(), batch_size=10, images=images)


DISCRIMINATOR: Any = SimpleNamespace(player="discriminator", name="discriminator")


def test_p_moves_every_four_steps_by_the_images_shown_towards_the_target() -> None:
    ada = ADA(16, images=1000)
    for step in range(1, 9):
        ada.after_play(playing(), DISCRIMINATOR, said([1.0, 1.0]))
        assert ada.p.item() == pytest.approx(0.04 * (step // 4))
    for _ in range(4):  # signs 1, 1, 1 and -1: their mean, 0.5, is below 0.6
        ada.after_play(playing(), DISCRIMINATOR, said([1.0, 1.0, 1.0, -1.0]))
    assert ada.p.item() == pytest.approx(0.04)
    for _ in range(12):
        ada.after_play(playing(), DISCRIMINATOR, said([-1.0]))
    assert ada.p.item() == 0
    generator: Any = SimpleNamespace(player="generator")
    for _ in range(8):
        ada.after_play(playing(), generator, said([1.0]))
        ada.after_play(playing(), DISCRIMINATOR, {"r1": [torch.ones(())]})
    assert ada.p.item() == 0


def test_signs_are_counted_from_the_losss_boundary_or_the_fake_logits() -> None:
    cases = [(0.5, 0.4, 0.0, False), (0.5, 0.6, 9.0, True), (None, 3.0, 2.0, True), (None, 3.0, 4.0, False)]
    for boundary, real, fake, rises in cases:
        ada = ADA(16, images=1000)
        for _ in range(4):
            ada.after_play(playing(boundary), DISCRIMINATOR, said([real], fake))
        assert (ada.p.item() > 0) == rises


def test_p_stays_below_its_most_and_moves_that_were_skipped_do_not_count() -> None:
    ada = ADA(16, images=20, p=0.7)
    for _ in range(4):
        ada.after_play(playing(), DISCRIMINATOR, said([1.0]))
    assert ada.p.item() == pytest.approx(0.7)
    for _ in range(40):
        ada.after_play(playing(), DISCRIMINATOR, said([float("nan")], skipped=True))
    assert ada.p.item() == pytest.approx(0.7)


def test_without_a_target_p_rises_with_the_images_and_stays() -> None:
    ada = ADA(16, target=None, images=1000, p=0.3)
    for images, p in ((0, 0.0), (500, 0.15), (1000, 0.3), (9000, 0.3)):
        ada.after_play(playing(images=images), DISCRIMINATOR, said([-1.0]))
        assert ada.p.item() == pytest.approx(p)


def test_it_is_refused_without_a_policy_and_for_points() -> None:
    with pytest.raises(ValueError, match=r"augment.policy=\[\]: it names nothing; choose augment=none"):
        ADA(16, policy=())
    with pytest.raises(ValueError, match="ada needs image_size"):
        registry.augmentations.build(OmegaConf.create({"name": "ada"}), sample_shape=(2,))
