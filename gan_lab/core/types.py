"""Term, Phase, Task and AdversarialLoss, the four main interfaces, and the types that they exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """A term that names its player. The loop multiplies it by `weight`, which a schedule may change.

    It may also have `after_step(forward)`, which runs after each step that includes the term. Without `__call__`, only
    `after_step` runs, after every step of its player. Instead of being a term, a regularizer may have `parts`: a
    mapping of regularizers by name, also for several players. State shared by parts is a module that each part holds.
    """

    player: str
    every: int  # lazy regularization: its own phase, run each `every`-th step and scaled by `every`


class AdversarialLoss(Protocol):
    """Elementwise functions of logits of any shape, without a reduction.

    It may also have `boundary: float | None`: the logit at which D judges real and fake equally likely, or None where a
    single logit has no such meaning.
    """

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
    after: Sequence[Callable[[ForwardPass], None]] = ()  # after the step, skipped ones too: clipping, ADA's controller

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
    """What a discriminator may return instead of logits alone."""

    logits: Tensor  # [B], or a map [B, ...] of patch decisions; positive means real
    class_logits: Tensor | None = None  # [B, num_classes], of an auxiliary classifier
    features: Sequence[Tensor] = ()  # inner activations, for feature matching


class Task(Protocol):
    """What the loop needs of a kind of game. Attributes that have a `state_dict` are saved in every checkpoint.

    `gan_lab.tasks.contract` has the further interface for samples, scores and display.
    """

    nets: nn.ModuleDict
    players: Mapping[str, Sequence[str]]  # a player may own several nets; a net that no player owns is frozen
    forward_pass: type[ForwardPass]

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]: ...


class Data(Protocol):
    """Examples by index, on the game's device and in the range of the networks' inputs.

    Columns of another domain, such as pictures of another style, have their own length and order.
    """

    @property
    def lengths(self) -> Mapping[str, int]: ...  # examples of each domain, the main one, "", first

    def domain_of(self, name: str) -> str: ...  # of a column

    def __len__(self) -> int: ...  # of the main domain

    def __contains__(self, name: object) -> bool: ...

    def fetch(self, name: str, indices: Tensor, device: Any) -> Tensor: ...


def per_sample(value: Tensor) -> Tensor:
    """A map [B, ...] averaged to [B]; [B] and scalars as they are. The one place where maps of logits are reduced."""
    return value.flatten(1).mean(1) if value.dim() > 1 else value


def regularized(phases: Sequence[Phase], regularizers: Mapping[str, Any]) -> list[Phase]:
    """Add regularizers to phases: eager ones to their player's first phase, lazy ones as phases after it.

    A lazy regularizer gets its own phase, so that the main phase keeps its compiled networks and low precision. Each
    part is added as a regularizer named `<regularizer>_<part>`. Raises ValueError where the game does not have a
    regularizer's player, or where its name is taken.
    """
    result = list(phases)
    actions: list[tuple[str, Callable[[ForwardPass], None]]] = []  # of those that are no terms, by player
    for name, regularizer in _one_by_one(regularizers):
        at = next((i for i, phase in enumerate(result) if phase.player == regularizer.player), None)
        if at is None:
            players = ", ".join(dict.fromkeys(phase.player for phase in phases))
            raise ValueError(f"regularizer {name} wants a player {regularizer.player}; here play: {players}")
        after = (regularizer.after_step,) if hasattr(regularizer, "after_step") else ()
        main, own = result[at], f"{result[at].name}_{name}"
        if not callable(regularizer):
            actions += [(main.player, action) for action in after]
        elif name in main.terms or own in (phase.name for phase in result):
            raise ValueError(f"regularizer {name}: the {main.player} has a term of that name already")
        elif regularizer.every == 1:
            result[at] = replace(main, terms={**main.terms, name: regularizer}, after=(*main.after, *after))
        else:  # as many turns as the main phase, or it would be weaker than an eager one by that factor
            lazy = replace(main, name=own, terms={name: regularizer}, every=regularizer.every, after=after)
            result.insert(at + 1, lazy)
    for player, action in actions:
        result = [replace(p, after=(*p.after, action)) if p.player == player else p for p in result]
    return result


def _one_by_one(regularizers: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Regularizers by name. One with parts is replaced by its parts."""
    for name, regularizer in regularizers.items():
        if hasattr(regularizer, "parts"):
            yield from _one_by_one({f"{name}_{part}": inner for part, inner in regularizer.parts.items()})
        else:
            yield name, regularizer
