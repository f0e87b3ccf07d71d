"""pix2pix's U-Net against the authors' count and a second computation; sizes, range, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_lab.generators.unet import UNetGenerator
from gan_lab.layers import ImageSize

Shape = tuple[int, int, int]


def build(input_shape: Shape, image_size: ImageSize, image_channels: int = 3, **options: Any) -> UNetGenerator:
    torch.manual_seed(0)
    return UNetGenerator(input_shape, image_size, image_channels, **{"width": 4, **options})


def test_it_has_as_many_parameters_as_pix2pixs_unet_256() -> None:
    """The authors' PyTorch code prints 54.414 M for 3 channels and batch norm."""
    with torch.device("meta"):
        net = build((3, 256, 256), 256, width=64, halvings=8)
    assert sum(parameter.numel() for parameter in net.parameters()) == 54_413_955


def by_hand(net: UNetGenerator, x: Tensor) -> Tensor:
    """The paper's network in training, from its weights alone: LeakyReLU in the encoder, ReLU in the decoder."""

    def weights(module: nn.Module, kind: type[nn.Module]) -> Tensor:
        (found,) = (m.get_parameter("weight") for m in module.modules() if isinstance(m, kind))
        return found

    def normalized(x: Tensor) -> Tensor:  # gains are one and biases zero at first
        return (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()

    e1, e2, e3, e4 = (weights(layer, nn.Conv2d) for layer in net.encoder)
    d1, d2, d3 = (weights(layer, nn.ConvTranspose2d) for layer in net.decoder)
    h1 = functional.conv2d(x, e1, stride=2, padding=1)
    h2 = normalized(functional.conv2d(functional.leaky_relu(h1, 0.2), e2, stride=2, padding=1))
    h3 = normalized(functional.conv2d(functional.leaky_relu(h2, 0.2), e3, stride=2, padding=1))
    h4 = functional.conv2d(functional.leaky_relu(h3, 0.2), e4, stride=2, padding=1)
    g3 = torch.cat([normalized(functional.conv_transpose2d(h4.relu(), d1, stride=2, padding=1)), h3], 1)
    g2 = torch.cat([normalized(functional.conv_transpose2d(g3.relu(), d2, stride=2, padding=1)), h2], 1)
    g1 = torch.cat([normalized(functional.conv_transpose2d(g2.relu(), d3, stride=2, padding=1)), h1], 1)
    return functional.conv_transpose2d(g1.relu(), net.last.weight, net.last.bias, stride=2, padding=1).tanh()


def test_it_computes_what_the_paper_says() -> None:
    net = build((3, 32, 32), 32, 2, halvings=4).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(net(x), by_hand(net, x))


@pytest.mark.parametrize(
    ("input_shape", "image_size", "image_channels"),
    [
        ((1, 28, 28), 28, 1),
        ((3, 32, 32), 32, 3),
        ((1, 32, 32), 32, 3),
        ((4, 32, 48), (32, 48), 4),
        ((3, 16, 16), 32, 3),
        ((4, 8, 16), (32, 64), 3),
        ((3, 5, 7), (5, 7), 3),
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
    output.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (9, 31), (40, 33)])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_trained_network_takes_any_size(size: tuple[int, int], factor: int) -> None:
    net = build((3, 32 // factor, 32 // factor), 32, residual=True).eval()
    assert net(torch.randn(1, 3, *size)).shape == (1, 3, factor * size[0], factor * size[1])


def test_other_sizes_are_mirrored_at_the_bottom_and_right_and_cut_again() -> None:
    net = build((1, 32, 32), 32, 1, halvings=3).eval()
    x = torch.randn(2, 1, 21, 30)
    rows = [*range(21), 19, 18, 17]
    columns = [*range(30), 28, 27]
    torch.testing.assert_close(net(x), net(x[:, :, rows][..., columns])[:, :, :21, :30])
    x = torch.randn(2, 1, 3, 8)  # five rows are missing, and only two can be mirrored
    torch.testing.assert_close(net(x), net(x[:, :, [0, 1, 2, 2, 2, 2, 2, 2]])[:, :, :3])


@pytest.mark.parametrize(
    ("image_size", "halvings"), [(4, 1), (7, 1), (16, 2), (28, 2), (32, 3), ((32, 256), 3), (256, 6), (4096, 8)]
)
def test_by_default_the_shorter_side_is_halved_to_four_pixels_at_most_eight_times(
    image_size: ImageSize, halvings: int
) -> None:
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    with torch.device("meta"):
        assert len(build((3, height, width), image_size, width=1).encoder) == halvings


@pytest.mark.parametrize("normalization", ["batch", "instance", "layer", "none"])
def test_every_normalization_leaves_something_of_an_innermost_map_of_one_pixel(normalization: str) -> None:
    net = build((3, 32, 32), 32, halvings=5, normalization=normalization)
    seen: list[Tensor] = []
    net.encoder[-1].register_forward_hook(lambda module, given, made: seen.append(made))
    x = torch.randn(1, 3, 32, 32)  # a batch of one, in training
    net(x)
    net(-x)
    assert seen[0].shape[2:] == (1, 1)
    assert not torch.allclose(seen[0], seen[1])
    assert seen[0].abs().max() > 0


def test_outputs_lie_in_the_range_of_pictures() -> None:
    net = build((3, 16, 16), 32, initialization="default")
    assert net(1000 * torch.randn(2, 3, 16, 16)).abs().max() <= 1


def test_with_residual_an_untrained_network_returns_the_picture_but_not_the_mask() -> None:
    net = build((4, 32, 32), 32, 3, residual=True, initialization="default")
    source = torch.rand(2, 4, 32, 32) * 2 - 1
    torch.testing.assert_close(net(source), source[:, :3], atol=0.05, rtol=0)
    grey = torch.rand(2, 1, 32, 32)
    coloured = build((1, 32, 32), 32, 3, residual=True)(grey)
    torch.testing.assert_close(coloured, grey.expand(-1, 3, -1, -1), atol=0.05, rtol=0)


def test_dropout_is_in_the_three_innermost_layers_of_the_decoder_in_training_only() -> None:
    net = build((3, 64, 64), 64, halvings=6, dropout=0.5)
    dropped = [any(isinstance(module, nn.Dropout) for module in layer.children()) for layer in net.decoder]
    assert dropped == [True] * 3 + [False] * 2
    x = torch.randn(2, 3, 64, 64)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert not any(isinstance(module, nn.Dropout) for module in build((3, 64, 64), 64).modules())


@pytest.mark.parametrize(
    ("input_shape", "image_size", "options", "message"),
    [
        ((3, 16, 16), 40, {}, "choose 32 x 32 or 48 x 48 px"),
        ((3, 16, 16), (32, 16), {}, "choose 32 x 32 or 48 x 48 px"),
        ((3, 32, 32), 16, {}, "choose 32 x 32 or 64 x 64 px"),
        ((3, 32, 64), (32, 64), {"halvings": 6}, "at most 5 times; lower generator.halvings, or give at least 64 px"),
        ((2, 32, 32), 32, {"residual": True}, "2 channels cannot be added to 3; choose generator.residual=false"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(
    input_shape: Shape, image_size: ImageSize, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        build(input_shape, image_size, **options)
    assert "\n" not in str(error.value)
