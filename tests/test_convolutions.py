"""Convolutions as matrix products: equal to torch's own layers, their gradients and second gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import conv2d, conv_transpose2d
from torch.nn.utils.parametrizations import spectral_norm

from gan_lab import winograd
from gan_lab.convolutions import Doubling, FromPixel, Halving, ToPixel

# Ours, torch's with the same arguments, and an input. Every way that ours may be computed is among them.
PAIRS = {
    "from a pixel": (lambda: FromPixel(5, 6, (2, 3)), lambda: nn.ConvTranspose2d(5, 6, (2, 3)), (3, 5, 1, 1)),
    "to a pixel": (lambda: ToPixel(5, 2, (2, 3)), lambda: nn.Conv2d(5, 2, (2, 3)), (3, 5, 2, 3)),
    "grey": (lambda: Halving(1, 6), lambda: nn.Conv2d(1, 6, 4, 2, 1), (3, 1, 6, 8)),
    "grey, odd": (lambda: Halving(1, 6), lambda: nn.Conv2d(1, 6, 4, 2, 1), (2, 1, 7, 8)),
    "colour": (lambda: Halving(3, 6), lambda: nn.Conv2d(3, 6, 4, 2, 1), (3, 3, 6, 8)),
    "heavy": (lambda: Halving(7, 9), lambda: nn.Conv2d(7, 9, 4, 2, 1), (2, 7, 4, 6)),
    "light": (lambda: Halving(2, 2), lambda: nn.Conv2d(2, 2, 4, 2, 1), (2, 2, 8, 8)),
    "heavy, doubling": (lambda: Doubling(7, 5), lambda: nn.ConvTranspose2d(7, 5, 4, 2, 1), (2, 7, 2, 3)),
    "one row": (lambda: Doubling(3, 2), lambda: nn.ConvTranspose2d(3, 2, 4, 2, 1), (2, 3, 1, 1)),
    "light, doubling": (lambda: Doubling(2, 2), lambda: nn.ConvTranspose2d(2, 2, 4, 2, 1), (4, 2, 6, 6)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_computes_what_torch_does(name: str, channels_last: bool) -> None:
    make, make_torchs, shape = PAIRS[name]
    torch.manual_seed(0)
    ours, theirs = make().double(), make_torchs().double()
    theirs.load_state_dict(ours.state_dict())  # the same names and shapes
    x = torch.randn(shape, dtype=torch.float64)
    if channels_last:
        ours, x = ours.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    for mine, wanted in zip(_derivatives(ours, x), _derivatives(theirs, x), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-12)


def test_what_is_compiled_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    test_it_computes_what_torch_does("heavy", channels_last=True)


def _derivatives(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, the gradients of its squares, and those of the squared norm of the input's gradient, as R1 has it."""
    x = x.clone().requires_grad_()
    made = layer(x)
    parameters = list(layer.parameters())
    gradients = torch.autograd.grad(made.pow(2).sum(), [x, *parameters], create_graph=True)
    return [made, *gradients, *torch.autograd.grad(gradients[0].pow(2).sum(), [x, *parameters])]


@pytest.mark.parametrize("name", PAIRS)
def test_spectral_normalization_iterates_once_a_pass(name: str) -> None:
    make, make_torchs, shape = PAIRS[name]
    torch.manual_seed(0)
    ours, theirs = make(), make_torchs()
    theirs.load_state_dict(ours.state_dict())
    for layer in (ours, theirs):
        torch.manual_seed(1)
        spectral_norm(layer)
        layer(torch.ones(shape))
    for mine, wanted in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(mine, wanted)


def test_grey_pictures_in_single_precision_are_doubled_alike() -> None:
    torch.manual_seed(0)
    ours, theirs = Doubling(4, 1, bias=False), nn.ConvTranspose2d(4, 1, 4, 2, 1, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 4, 8, 8)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [lambda: Halving(1, 4), lambda: Halving(16, 32), lambda: Doubling(32, 16)])
