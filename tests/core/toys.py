"""Toy parts that use every contract of core/: two-dimensional data, networks of a few weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.core.hooks import EMA
from gan_lab.core.loop import Game
from gan_lab.core.types import AdversarialTerm, DiscriminatorOutput, Phase, per_sample
from gan_lab.datasets.store import Store


class Pass(ForwardPass):
    """real, fake and D's output on both, with every probe that a term could want."""

    shared = ("z",)

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.data("sample"))

    @cached_property
    def fake(self) -> Tensor:
        made = self.keep("fake", "generator", lambda: self.net("generator")(self.draw("z", 3)))
        return self.probe("fake", made)

    def judge(self, x: Tensor) -> DiscriminatorOutput:
        output = self.net("discriminator")(x)
        return output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(output)

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        return self.judge(self.real)

    @cached_property
    def fake_output(self) -> DiscriminatorOutput:
        return self.judge(self.fake)

    @property
    def real_logits(self) -> Tensor:
        return self.real_output.logits

    @property
    def fake_logits(self) -> Tensor:
        return self.fake_output.logits


class NonSaturating:
    def discriminator(self, forward: Any) -> Tensor:
        return softplus(-forward.real_logits) + softplus(forward.fake_logits)

    def generator(self, forward: Any) -> Tensor:
        return softplus(-forward.fake_logits)


LOSS = NonSaturating()


class FunctionTerm:
    """A term from a function of the pass."""

    def __init__(
        self, function: Callable[[Any], Tensor], weight: float = 1.0, probes: Sequence[str] = (), **more: Any
    ) -> None:
        self.function, self.weight, self.probes = function, weight, frozenset(probes)
        self.__dict__.update(more)

    def __call__(self, forward: Any) -> Tensor:
        return self.function(forward)


def input_gradient(forward: Any) -> Tensor:
    """|dD/dx|^2 at real samples, [B]."""
    (gradient,) = torch.autograd.grad(per_sample(forward.real_logits).sum(), forward.real, create_graph=True)
    return gradient.square().sum(1)


class Flat(nn.Module):
    """Drops the last dimension of one logit."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).squeeze(1)


def networks(norm: bool = False, dropout: float = 0.0, seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(8)] if norm else []
    return nn.ModuleDict(
        {
            "generator": nn.Sequential(nn.Linear(3, 8), *middle, nn.Tanh(), nn.Linear(8, 2)),
            "discriminator": Flat(nn.Sequential(nn.Linear(2, 8), nn.Dropout(dropout), nn.Tanh(), nn.Linear(8, 1))),
        }
    )


class ToyTask:
    def __init__(
        self,
        nets: nn.ModuleDict | None = None,
        players: Mapping[str, Sequence[str]] | None = None,
        forward_pass: type[ForwardPass] = Pass,
        **parts: Any,
    ) -> None:
        self.nets = nets if nets is not None else networks()
        self.players = players or {"generator": ["generator"], "discriminator": ["discriminator"]}
        self.forward_pass = forward_pass
        self.__dict__.update(parts)

    def phases(self, loss: Any, regularizers: Mapping[str, Any]) -> list[Phase]:
        return two_phases()

    def sample(self, nets: nn.ModuleDict, num: int, seed: int) -> Tensor:
        return nets["generator"](torch.randn(num, 3, generator=torch.Generator().manual_seed(seed)))


def two_phases(**discriminator: Any) -> list[Phase]:
    terms = {"adversarial": AdversarialTerm(LOSS.discriminator), **discriminator.pop("terms", {})}
    return [
        Phase("discriminator", "discriminator", terms, **discriminator),
        Phase("generator", "generator", {"adversarial": AdversarialTerm(LOSS.generator)}),
    ]


def points(n: int = 40, dtype: torch.dtype = torch.float32) -> Store:
    return Store({"sample": torch.randn(n, 2, generator=torch.Generator().manual_seed(5), dtype=dtype)})


def make_game(
    task: ToyTask | None = None,
    phases: Sequence[Phase] | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = lambda p: torch.optim.Adam(p, 1e-2, (0.5, 0.9), fused=True),
    ema: float = 0.0,
    data: Store | None = None,
    **options: Any,
) -> Game:
    task = task or ToyTask()
    optimizers = {
        player: optimizer([p for name in names for p in task.nets[name].parameters()])
        for player, names in task.players.items()
    }
    hooks = [*options.pop("hooks", ()), *([EMA(task.nets, ema)] if ema else [])]
    options.setdefault("batch_size", 8)
    return Game(task, phases or two_phases(), optimizers, points() if data is None else data, hooks=hooks, **options)


def flat(state: Any) -> list[Any]:
    """All leaves of a nested state, in order, tensors as they are."""
    if isinstance(state, Mapping):
        return [leaf for name in state for leaf in (name, *flat(state[name]))]
    if isinstance(state, (list, tuple)):
        return [leaf for value in state for leaf in flat(value)]
    return [state]


def equal(a: Any, b: Any) -> bool:
    """Whether two states are the same, bit for bit."""
    left, right = flat(a), flat(b)
    return len(left) == len(right) and all(
        torch.equal(x, y) if isinstance(x, Tensor) and isinstance(y, Tensor) else x == y
        for x, y in zip(left, right, strict=True)
    )
