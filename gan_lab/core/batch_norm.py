"""Batch normalization over the rows of all ranks.

torch's SyncBatchNorm takes CUDA tensors only, and cannot be differentiated twice, as gradient penalties need.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_lab.core.hooks import Hook
from gan_lab.core.loop import Game
from gan_lab.core.runtime import has_batch_statistics, mean_over_ranks


class _Mean(torch.autograd.Function):
    """The mean of a tensor over ranks. Its gradient is the same mean of the ranks' gradients, at any order."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return mean_over_ranks(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Mean.apply(gradient.contiguous())


class SynchronizedBatchNorm(_BatchNorm):
    """`nn.BatchNorm1d`, `2d` or `3d` whose statistics are those of all ranks' rows (Ioffe and Szegedy, 1502.03167).

    All ranks have the same number of rows. Layers in eval mode, and those inside `inference`, exchange nothing.
    """

    exchanges = True

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and self.track_running_stats and self.exchanges):
            return super().forward(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        dimensions = [0, *range(2, x.dim())]
        variance, mean = torch.var_mean(x, dimensions, correction=0)
        # In double precision, or a large mean would leave nothing of the variance.
        square, mean = _Mean.apply(torch.stack([variance + mean.double().square(), mean.double()]))
        variance = (square - mean.square()).clamp(min=0).to(x.dtype)
        mean = mean.to(x.dtype)
        self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1])
        shape = [1, -1, *[1] * (x.dim() - 2)]
        scale = (variance + self.eps).rsqrt()
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        normalized: Tensor = x * scale.view(shape) + shift.view(shape)
        return normalized.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        count *= torch.distributed.get_world_size()
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype) * (count / max(count - 1, 1)), rate)


class AverageStatistics(Hook):
    """After every step, all ranks get the mean of the running statistics that each has of its own rows."""

    def __init__(self, nets: nn.ModuleDict) -> None:
        norms = [norm for norm in nets.modules() if isinstance(norm, _BatchNorm)]
        self.statistics = [
            tensor for norm in norms for tensor in (norm.running_mean, norm.running_var) if tensor is not None
        ]

    def after_step(self, game: Game) -> None:
        game.runtime.average(self.statistics)


def share_statistics(nets: nn.ModuleDict, policy: Literal["synchronized", "rank"]) -> list[Hook]:
    """Prepare the batch norms of networks that several ranks train, and return the hooks that this needs.

    `synchronized`: statistics of all ranks' rows, as in one process. `rank`: each rank's own, which exchange nothing in
    the forward pass; the running statistics are averaged.
    """
    if policy == "rank":
        return [AverageStatistics(nets)] if has_batch_statistics(nets) else []
    _synchronize(nets)
    return []


def _synchronize(net: nn.Module) -> None:
    """Put a `SynchronizedBatchNorm` in the place of each batch norm, with its parameters, buffers and settings."""
    for name, child in net.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            norm = SynchronizedBatchNorm(child.num_features)
            norm.__dict__.update(child.__dict__)
            setattr(net, name, norm)
        else:
            _synchronize(child)