def test_maps_keep_their_channels_last(layer: object) -> None:
    """Or every layer behind it would have to turn them."""
    net: nn.Module = layer().to(memory_format=torch.channels_last)  # type: ignore[operator]
    x = torch.randn(2, net.in_channels, 4, 4).contiguous(memory_format=torch.channels_last)  # type: ignore[arg-type]
    assert net(x).is_contiguous(memory_format=torch.channels_last)


# -- fewer products ----------------------------------------------------------------------------------------------------


def _pictures(*shape: int) -> Tensor:
    """[B, h, w, C] as [B, C, h, w], to be differentiated."""
    return torch.randn(shape, dtype=torch.float64).permute(0, 3, 1, 2).requires_grad_()


def halved(x: Tensor, weight: Tensor) -> Tensor:
    return winograd.halved(x.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def doubled(x: Tensor, weight: Tensor) -> Tensor:
    return winograd.doubled(x.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


SMALLER = {"a tile": (1, 2, 2, 2), "a row": (2, 2, 6, 3), "some": (2, 4, 2, 3)}  # maps [B, h, w, K]


@pytest.mark.parametrize("name", SMALLER)
def test_nine_products_make_what_sixteen_do(name: str) -> None:
    """Any order of derivatives follows: each function's gradient is its adjoint, which is one of the others."""
    torch.manual_seed(0)
    batch, height, width, outside = SMALLER[name]
    x, y = _pictures(batch, 2 * height, 2 * width, 2), _pictures(batch, height, width, outside)
    weight = _pictures(outside, 4, 4, 2)
    wanted = conv2d(x, weight, stride=2, padding=1), conv_transpose2d(y, weight, stride=2, padding=1)
    for mine, expected in zip((halved(x, weight), doubled(y, weight)), wanted, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)
    for function, maps in ((halved, x), (doubled, y)):
        assert gradcheck(function, (maps, weight))
        assert gradgradcheck(function, (maps, weight))


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("kind", ["halving", "doubling"])
def test_wide_layers_take_fewer_products_and_are_no_less_exact(
    kind: str, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In single precision, beside torch's own: both are compared with double precision."""
    wide = 256 if capability == "AVX512" else 128
    monkeypatch.setattr("gan_lab.convolutions.WIDE", wide)
    products = 64 * wide * wide // 2  # 16 pictures are 64 tiles here
    monkeypatch.setattr("gan_lab.convolutions.PRODUCTS", products)
    taken: list[str] = []
    for name in ("halved", "doubled"):
        function = getattr(winograd, name)
        monkeypatch.setattr(winograd, name, lambda *given, f=function: taken.append(f.__name__) or f(*given))
    torch.manual_seed(0)
    if kind == "halving":
        layer, torchs, x = (
            Halving(wide // 2, wide),
            nn.Conv2d(wide // 2, wide, 4, 2, 1),
            torch.randn(16, wide // 2, 8, 8),
        )
    else:
        layer, torchs = Doubling(wide, wide // 2), nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1)
        x = torch.randn(16, wide, 4, 4)
    torchs.load_state_dict(layer.state_dict())
    mine, theirs = (_derivatives(one.to(memory_format=torch.channels_last), x)[:-3] for one in (layer, torchs))
    assert taken
    exact = _derivatives(torchs.double(), x.double())[:-3]
    for got, usual, wanted in zip(mine, theirs, exact, strict=True):
        error, unit = ((one - wanted).abs().max().item() for one in (got, usual))
        assert error <= max(2 * unit, 1e-6 * wanted.abs().max().item())
    taken.clear()
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)
    monkeypatch.setattr("gan_lab.convolutions.PRODUCTS", products + 1)
    layer(x)
    monkeypatch.setattr("gan_lab.convolutions.PRODUCTS", 0)
    layer(x[:15])  # 60 tiles: the weights' sums would cost more
    assert not taken
