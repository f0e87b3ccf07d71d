"""Term, Phase, Task, AdversarialLoss: the four words of this project, and what they exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    from gan_lab.core.forward_pass import ForwardPass


class Term(Protocol):
    """A summand of a player's objective: an adversarial half, R1, a cycle loss, a classifier's cross-entropy, ...

    Called with a pass, it returns [B], a map [B, ...] or a scalar; the loop averages it and multiplies it by `weight`.
    A stateful term is an `nn.Module`: its buffers move to the device and into the checkpoint.
    """

    weight: float
    probes: frozenset[str]  # tensors of the pass whose input gradients it takes, e.g. {"real"} for R1

    def __call__(self, forward: ForwardPass) -> Tensor: ...


class Regularizer(Term, Protocol):
    """A term that names its player. It may also have `after_step(forward)`, an action after that player's step."""

    player: str
    every: int  # lazy regularization: its own phase, run each `every`-th step and scaled by `every`


class AdversarialLoss(Protocol):
    """Pure maths on logits of any shape, elementwise; never a reduction."""

    def discriminator(self, forward: Any) -> Tensor: ...

    def generator(self, forward: Any) -> Tensor: ...


@dataclass(eq=False)
class AdversarialTerm:
    """One half of an adversarial loss as a term: `AdversarialTerm(loss.generator)`."""

    half: Callable[[Any], Tensor]
    weight: float = 1.0
    probes: frozenset[str] = frozenset()

    def __call__(self, forward: ForwardPass) -> Tensor:
        return self.half(forward)


@dataclass(frozen=True)
class Phase:
    """One move of the game (StyleGAN's word): a player takes one optimizer step on the weighted sum of its terms.

    Raises ValueError for intervals below one and for stages that end before they start.
    """

    name: str  # keys its randomness and its metrics
    player: str  # whose parameters move: "discriminator", "generator", "encoder", ...
    terms: Mapping[str, Term]
    every: int = 1  # steps between two runs; the terms are scaled by it (lazy regularization)
    repeat: int = 1  # turns within a step (n_critic)
    start: int = 0  # the stage it belongs to, in images: active in [start, stop)
    stop: int | None = None
    after: Sequence[Callable[[ForwardPass], None]] = ()  # after the step: clipping, ADA's controller

    def __post_init__(self) -> None:
        if self.every < 1 or self.repeat < 1:
            raise ValueError(f"phase {self.name}: every={self.every} and repeat={self.repeat} must be at least 1")
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"phase {self.name} stops at {self.stop} images, before it starts at {self.start}")

    @cached_property
    def probes(self) -> frozenset[str]:
        """Tensors that some term of this phase differentiates by."""
        return frozenset().union(*(term.probes for term in self.terms.values()))

    def active(self, images: int) -> bool:
        return self.start <= images and (self.stop is None or images < self.stop)


class DiscriminatorOutput(NamedTuple):
    """What a discriminator may return instead of bare logits."""

    logits: Tensor  # [B], or a map [B, ...] of patch decisions; positive means real
    class_logits: Tensor | None = None  # [B, num_classes], of an auxiliary classifier
    features: Sequence[Tensor] = ()  # inner activations, for feature matching


class Task(Protocol):
    """All that a new kind of problem writes. Attributes that have a `state_dict` are in every checkpoint.

    It may also name `averaged`, the nets of which an exponential moving average is kept (those that `sample` uses).
    """

    nets: nn.ModuleDict
    players: Mapping[str, Sequence[str]]  # a player may own several nets; a net that no player owns is frozen
    forward_pass: type[ForwardPass]

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]: ...

    def sample(self, nets: nn.ModuleDict, num: int, seed: int) -> Tensor: ...


class Data(Protocol):
    """Examples by index, as the game wants them: on its device, scaled to what the networks see."""

    def __len__(self) -> int: ...

    def __contains__(self, name: object) -> bool: ...

    def fetch(self, name: str, indices: Tensor, device: Any) -> Tensor: ...


def per_sample(value: Tensor) -> Tensor:
    """A map [B, ...] averaged to [B]; [B] and scalars as they are. The one place where maps of logits are reduced."""
    return value.flatten(1).mean(1) if value.dim() > 1 else value


def regularized(phases: Sequence[Phase], regularizers: Mapping[str, Any]) -> list[Phase]:
    """Put each regularizer where it belongs: eager ones into their player's first phase, lazy ones behind it.

    A lazy regularizer gets a phase of its own, so that the main phase keeps its compiled networks and low precision.
    Raises ValueError where a regularizer's player does not play.
    """
    result = list(phases)
    for name, regularizer in regularizers.items():
        at = next((i for i, phase in enumerate(result) if phase.player == regularizer.player), None)
        if at is None:
            players = ", ".join(dict.fromkeys(phase.player for phase in phases))
            raise ValueError(f"regularizer {name} wants a player {regularizer.player}; here play: {players}")
        main = result[at]
        changes: dict[str, Any] = {}
        if callable(regularizer):
            if regularizer.every == 1:
                changes["terms"] = {**main.terms, name: regularizer}
            else:
                lazy = Phase(
                    f"{main.name}_{name}",
                    main.player,
                    {name: regularizer},
                    every=regularizer.every,
                    start=main.start,
                    stop=main.stop,
                )
                result.insert(at + 1, lazy)
        if hasattr(regularizer, "after_step"):
            changes["after"] = (*main.after, regularizer.after_step)
        if changes:
            result[at] = replace(main, **changes)
    return result
