"""Attacks by a classifier's gradient, and random noise: what a trained attack is compared with at equal epsilon.

Pictures x are [B, C, H, W] in [-1, 1]; `bound` is the largest change of a value, twice epsilon, because epsilon is of
pixels in [0, 1]. `goal` [B] are classes to be taken for, None where any wrong class will do.
"""

from __future__ import annotations

from torch import Tensor, enable_grad, nn
from torch.autograd import grad
from torch.nn.functional import cross_entropy


def within(changed: Tensor, x: Tensor, bound: float) -> Tensor:
    """`changed`, moved to the nearest picture that differs from x by at most `bound` in any value."""
    return changed.clamp(x - bound, x + bound).clamp(-1, 1)


def noise(x: Tensor, bound: float, uniform: Tensor) -> Tensor:
    """Each value up or down by the whole bound, by the sign of uniform numbers in [0, 1) of x's shape."""
    return within(x + bound * (2 * uniform - 1).sign(), x, bound)


def ascent(classifier: nn.Module, x: Tensor, label: Tensor, goal: Tensor | None) -> Tensor:
    """The sign of the gradient by x that raises the loss of the label, or lowers that of the goal."""
    with enable_grad():
        x = x.detach().requires_grad_()
        aim = label if goal is None else goal
        (gradient,) = grad(cross_entropy(classifier(x), aim, reduction="sum"), x)
    return gradient.sign() if goal is None else -gradient.sign()


def fgsm(classifier: nn.Module, x: Tensor, label: Tensor, bound: float, goal: Tensor | None = None) -> Tensor:
    """The fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572, section 4)."""
    return within(x + bound * ascent(classifier, x, label, goal), x, bound)


def pgd(
    classifier: nn.Module,
    x: Tensor,
    label: Tensor,
    bound: float,
    uniform: Tensor,
    steps: int,
    goal: Tensor | None = None,
) -> Tensor:
    """Projected gradient ascent from a random start (Madry et al. 2018, arXiv 1706.06083, section 2.1).

    Steps of 2.5 bound / steps, so that it can reach the border from any start (appendix B). `uniform` are numbers in
    [0, 1) of x's shape.
    """
    changed = within(x + bound * (2 * uniform - 1), x, bound)
    for _ in range(steps):
        changed = within(changed + 2.5 * bound / steps * ascent(classifier, changed, label, goal), x, bound)
    return changed
