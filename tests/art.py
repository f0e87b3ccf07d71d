"""Attacks of the Adversarial Robustness Toolbox (Nicolae et al. 2018, arXiv 1807.01069), as an oracle for our own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Art:
    """Attacks on a classifier of pictures [B, C, H, W] in [-1, 1], by at most `bound` in any value."""

    def __init__(self, classifier: nn.Module, x: Tensor, num_classes: int, bound: float) -> None:
        from art.estimators.classification import PyTorchClassifier

        self.bound = bound
        self.classifier: Any = PyTorchClassifier(
            classifier, nn.CrossEntropyLoss(), tuple(x.shape[1:]), num_classes, clip_values=(-1, 1), device_type="cpu"
        )

    def fgsm(self, x: Tensor, label: Tensor, targeted: bool = False) -> Tensor:
        from art.attacks.evasion import FastGradientMethod

        return self._made(FastGradientMethod(self.classifier, eps=self.bound, targeted=targeted), x, label)

    def pgd(self, x: Tensor, label: Tensor, steps: int, starts: int = 0, targeted: bool = False) -> Tensor:
        """Without random starts, from the pictures themselves."""
        from art.attacks.evasion import ProjectedGradientDescent

        attack = ProjectedGradientDescent(
            self.classifier, eps=self.bound, eps_step=2.5 * self.bound / steps, max_iter=steps, num_random_init=starts,
            targeted=targeted, batch_size=len(x), verbose=False,
        )  # fmt: skip
        return self._made(attack, x, label)

    def auto(self, x: Tensor, label: Tensor) -> Tensor:
        from art.attacks.evasion import AutoAttack

        return self._made(AutoAttack(self.classifier, eps=self.bound, eps_step=0.1 * self.bound), x, label)

    def _made(self, attack: Any, x: Tensor, label: Tensor) -> Tensor:
        with torch.enable_grad():
            return torch.from_numpy(attack.generate(x.numpy(), label.numpy()))
