"""Augmentations against numpy, image by image."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from gan_lab import registry
from gan_lab.augment.diffaugment import DiffAugment, color, cutout, translation
from gan_lab.augment.instance_noise import InstanceNoise
from gan_lab.augment.pixels import flip_and_shift
from gan_lab.augment.plain import Flip, Identity
from gan_lab.config.hydra_store import publish
from gan_lab.core.runtime import Runtime
from tests.core.toys import Pass, ToyTask, make_game, networks
from tests.helpers import compose

SIZES = [(6, 6), (5, 9), (16, 8), (7, 7)]


def pictures(num: int, channels: int = 3, size: tuple[int, int] = (6, 6), dtype: torch.dtype = torch.float64) -> Tensor:
    random = torch.Generator().manual_seed(num)
    return torch.rand(num, channels, *size, generator=random, dtype=dtype) * 2 - 1


def uniform(num: int, count: int) -> Tensor:
    return torch.rand(num, count, generator=torch.Generator().manual_seed(count))


def passes(num: int, micro_batches: int = 1) -> list[Pass]:
    game = make_game(batch_size=num, micro_batches=micro_batches)
    return [Pass(game, game.phases[0], 0, game.rows(i)) for i in range(micro_batches)]


# -- flip --------------------------------------------------------------------------------------------------------------


def test_flip_mirrors_half_of_real_and_fake_independently_and_passes_gradients() -> None:
    (forward,) = passes(4000)
    images = torch.arange(6.0).view(1, 1, 2, 3).repeat(4000, 1, 1, 1).requires_grad_()
    flipped = {}
    for stream in ("real", "fake"):
        seen = Flip(3)(forward, images, stream)
        mirrored = (seen == images.flip(3)).flatten(1).all(1)
        assert ((seen == images).flatten(1).all(1) ^ mirrored).all()
        flipped[stream] = mirrored.double()
        assert mirrored.double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
    correlation = torch.corrcoef(torch.stack([flipped["real"], flipped["fake"]]))[0, 1]
    assert correlation.abs() < 4 / 4000**0.5
    seen.sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))
    assert Identity()(forward, images, "real") is images


# -- instance noise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (1, 5, 4)])
def test_instance_noise_falls_linearly_to_nothing_and_passes_gradients(shape: tuple[int, ...]) -> None:
    (forward,) = passes(4000)
    samples = torch.zeros(4000, *shape, requires_grad=True)
    for shown, std in ((0, 0.4), (25, 0.3), (75, 0.1)):
        forward.game.images = shown
        real, fake = (InstanceNoise(std=0.4, images=100)(forward, samples, stream) for stream in ("real", "fake"))
        assert real.std().item() == pytest.approx(std, rel=0.05)
        assert abs(real.mean().item()) < 0.02
        pair = torch.stack([real.flatten(), fake.flatten()])
        assert torch.corrcoef(pair)[0, 1].abs() < 4 / pair.shape[1] ** 0.5, "the same noise for real and fake"
    real.sum().backward()
    assert torch.equal(samples.grad, torch.ones_like(samples))
    for shown in (100, 1000):
        forward.game.images = shown
        assert InstanceNoise(std=0.4, images=100)(forward, samples, "real") is samples


# -- the parts of diffaugment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_color_is_brightness_then_saturation_then_contrast(channels: int) -> None:
    images, numbers = pictures(20, channels, (5, 9)), uniform(20, 3)
    for image, (b, s, c), seen in zip(images.numpy(), numbers.double().numpy(), color(images, numbers), strict=True):
        image = image + (b - 0.5)
        grey = image.mean(0, keepdims=True)
        image = (image - grey) * (2 * s) + grey
        image = (image - image.mean()) * (c + 0.5) + image.mean()
        np.testing.assert_allclose(seen.numpy(), image, atol=1e-7)


@pytest.mark.parametrize("size", SIZES)
def test_translation_shifts_by_up_to_an_eighth_and_zeros_move_in(size: tuple[int, int]) -> None:
    images, numbers = pictures(300, 2, size), uniform(300, 2)
    most = [int(np.floor(side / 8 + 0.5)) for side in size]
    shifts = set()
    for image, u, seen in zip(images.numpy(), numbers.numpy(), translation(images, numbers), strict=True):
        down, right = (int(np.floor(x * (2 * m + 1))) - m for x, m in zip(u, most, strict=True))
        frame = np.pad(image, ((0, 0), *((m, m) for m in most)))
        top, left = most[0] - down, most[1] - right
        np.testing.assert_array_equal(seen.numpy(), frame[:, top : top + size[0], left : left + size[1]])
        shifts.add((down, right))
    assert shifts == set(itertools.product(*(range(-m, m + 1) for m in most)))


@pytest.mark.parametrize("size", SIZES)
def test_cutout_hides_a_window_of_half_the_size_whose_center_lies_inside(size: tuple[int, int]) -> None:
    numbers = uniform(2000, 2)
    seen = cutout(torch.ones(2000, 2, *size), numbers)
    assert torch.equal(seen[:, 0], seen[:, 1])
    hidden = 1 - seen[:, 0]
    areas = {1: hidden.amax(2).sum(1), 2: hidden.amax(1).sum(1)}  # windows' heights and widths
    assert torch.equal(hidden.sum((1, 2)), areas[1] * areas[2]), "not a rectangle"
    for axis, side in enumerate(size, start=1):
        length = int(np.floor(side / 2 + 0.5))
        starts = range(-(length // 2), side - length // 2 + 1 - length % 2)  # each as likely
        visible = [min(side, at + length) - max(0, at) for at in starts]
        assert areas[axis].max() == length
        assert set(areas[axis].tolist()) == set(visible)
        assert areas[axis].double().mean().item() == pytest.approx(np.mean(visible), abs=0.15)


def test_the_window_is_where_its_numbers_say() -> None:
    seen = cutout(torch.ones(3, 1, 8, 8), torch.tensor([[0.0, 0.0], [0.5, 0.99], [0.999, 0.4]]))
    expected = np.ones((3, 8, 8))
    expected[0, :2, :2] = 0  # centers lie between places 0 to 8: at 0, 4 and 8
    expected[1, 2:6, 6:] = 0
    expected[2, 6:, 1:5] = 0
    np.testing.assert_array_equal(seen[:, 0].numpy(), expected)


# -- diffaugment -------------------------------------------------------------------------------------------------------


def test_the_policy_is_applied_in_its_order_and_repeated_parts_draw_anew() -> None:
    (forward,) = passes(8)
    images = pictures(8, dtype=torch.float32)
    numbers = forward.draw("diffaugment/real", 5, kind="uniform")
    a, b = DiffAugment(6, policy=("cutout", "color")), DiffAugment(6, policy=("color", "cutout"))
    assert torch.equal(a(forward, images, "real"), color(cutout(images, numbers[:, :2]), numbers[:, 2:]))
    assert torch.equal(b(forward, images, "real"), cutout(color(images, numbers[:, :3]), numbers[:, 3:]))
    twice = DiffAugment(6, policy=("cutout", "cutout"))(forward, torch.ones(8, 1, 6, 6), "real")
    assert twice.mean() < DiffAugment(6, policy=("cutout",))(forward, torch.ones(8, 1, 6, 6), "real").mean()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", [("color",), ("translation",), ("cutout",), ("color", "translation", "cutout")])
def test_gradients_are_those_of_finite_differences(policy: Any, channels: int, size: tuple[int, int]) -> None:
    (forward,) = passes(3)
    augment = DiffAugment(size, policy=policy)
    images = pictures(3, channels, size).requires_grad_()
    assert augment(forward, images, "fake").shape == images.shape
    assert torch.autograd.gradcheck(lambda x: augment(forward, x, "fake"), images, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: augment(forward, x, "fake").square(), images, fast_mode=True)


def test_real_and_fake_draw_for_themselves_and_micro_batches_see_their_rows() -> None:
    (forward,) = passes(8)
    augment, images = DiffAugment(6), pictures(8, dtype=torch.float32)
    real, fake = augment(forward, images, "real"), augment(forward, images, "fake")
    assert not torch.equal(real, fake)
    assert torch.equal(real, augment(forward, images, "real"))
    parts = [augment(part, images[part.rows], "real") for part in passes(8, micro_batches=4)]
    torch.testing.assert_close(torch.cat(parts), real)


def test_memory_format_and_low_precision_are_taken_as_they_come() -> None:
    (forward,) = passes(8)
    augment, images = DiffAugment(6), pictures(8, dtype=torch.float32)
    seen = augment(forward, images, "real")
    assert seen.dtype == torch.float32
    torch.testing.assert_close(augment(forward, images.to(memory_format=torch.channels_last), "real"), seen)
    low = augment(forward, images.bfloat16(), "real")
    torch.testing.assert_close(low.float(), augment(forward, images.bfloat16().float(), "real"))


def test_it_needs_no_look_at_a_value() -> None:
    augment, images = DiffAugment(6), pictures(8, dtype=torch.float32).to("meta").requires_grad_()
    game = make_game(ToyTask(networks().to("meta")), runtime=Runtime(torch.device("meta")))
    seen = augment(Pass(game, game.phases[0], 0, slice(0, 8)), images, "real")
    seen.sum().backward()
    assert images.grad.is_meta


def test_a_policy_goes_through_the_config() -> None:
    publish()
    config = compose("augment=diffaugment", "augment.policy=[color,cutout]")
    assert registry.augmentations.build(config.augment, image_size=8).policy == ("color", "cutout")
    config = compose("augment=diffaugment")
    assert registry.augmentations.build(config.augment, image_size=8).policy == ("color", "translation", "cutout")
    for wrong, why in ((["colour"], "expected one of"), ([], "it names nothing")):
        node = OmegaConf.create({"name": "diffaugment", "policy": wrong})
        with pytest.raises(ValueError, match=why) as caught:
            registry.augmentations.build(node, image_size=8)
        assert "\n" not in str(caught.value)
    assert "[color, translation, cutout]" in _message(["colour"])
    with pytest.raises(ValueError, match="needs image_size"):
        registry.augmentations.build(copy.deepcopy(config.augment), sample_shape=(2,))


def _message(policy: list[str]) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        registry.augmentations.build(OmegaConf.create({"name": "diffaugment", "policy": policy}), image_size=8)
    return str(caught.value)


# -- what consistency regularizers use ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [0, 1, 4])
def test_flip_and_shift_reflects_at_the_edges(size: tuple[int, int], shift: int) -> None:
    images, numbers = pictures(900, 2, size), uniform(900, 3)
    moved = flip_and_shift(images, numbers, 0.3, shift)
    moves = set()
    for image, (u, v, w), seen in zip(images.numpy(), numbers.numpy(), moved, strict=True):
        down, right = (int(np.floor(x * (2 * shift + 1))) - shift for x in (u, v))
        mirrored = image[:, :, ::-1] if w < 0.3 else image
        frame = np.pad(mirrored, ((0, 0), (shift, shift), (shift, shift)), mode="reflect")
        top, left = shift - down, shift - right
        np.testing.assert_array_equal(seen.numpy(), frame[:, top : top + size[0], left : left + size[1]])
        moves.add((down, right))
    assert moves == set(itertools.product(range(-shift, shift + 1), repeat=2))
    assert (numbers[:, 2] < 0.3).double().mean().item() == pytest.approx(0.3, abs=4 * 0.46 / 900**0.5)
