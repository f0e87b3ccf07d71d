"""Losses against closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from gan_lab.losses import Minimax, NonSaturating


def logits(*shape: int) -> SimpleNamespace:
    random = torch.Generator().manual_seed(3)
    return SimpleNamespace(
        real_logits=3 * torch.randn(*shape, generator=random, dtype=torch.float64),
        fake_logits=3 * torch.randn(*shape, generator=random, dtype=torch.float64),
    )


@pytest.mark.parametrize("shape", [(7,), (7, 1, 4, 4)])
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


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_logits_stay_finite(value: float) -> None:
    forward = SimpleNamespace(real_logits=torch.tensor([value]), fake_logits=torch.tensor([value]))
    for loss in (Minimax(), NonSaturating()):
        assert loss.discriminator(forward).isfinite().all()
        assert loss.generator(forward).isfinite().all()
