"""StyleGAN2's networks against published counts, and its layers against what they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from gan_lab.discriminators.stylegan2 import StyleGAN2Discriminator, with_deviation
from gan_lab.generators.modulated import EqualizedConv, EqualizedLinear, Mapping, modulated
from gan_lab.generators.stylegan2 import StyleGAN2Generator
from gan_lab.resampling import filtered, halved

DOUBLE = torch.float64


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_both_have_the_parameters_that_the_authors_code_prints() -> None:
    """Totals in training logs of NVIDIA's stylegan2-ada-pytorch at 1024 px: 28,794,124 and 29,012,513.

    They are of two mapping layers; with eight, those of config F, the six others add 512 x 513 parameters each.
    """
    with torch.device("meta"):
        assert count(StyleGAN2Generator(1024, 3, None)) == 28_794_124 + 6 * 512 * 513
        assert count(StyleGAN2Generator(1024, 3, None, mapping_layers=2)) == 28_794_124
        assert count(StyleGAN2Discriminator(1024, 3, None)) == 29_012_513


def generator_by_hand(channels: list[int], mapping: int, pictures: int) -> int:
    """From the base up; 512 numbers in latents and styles. Weights, styles' affine maps, biases, noise strengths."""

    def conv(inside: int, outside: int) -> int:
        return 9 * inside * outside + (512 + 1) * inside + outside + 1

    total = mapping * 512 * 513 + 16 * channels[0]
    for k, outside in enumerate(channels):
        total += conv(channels[k - 1], outside) if k else 0
        total += conv(outside, outside) + outside * pictures + pictures + 513 * outside
    return total


def discriminator_by_hand(channels: list[int], pictures: int, residual: bool) -> int:
    total = (pictures + 1) * channels[-1]
    for outside, inside in pairwise(channels):
        total += (9 * inside + 1) * inside + (9 * inside + 1) * outside + residual * inside * outside
    last = channels[0]
    return total + (9 * (last + 1) + 1) * last + (16 * last + 1) * last + last + 1


