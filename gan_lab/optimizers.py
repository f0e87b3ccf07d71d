"""Optimizers: a registered function of the parameters. One registration serves every player."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gan_lab.registry import Rate, Share, Weight, optimizers

FUSED = ("cpu", "cuda", "mps")  # devices on which one kernel updates all parameters


def _fused(parameters: Sequence[nn.Parameter]) -> bool | None:
    return True if parameters and parameters[0].device.type in FUSED else None


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
    return torch.optim.Adam(
        parameters, learning_rate, (beta1, beta2), epsilon, weight_decay, fused=_fused(parameters)
    )  # fmt: skip


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
    return torch.optim.AdamW(parameters, learning_rate, (beta1, beta2), epsilon, weight_decay, fused=_fused(parameters))


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
    """Stochastic gradient descent, with momentum where asked for (Sutskever et al. 2013)."""
    if nesterov and not momentum:
        raise ValueError("optimizer sgd: nesterov=true needs a momentum above 0")
    return torch.optim.SGD(
        parameters, learning_rate, momentum, weight_decay=weight_decay, nesterov=nesterov, fused=_fused(parameters)
    )
