"""R1 against a quadratic that can be differentiated by hand; augmentation against its definition."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gan_lab.augment import Flip, Identity
from gan_lab.regularizers import R1
from tests.core.toys import Pass, make_game


def quadratic(map_size: int | None = None) -> tuple[SimpleNamespace, Tensor, Tensor]:
    """D(x) = x^T A x / 2 with symmetric A, so its gradient is A x."""
    random = torch.Generator().manual_seed(0)
    a = torch.randn(5, 5, generator=random, dtype=torch.float64)
    a = ((a + a.T) / 2).requires_grad_()
    x = torch.randn(9, 5, generator=random, dtype=torch.float64, requires_grad=True)
    logits = (x @ a * x).sum(1) / 2
    if map_size:
        logits = logits[:, None].expand(-1, map_size)
    return SimpleNamespace(real=x, real_logits=logits), a, x


@pytest.mark.parametrize("map_size", [None, 6])
def test_r1_of_a_quadratic(map_size: int | None) -> None:
    forward, a, x = quadratic(map_size)
    term = R1(gamma=0.8)
    value = term(forward)
    torch.testing.assert_close(value, (x @ a).square().sum(1))
    assert term.weight == 0.4
    (term.weight * value.mean()).backward()
    # R1 is differentiated twice, and this checks its graph: the gradient is S x with S = (A + A^T) / 2, so
    # d/dA of gamma/2 mean |S x|^2 is the symmetric part of gamma mean (S x) x^T.
    outer = 0.8 * (x @ a).T @ x / 9
    torch.testing.assert_close(a.grad, ((outer + outer.T) / 2).detach())


def test_lazy_r1_has_the_strength_of_eager_r1_on_average() -> None:
    term = R1(gamma=2.0, every=4)
    assert (term.weight, term.every, term.player, term.probes) == (1.0, 4, "discriminator", {"real"})


def test_flip_mirrors_half_of_real_and_fake_independently_and_passes_gradients() -> None:
    game = make_game(batch_size=4000)
    forward = Pass(game, game.phases[0], 0, slice(0, 4000))
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
