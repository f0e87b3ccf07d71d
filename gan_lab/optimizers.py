"""Optimizers: registered functions of the parameters. One registration is enough for all players."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam as update

from gan_lab.registry import Rate, Share, Weight, optimizers

FUSED = ("cpu", "cuda", "mps")  # devices on which one kernel updates all parameters


def _fused(parameters: Sequence[nn.Parameter]) -> bool | None:
    return True if parameters and parameters[0].device.type in FUSED else None


class Adam(torch.optim.Adam):
    """torch's own fused Adam, but with its lists of tensors kept between steps.

    For tiny networks, building these lists is a third of the cost. State and results are the same. In the first step,
    or with a missing gradient, torch's own `step` runs.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        groups = self._groups() if closure is None and self.defaults["fused"] else None
        if groups is None:
            return super().step(closure)
        for group, parameters, gradients, (first, second, steps) in groups:
            update(
                parameters, gradients, first, second, [], steps, fused=True,
                found_inf=getattr(self, "found_inf", None), amsgrad=False,
                beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"], eps=group["eps"],
                weight_decay=group["weight_decay"], maximize=False,
                decoupled_weight_decay=group["decoupled_weight_decay"],
            )  # fmt: skip
        return None

    def _groups(self) -> list[Any] | None:
        groups = []
        for i, group in enumerate(self.param_groups):
            parameters = group["params"]
            gradients = [parameter.grad for parameter in parameters]
            if any(gradient is None for gradient in gradients):
                return None
            if i == len(self._moments):
                states = [self.state[parameter] for parameter in parameters]
                if not all(states):
                    return None
                names = ("exp_avg", "exp_avg_sq", "step")
                self._moments.append(tuple([state[name] for state in states] for name in names))
            groups.append((group, parameters, gradients, self._moments[i]))
        return groups

    @functools.cached_property
    def _moments(self) -> list[tuple[list[Tensor], ...]]:
        """Both moments and the steps of each group's parameters, collected only once."""
        return []

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self._moments.clear()


@optimizers.register("adam")
def adam(
    parameters: Sequence[nn.Parameter],
    *,
    learning_rate: Rate = 2e-4,
    beta1: Share = 0.5,
    beta2: Share = 0.999,
    epsilon: Rate = 1e-8,
    weight_decay: Weight = 0.0,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1), by default with DCGAN's rates (arXiv 1511.06434)."""
    return Adam(parameters, learning_rate, (beta1, beta2), epsilon, weight_decay, fused=_fused(parameters))


@optimizers.register("adamw")
def adamw(
    parameters: Sequence[nn.Parameter],
    *,
    learning_rate: Rate = 2e-4,
    beta1: Share = 0.5,
    beta2: Share = 0.999,
    epsilon: Rate = 1e-8,
    weight_decay: Weight = 1e-2,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2)."""
    return Adam(
        parameters, learning_rate, (beta1, beta2), epsilon, weight_decay, fused=_fused(parameters),
        decoupled_weight_decay=True,
    )  # fmt: skip


@optimizers.register("rmsprop")
def rmsprop(
    parameters: Sequence[nn.Parameter],
    *,
    learning_rate: Rate = 5e-5,
    decay: Share = 0.99,
    epsilon: Rate = 1e-8,
    momentum: Share = 0.0,
    weight_decay: Weight = 0.0,
) -> torch.optim.Optimizer:
    """RMSprop (Tieleman and Hinton 2012, lecture 6e), by default with the WGAN's rate (arXiv 1701.07875, section 4)."""
    return torch.optim.RMSprop(parameters, learning_rate, decay, epsilon, weight_decay, momentum)


@optimizers.register("sgd")
def sgd(
    parameters: Sequence[nn.Parameter],
    *,
    learning_rate: Rate = 1e-2,
    momentum: Share = 0.0,
    nesterov: bool = False,
    weight_decay: Weight = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with optional momentum (Sutskever et al. 2013)."""
    if nesterov and not momentum:
        raise ValueError("optimizer sgd: nesterov=true needs a momentum above 0")
    return torch.optim.SGD(
        parameters, learning_rate, momentum, weight_decay=weight_decay, nesterov=nesterov, fused=_fused(parameters)
    )
