"""SRResNet against a published count and bicubic interpolation; sizes, what is refused, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from gan_lab.generators.srresnet import Block, SRResNetGenerator
from gan_lab.layers import ImageSize

Shape = tuple[int, int, int]


def build(input_shape: Shape, image_size: ImageSize, image_channels: int = 3, **options: Any) -> SRResNetGenerator:
    torch.manual_seed(0)
    return SRResNetGenerator(input_shape, image_size, image_channels, **{"width": 4, "blocks": 1, **options})


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_it_has_as_many_parameters_as_public_implementations() -> None:
    """1,549,462 at 4 times, 3 channels: what reproductions print that give every PReLU one slope.

    The authors published no code; reviews of the field say 1.5 M.
    """
    with torch.device("meta"):
        four = build((3, 24, 24), 96, width=64, blocks=16)
        two = build((3, 48, 48), 96, width=64, blocks=16)
    assert count(four) == 1_549_462
    assert count(four) - count(two) == (9 * 64 + 1) * 256 + 1  # a convolution to four times the channels, and a slope


def test_a_block_adds_what_it_computes_to_what_it_is_given() -> None:
    """The paper's block, with no ReLU after the sum: two normalized convolutions and a PReLU of slope 0.25 at first."""
    torch.manual_seed(0)
    block, x = Block(3, "batch"), torch.randn(2, 3, 5, 6)
    first, second = (module for module in block.modules() if isinstance(module, nn.Conv2d))

    def normalized(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()

    h = normalized(first(x))
    expected = x + normalized(second(torch.where(h > 0, h, 0.25 * h)))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    ("input_shape", "image_size", "image_channels"),
    [
        ((1, 28, 28), 28, 1),
        ((4, 32, 32), 32, 3),
        ((1, 16, 16), 32, 3),
        ((3, 16, 16), 32, 3),
        ((4, 8, 12), (32, 48), 4),
        ((3, 4, 6), (32, 48), 3),
    ],
)
@pytest.mark.parametrize("residual", [False, True])
def test_the_output_has_the_targets_shape_and_every_weight_learns(
    input_shape: Shape, image_size: ImageSize, image_channels: int, residual: bool
) -> None:
    net = build(input_shape, image_size, image_channels, residual=residual)
    output = net(torch.randn(2, *input_shape))
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    assert output.shape == (2, image_channels, height, width)
    output.pow(3).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 31)])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("normalization", ["batch", "layer", "none"])
def test_a_trained_network_takes_any_size(size: tuple[int, int], factor: int, normalization: str) -> None:
    net = build((3, 32 // factor, 32 // factor), 32, normalization=normalization).eval()
    assert net(torch.randn(1, 3, *size)).shape == (1, 3, factor * size[0], factor * size[1])


@pytest.mark.parametrize("normalization", ["batch", "none"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_an_untrained_network_is_nearly_bicubic(factor: int, normalization: str) -> None:
    net = build((4, 16, 24), (16 * factor, 24 * factor), width=32, blocks=2, normalization=normalization)
    source = torch.rand(2, 4, 16, 24) * 2 - 1  # the fourth channel is no part of the picture
    expected = interpolate(source[:, :3], scale_factor=factor, mode="bicubic")
    assert (net(source) - expected).square().mean().sqrt() < 0.01  # 46 dB
    assert not torch.equal(net(source), expected)


def test_the_added_picture_is_interpolated_with_the_cubic_of_keys() -> None:
    """Keys 1981, equation 15, a = -0.75: a bright pixel becomes the kernel at the distances of the target's pixels."""
    net = build((1, 9, 9), 18, 1)
    for parameter in net.last.parameters():
        nn.init.zeros_(parameter)
    a, distance = -0.75, torch.tensor([0.25, 0.75, 1.25, 1.75])
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    half = torch.where(distance < 1, near, far)
    kernel = torch.cat([half.flip(0), half])
    expected = torch.zeros(18, 18)
    expected[5:13, 5:13] = kernel[:, None] * kernel  # the fifth pixel covers 8 and 9
    pixel = torch.zeros(1, 1, 9, 9)
    pixel[0, 0, 4, 4] = 1
    torch.testing.assert_close(net(pixel)[0, 0], expected)


def test_it_learns_details_that_bicubic_interpolation_does_not_see() -> None:
    torch.manual_seed(0)
    target = torch.rand(8, 1, 4, 4).round().mul(2).sub(1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    source = interpolate(target, scale_factor=0.5, mode="bicubic", antialias=True)
    net = build((1, 8, 8), 16, 1, width=8)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for _ in range(60):
        loss = (net(source) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    bicubic = (interpolate(source, scale_factor=2, mode="bicubic") - target).square().mean().item()
    assert losses[0] == pytest.approx(bicubic, rel=0.1)
    assert losses[-1] < bicubic / 2


@pytest.mark.parametrize(
    ("input_shape", "image_size", "message"),
    [
        ((3, 16, 16), 48, "to 16 x 16, 32 x 32, 64 x 64, 128 x 128 px, not 3 times"),
        ((3, 16, 16), 40, "choose 32 x 32 or 48 x 48 px"),
        ((3, 16, 24), (32, 32), "choose 32 x 48 or 48 x 72 px"),
        ((2, 16, 16), 32, "2 channels cannot be added to 3; choose generator.residual=false"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(input_shape: Shape, image_size: ImageSize, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build(input_shape, image_size)
    assert "\n" not in str(error.value)
