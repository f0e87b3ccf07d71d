"""Losses against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from gan_lab import registry
from gan_lab.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein

registry.load()
LOSSES = registry.losses.classes
SHAPES = [(7,), (7, 1, 4, 4)]


def logits(*shape: int) -> SimpleNamespace:
    random = torch.Generator().manual_seed(3)
    return SimpleNamespace(
        real_logits=3 * torch.randn(*shape, generator=random, dtype=torch.float64),
        fake_logits=3 * torch.randn(*shape, generator=random, dtype=torch.float64),
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_both_are_binary_cross_entropy_with_logits(shape: tuple[int, ...]) -> None:
    forward = logits(*shape)
    ones, zeros = torch.ones(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)

    def entropy(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(values, labels, reduction="none")

    discriminator = entropy(forward.real_logits, ones) + entropy(forward.fake_logits, zeros)
    for loss in (Minimax(), NonSaturating()):
        torch.testing.assert_close(loss.discriminator(forward), discriminator)
    torch.testing.assert_close(NonSaturating().generator(forward), entropy(forward.fake_logits, ones))
    torch.testing.assert_close(Minimax().generator(forward), -entropy(forward.fake_logits, zeros))


def test_at_logit_zero_the_values_are_those_of_the_paper() -> None:
    """Goodfellow et al. 2014, theorem 1: at the equilibrium D = 1/2 and the value of the game is -log 4."""
    forward = SimpleNamespace(real_logits=torch.zeros(1), fake_logits=torch.zeros(1))
    log4 = torch.tensor([4.0]).log()
    torch.testing.assert_close(Minimax().discriminator(forward), log4)
    torch.testing.assert_close(Minimax().generator(forward), -log4 / 2)
    torch.testing.assert_close(NonSaturating().generator(forward), log4 / 2)


def test_minimax_saturates_where_d_is_sure_and_non_saturating_does_not() -> None:
    slopes = {}
    for loss in (Minimax(), NonSaturating()):
        fake = torch.tensor([-8.0], requires_grad=True)
        loss.generator(SimpleNamespace(fake_logits=fake)).backward()
        slopes[type(loss)] = fake.grad.item()
    sigmoid = torch.sigmoid(torch.tensor(-8.0)).item()
    assert slopes[Minimax] == pytest.approx(-sigmoid, rel=1e-4)
    assert slopes[NonSaturating] == pytest.approx(sigmoid - 1, rel=1e-4)


# Each half as its paper writes it, in numpy, of real logits r and fake logits f.
Half = Callable[[np.ndarray, np.ndarray], np.ndarray]
WRITTEN: list[tuple[Any, Half, Half]] = [
    (LeastSquares(), lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2, lambda r, f: 0.5 * (f - 1) ** 2),
    (
        LeastSquares(fake_target=-1, real_target=1, generator_target=0),  # where it is Pearson's chi-squared divergence
        lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * (f + 1) ** 2,
        lambda r, f: 0.5 * f**2,
    ),
    (Hinge(), lambda r, f: -np.minimum(0, r - 1) - np.minimum(0, -f - 1), lambda r, f: -f),
    (Wasserstein(), lambda r, f: -(r - f), lambda r, f: -f),
    (
        Relativistic(),
        lambda r, f: -np.log(1 / (1 + np.exp(-(r - f)))),
        lambda r, f: -np.log(1 / (1 + np.exp(-(f - r)))),
    ),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("loss", "discriminator", "generator"), WRITTEN, ids=lambda x: type(x).__name__)
def test_losses_are_what_their_papers_write(loss: Any, discriminator: Half, generator: Half, shape: Any) -> None:
    forward = logits(*shape)
    r, f = forward.real_logits.numpy(), forward.fake_logits.numpy()
    np.testing.assert_allclose(loss.discriminator(forward).numpy(), discriminator(r, f), rtol=1e-10)
    np.testing.assert_allclose(loss.generator(forward).numpy(), generator(r, f), rtol=1e-10)


def test_r3gans_loss_of_three_pairs_by_hand() -> None:
    """softplus(D(G(z)) - D(x)) for D and softplus(D(x) - D(G(z))) for G, of differences 2, -1 and 0."""
    forward = SimpleNamespace(real_logits=torch.tensor([2.0, 0.0, -1.0]), fake_logits=torch.tensor([0.0, 1.0, -1.0]))
    discriminator, generator = Relativistic().discriminator(forward), Relativistic().generator(forward)
    torch.testing.assert_close(discriminator, torch.tensor([0.126928, 1.313262, 0.693147]))
    torch.testing.assert_close(generator, torch.tensor([2.126928, 0.313262, 0.693147]))


def test_hinge_learns_nothing_beyond_its_margin_and_relativistic_only_differences() -> None:
    real, fake = torch.tensor([1.5, 0.5], requires_grad=True), torch.tensor([-1.5, -0.5], requires_grad=True)
    Hinge().discriminator(SimpleNamespace(real_logits=real, fake_logits=fake)).sum().backward()
    assert (real.grad.tolist(), fake.grad.tolist()) == ([0, -1], [0, 1])
    forward = logits(9)
    moved = SimpleNamespace(real_logits=forward.real_logits + 5, fake_logits=forward.fake_logits + 5)
    for half in (Relativistic().discriminator, Relativistic().generator, Wasserstein().discriminator):
        torch.testing.assert_close(half(moved), half(forward))


def test_least_squares_refuses_targets_that_do_not_tell_real_from_fake() -> None:
    for a, b in ((1.0, 0.0), (1.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(ValueError, match=f"real_target={b} must be larger than loss.fake_target={a}"):
            LeastSquares(fake_target=a, real_target=b)


# -- whatever is registered --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_the_boundary_is_where_d_treats_real_and_fake_alike(name: str) -> None:
    """Exchanging a real logit t above the boundary for a fake one t below it changes nothing for D."""
    for loss in (LOSSES[name](), *([LeastSquares(fake_target=-1, real_target=2)] if name == "least_squares" else [])):
        if loss.boundary is None:
            assert name in ("wasserstein", "relativistic")
            continue
        t = torch.linspace(-4, 4, 33)
        middle = torch.full_like(t, loss.boundary)
        real_alone = loss.discriminator(SimpleNamespace(real_logits=middle + t, fake_logits=middle))
        fake_alone = loss.discriminator(SimpleNamespace(real_logits=middle, fake_logits=middle - t))
        torch.testing.assert_close(real_alone, fake_alone)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_loss_is_elementwise_and_pulls_in_the_right_direction(name: str, shape: tuple[int, ...]) -> None:
    """At equal logits in the middle, D wants real ones larger and fake ones smaller, and G fake ones larger."""
    loss = LOSSES[name]()
    middle = torch.full(shape, loss.boundary or 0.0)
    real, fake = middle.clone().requires_grad_(), middle.clone().requires_grad_()
    value = loss.discriminator(SimpleNamespace(real_logits=real, fake_logits=fake))
    assert value.shape == shape
    value.sum().backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    real.grad = fake.grad = None
    value = loss.generator(SimpleNamespace(real_logits=real, fake_logits=fake))
    assert value.shape == shape
    value.sum().backward()
    assert (fake.grad < 0).all()
    whole, part = logits(*shape), logits(*shape)
    part.real_logits, part.fake_logits = whole.real_logits[2:3], whole.fake_logits[2:3]
    for half in (loss.discriminator, loss.generator):
        assert torch.equal(half(whole)[2:3], half(part)), "a row's value depends on other rows"


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_logits_stay_finite(name: str, value: float) -> None:
    loss, near, far = LOSSES[name](), torch.tensor([value]), torch.tensor([-value])
    for real, fake in ((near, near), (near, far), (far, near)):
        forward = SimpleNamespace(real_logits=real, fake_logits=fake)
        assert loss.discriminator(forward).isfinite().all()
        assert loss.generator(forward).isfinite().all()
