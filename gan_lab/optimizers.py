"""Optimizers: registered functions of the parameters. One registration is enough for all players."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.registry import Rate, Share, Weight, optimizers

FUSED = ("cpu", "cuda", "mps")  # devices on which one kernel updates all parameters


def _fused(parameters: Sequence[nn.Parameter]) -> bool | None:
    return True if parameters and parameters[0].device.type in FUSED else None


class Adam(torch.optim.Adam):
    """torch's own fused Adam, but with its lists of tensors kept between steps, and all counts of steps in one tensor.

    For tiny networks, building these lists and counting is half of the cost. State and results are the same. In the
    first step, with a missing gradient or parameters of several kinds, torch's own `step` runs.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        groups = self._groups() if closure is None and self.defaults["fused"] else None
        if groups is None:
            return super().step(closure)
        found_inf = getattr(self, "found_inf", None)
        for group, gradients, (first, second, steps, counts) in groups:
            update = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
            beta1, beta2 = group["betas"]
            counts += 1
            update(
                group["params"], gradients, first, second, [], steps,
                lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"],
                amsgrad=False, maximize=False, found_inf=found_inf,
            )  # fmt: skip
            if found_inf is not None:
                counts -= found_inf
        return None

    def _groups(self) -> list[Any] | None:
        groups = []
        for i, group in enumerate(self.param_groups):
            gradients = [parameter.grad for parameter in group["params"]]
            if any(gradient is None for gradient in gradients):
                return None
            if i == len(self._moments):
                states = [self.state[parameter] for parameter in group["params"]]
                kinds = {(parameter.device, parameter.dtype) for parameter in group["params"]}
                if not all(states) or len(kinds) != 1:
                    return None
                self._moments.append(_collected(states))
            groups.append((group, gradients, self._moments[i]))
        return groups

    @functools.cached_property
    def _moments(self) -> list[tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]]:
        """Both moments and the steps of each group's parameters, collected only once."""
        return []

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self._moments.clear()


def _collected(states: Sequence[dict[str, Tensor]]) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
    """Parameters' first and second moments, their steps, and the one tensor whose elements these steps become."""
    counts = torch.stack([state["step"] for state in states])
    for state, count in zip(states, counts.unbind(), strict=True):
        state["step"] = count
    first, second, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
    return first, second, steps, counts


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