@pytest.mark.parametrize(
    ("size", "width", "mapping", "residual", "published"),
    [
        (256, None, 8, True, (30_034_338, 28_864_129)),  # config F
        (256, 64, 8, True, (24_767_458, 24_001_089)),  # half of its width, as R3GAN's table 1 has it (24.77 M, 24.00 M)
        (32, None, 2, False, (19_947_539, 20_720_641)),  # stylegan2-ada's for CIFAR-10
    ],
)
def test_both_have_the_parameters_counted_by_hand(
    size: int, width: int | None, mapping: int, residual: bool, published: tuple[int, int]
) -> None:
    most = width or min(32_768 // size, 512)
    channels = [min(most * size // 2**k, 512) for k in range(2, int(math.log2(size)) + 1)]
    assert generator_by_hand(channels, mapping, 3) == published[0]
    assert discriminator_by_hand(channels, 3, residual) == published[1]
    with torch.device("meta"):
        assert count(StyleGAN2Generator(size, 3, None, width=width, mapping_layers=mapping)) == published[0]
        assert count(StyleGAN2Discriminator(size, 3, None, width=width, residual=residual)) == published[1]


@pytest.mark.parametrize("network", [StyleGAN2Generator, StyleGAN2Discriminator])
def test_a_size_that_cannot_be_made_is_refused_with_near_ones(network: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"image_size=33: strided layers cannot make this size; near it are .*28, 32"):
        network(33, 3, None, width=8)


# -- modulated convolution ---------------------------------------------------------------------------------------------


def row_by_row(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, doubling: bool) -> Tensor:
    """Equations 1 and 3: each row with weights of its own."""
    rows = []
    for row, scale in zip(x, style, strict=True):
        own = weight * scale[None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if doubling:
            made = filtered(conv_transpose2d(row[None], own.transpose(0, 1), stride=2), 1, gain=4)
        else:
            made = conv2d(row[None], own, padding=own.shape[2] // 2)
        rows.append(made)
    return torch.cat(rows)


@pytest.mark.parametrize(
    ("demodulate", "doubling", "size"), [*product((True, False), (True, False), (3,)), (False, False, 1)]
)
def test_a_modulated_convolution_is_one_convolution_a_row_to_the_second_derivative(
    demodulate: bool, doubling: bool, size: int
) -> None:
    found = []
    for how in (modulated, row_by_row):
        shapes = [(3, 4, 6, 5), (5, 4, size, size), (3, 4)]
        x, weight, style = (random(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes))
        if how is modulated:
            made = modulated(x, weight, style, demodulate=demodulate, doubling=doubling)
        else:
            made = row_by_row(x, weight, style, demodulate, doubling)
        assert made.shape == (3, 5, *((12, 10) if doubling else (6, 5)))
        first = torch.autograd.grad((made * random(*made.shape, seed=7)).sum(), (x, weight, style), create_graph=True)
        penalty = torch.stack([gradient.square().sum() for gradient in first]).sum()
        second = torch.autograd.grad(penalty, (x, weight, style))
        found.append([made, *first, *second])
    for ours, theirs in zip(*found, strict=True):
        assert ours.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_demodulated_outputs_have_the_inputs_variance_whatever_the_styles_length() -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(4, 64, 16, 16), torch.randn(64, 64, 3, 3), torch.rand(4, 64) + 0.5
    made = modulated(x, weight, style)
    assert made[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(modulated(x, weight, style * 7), made, rtol=1e-3, atol=1e-4)


# -- equalized layers, mapping, deviation ------------------------------------------------------------------------------


def test_equalized_layers_begin_with_unit_weights_and_keep_the_variance() -> None:
    torch.manual_seed(0)
    dense, conv = EqualizedLinear(400, 300, rate=0.01, initial_bias=2.0), EqualizedConv(64, 128, 3, halving=True)
    assert dense.weight.std().item() == pytest.approx(100, rel=0.02)
    torch.testing.assert_close(dense(torch.zeros(1, 400)), torch.full((1, 300), 2.0))
    assert (dense(torch.randn(500, 400)) - 2).std().item() == pytest.approx(1, rel=0.02)
    assert conv.weight.std().item() == pytest.approx(1, rel=0.02)
    x = torch.randn(2, 64, 12, 8)
    assert conv(x).shape == (2, 128, 6, 4)
    weight = conv.weight / math.sqrt(64 * 9)
    torch.testing.assert_close(conv(x), conv2d(filtered(x, 2), weight, stride=2))
    short = EqualizedConv(64, 8, 1, bias=False, halving=True)
    torch.testing.assert_close(short(x), conv2d(halved(x), short.weight / 8))


def test_the_mapping_ignores_the_length_of_a_latent_and_looks_at_the_class() -> None:
    torch.manual_seed(0)
    mapping, z, label = Mapping(6, 3, 6, 2), torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(mapping(z * 9, label), mapping(z, label), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mapping(z, label), mapping(z, label.roll(1)))
    alone = Mapping(0, 3, 6, 2)(None, label)
    torch.testing.assert_close(alone[0], alone[3])
    assert not torch.allclose(alone[0], alone[1])


def test_the_deviation_is_that_of_groups_that_lie_apart_and_fit_the_batch() -> None:
    x = random(6, 2, 3, 3)
    made = with_deviation(x, 4)  # of six rows, groups of three: 0, 2, 4 and 1, 3, 5
    assert torch.equal(made[:, :2], x)
    for row in range(6):
        group = x[row % 2 :: 2]
        expected = (group.var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(made[row, 2], expected.expand(3, 3))
    for batch, group in ((1, 4), (5, 4), (4, 1)):
        alone = with_deviation(random(batch, 1, 2, 2), group)[:, 1]
        torch.testing.assert_close(alone, torch.full_like(alone, 1e-4))


# -- styles ------------------------------------------------------------------------------------------------------------


def generator(**settings: float) -> StyleGAN2Generator:
    torch.manual_seed(0)
    return StyleGAN2Generator(32, 1, None, width=4, mapping_layers=2, **settings)  # type: ignore[arg-type]


def test_mixing_takes_a_second_latents_styles_from_some_layer_on() -> None:
    net, z = generator(style_mixing=0.5), torch.randn(2000, 32)
    styles, own = net.styles(z), net.mapping(z, None)
    assert styles.shape == (2000, 8, 32)
    same = (styles == own[:, None]).all(2)
    starts = same.sum(1)
    assert torch.equal(same, torch.arange(8) < starts[:, None])
    assert starts.min() == 1
    assert (starts < 8).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.bincount(starts[starts < 8], minlength=8)[1:].min() > 90  # each about 143 times
    assert torch.equal(generator(style_mixing=0).styles(z), own[:, None].expand(-1, 8, -1))


def test_the_mean_style_is_followed_in_training_and_truncation_goes_towards_it() -> None:
    net, z = generator(), torch.randn(6, 32)
    net.forward(z)
    torch.testing.assert_close(net.mean_style, 0.002 * net.mapping(z, None).mean(0))
    net.eval()
    net.mean_style.normal_()
    before = net.mean_style.clone()
    style = net.mapping(z, None)
    assert torch.equal(net.styles(z), style[:, None].expand(-1, 8, -1))
    net.truncation = 0.3
    torch.testing.assert_close(net.styles(z)[:, 5], net.mean_style + 0.3 * (style - net.mean_style))
    net.truncation = 0.0
    assert torch.equal(net(z)[0], net(z)[1])
    assert torch.equal(net.mean_style, before)


def test_noise_is_drawn_anew_in_training_and_the_same_in_evaluation() -> None:
    net, z = generator(style_mixing=0), torch.randn(3, 32)
    for module in net.modules():
        if hasattr(module, "strength"):
            nn.init.ones_(module.strength)
    assert not torch.allclose(net(z), net(z))
    net.eval()
    assert torch.equal(net(z), net(z))
    torch.testing.assert_close(net(z)[1:2], net(z[1:2]))
