"""A pass that segments pictures, labelled and unlabelled ones, and the terms of its objective."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.datasets.masks import DOMAIN as UNLABELLED
from gan_lab.tasks.judged import JudgedPass

LEAST = 1e-6  # of a probability, where its logarithm is taken
SMOOTH = 1.0  # pixels that Dice adds above and below, so that an empty mask has a value


class SegmentationPass(JudgedPass):
    """Pictures with their masks are real, pictures with what the generator makes of them are fake."""

    task: Any  # it has `classes`, `turned` and the other attributes of a judged pass's task
    shared = ("symmetry",)

    @cached_property
    def symmetry(self) -> Tensor:
        """Three uniform numbers for each row [B, 3]: whether it is mirrored left to right, upside down, transposed."""
        return self.draw("symmetry", 3, kind="uniform")

    @cached_property
    def picture(self) -> Tensor:
        return self.task.turned(self.data("sample"), self.symmetry)

    @cached_property
    def mask(self) -> Tensor:
        """Classes, int64 [B, H, W]."""
        return self.task.turned(self.data("mask")[:, None], self.symmetry)[:, 0]

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", as_map(self.mask, self.task.classes))

    @cached_property
    def made(self) -> Tensor:
        """The generator's map, [B, K, H, W] in [-1, 1]."""
        return self.keep("made", "generator", lambda: self.net("generator")(self.picture))

    @cached_property
    def fake(self) -> Tensor:
        return self.probe("fake", self.made)

    @cached_property
    def probability(self) -> Tensor:
        return probabilities(self.made)

    @cached_property
    def unlabelled(self) -> UnlabelledPass:
        return UnlabelledPass(self)

    def with_condition(self, sample: Tensor) -> Tensor:
        return torch.cat([self.picture, sample], 1)


class UnlabelledPass(SegmentationPass):
    """The same for pictures whose masks are not known. What is real are the whole pass's masks."""

    def __init__(self, whole: SegmentationPass) -> None:
        super().__init__(whole.game, whole.phase, whole.turn, whole.rows, whole.kept)
        self.whole = whole

    def draw(self, stream: str, *shape: int, kind: Literal["normal", "uniform"] = "normal") -> Tensor:
        return super().draw(f"{UNLABELLED}/{stream}", *shape, kind=kind)

    @cached_property
    def picture(self) -> Tensor:
        return self.task.turned(self.data(UNLABELLED), self.symmetry)

    @cached_property
    def made(self) -> Tensor:
        made: Tensor = self.net("generator")(self.picture)
        return made

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        return self.whole.real_output


# -- maps of classes ---------------------------------------------------------------------------------------------------


def as_map(mask: Tensor, classes: int) -> Tensor:
    """Classes [B, H, W] as the map that a perfect generator makes: -1 and 1, one channel for two classes, else K."""
    if classes == 2:
        return mask[:, None].float() * 2 - 1
    return one_hot(mask, classes).movedim(-1, 1).float() * 2 - 1


def probabilities(made: Tensor) -> Tensor:
    """A generator's map [B, 1 or K, H, W] in [-1, 1] as probabilities of classes [B, 2 or K, H, W].

    Of two classes, (1 + map) / 2 is the second one's, which of a tanh is the sigmoid of twice its input. Of more, such
    numbers are divided by their sum.
    """
    chance = (made.float() + 1) / 2
    if made.shape[1] == 1:
        return torch.cat([1 - chance, chance], 1).clamp(LEAST, 1)
    chance = chance.clamp(LEAST, 1)
    return chance / chance.sum(1, keepdim=True)


# -- terms -------------------------------------------------------------------------------------------------------------


class SoftDice:
    """1 less the Dice coefficient of each picture, with probabilities for the generator's classes, [B].

    Milletari et al. 2016, arXiv 1606.04797, section 3, without squares; the mean over all classes but the first one.
    """

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        chance = forward.probability[:, 1:].flatten(2)
        truth = one_hot(forward.mask, forward.task.classes).movedim(-1, 1)[:, 1:].flatten(2)
        both, either = (chance * truth).sum(2), chance.sum(2) + truth.sum(2)
        return (1 - (2 * both + SMOOTH) / (either + SMOOTH)).mean(1)


class CrossEntropy:
    """The mean over pixels of -log of the true class's probability, [B]."""

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        return surprise(forward.probability, forward.mask).flatten(1).mean(1)


def surprise(probability: Tensor, classes: Tensor) -> Tensor:
    """-log p [B, H, W] of classes [B, H, W]."""
    return -probability.gather(1, classes[:, None])[:, 0].log()


class OfUnlabelled:
    """A term that sees the pictures without masks in place of the pass."""

    def __init__(self, term: Any) -> None:
        self.term, self.weight, self.probes = term, term.weight, term.probes

    def __call__(self, forward: Any) -> Tensor:
        value: Tensor = self.term(forward.unlabelled)
        return value


class SelfTraining:
    """Cross-entropy to the generator's own decision, where the discriminator takes it for a mask (Hung et al., eq. 5).

    [B]: the sum over such pixels over the number of all. A logit for a patch or a picture speaks for its pixels; it
    must be above the loss's boundary, where D is undecided.
    """

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        logits = forward.fake_logits.detach()
        logits = logits.reshape(len(logits), 1, *(logits.shape[1:] if logits.dim() == 3 else (1, 1)))
        trusted = interpolate(logits.float(), forward.made.shape[2:], mode="nearest")[:, 0] > forward.task.boundary
        probability = forward.probability
        return (surprise(probability, probability.detach().argmax(1)) * trusted).flatten(1).mean(1)
