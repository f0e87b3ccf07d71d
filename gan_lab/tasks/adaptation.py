"""Domain adaptation: features that tell the classes of a labelled source, and hide which domain a picture is from.

The target's labels are in no term and no phase. Scores alone read them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Data, Phase, Term, regularized
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import Sheet, grid
from gan_lab.registry import NonNegative, Positive, Weight, tasks
from gan_lab.tasks.contract import CHUNK, Example, Exported, Parts, Task, chosen_rows, device_of, tried_out
from gan_lab.tasks.judged import JudgedPass, check_needs, offered

STEEPNESS = 10.0  # of the ramp: gamma of Ganin et al. 2016, section 5.2.2
ACROSS = 12  # pictures of a class in a sheet


class ReverseGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -strength (Ganin et al. 2016, arXiv 1505.07818, eq. 15 and 16)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


class AdaptationPass(JudgedPass):
    """Features of source pictures are real, those of target pictures fake."""

    task: Adaptation

    @cached_property
    def source_features(self) -> Tensor:
        features: Tensor = self.net("features")(self.data("sample"))
        return features

    @cached_property
    def target_features(self) -> Tensor:
        features: Tensor = self.net(self.task.target_net)(self.data("other"))
        return features

    @cached_property
    def class_logits(self) -> Tensor:
        """Of the source, [B, num_classes]."""
        logits: Tensor = self.net("head")(self.source_features)
        return logits

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self._seen(self.source_features))

    @cached_property
    def fake(self) -> Tensor:
        return self.probe("fake", self._seen(self.target_features))

    def _seen(self, features: Tensor) -> Tensor:
        """What the discriminator is shown of features [B, D]: with predictions, [B, D * num_classes]."""
        task = self.task
        if task.reverses:
            features = ReverseGradient.apply(features, task.strength(self.game.images))
        return joint(features, self.net("head")(features)) if task.condition == "predictions" else features

    def observe(self) -> Mapping[str, Tensor]:
        seen = dict(super().observe())
        if "class_logits" in vars(self):
            seen["accuracy"] = self.class_logits.detach().argmax(1).eq(self.data("label"))
        return seen


def joint(features: Tensor, logits: Tensor) -> Tensor:
    """CDAN's multilinear map of features [B, D] and predictions [B, K], [B, D K] (arXiv 1705.10667, eq. 5).

    The predictions are constants, as in the authors' code: only the features hide the domain.
    """
    return torch.einsum("bd,bk->bdk", features, logits.detach().softmax(1)).flatten(1)


class Classify:
    """The cross-entropy of the source's classes, [B]."""

    weight, probes = 1.0, frozenset[str]()

    def __call__(self, forward: Any) -> Tensor:
        return cross_entropy(forward.class_logits.float(), forward.data("label"), reduction="none")


class Confuse:
    """Minus what the domain discriminator minimizes, times the ramp's strength (arXiv 1505.07818, eq. 9)."""

    weight, probes = 1.0, frozenset[str]()

    def __init__(self, loss: AdversarialLoss) -> None:
        self.loss = loss

    def __call__(self, forward: Any) -> Tensor:
        return -forward.task.strength(forward.game.images) * self.loss.discriminator(forward)


class Adapts(Task):
    """What both games share: networks, examples and what is shown."""

    forward_pass = AdaptationPass
    columns = frozenset({"sample", "label", "domain", "features", "class_logits"})
    measures = (
        "label_free", "target_accuracy", "source_accuracy", "proxy_a_distance", "source_only_bar", "coral_bar",
        "target_only_bar",
    )  # fmt: skip
    needs_data = deterministic = True
    shown = 240  # of both domains, so that each class has some
    condition: Literal["none", "predictions"] = "none"
    reverses = False
    target_net = "features"  # what makes the target's features

    def _make_nets(self, parts: Parts) -> None:
        """The classifier's halves, and the discriminator of what it is shown."""
        self.num_classes = self._classes(parts)
        classifier = parts.classifier()
        device = next(classifier.parameters()).device
        shape = parts.columns["sample"].shape
        features = tried_out("the classifier", classifier.features, torch.zeros(2, *shape, device=device))
        dimensions = features.shape[1] * (self.num_classes if self.condition == "predictions" else 1)
        discriminator = parts.discriminator(takes=["sample_shape"], sample_shape=(dimensions,), num_classes=None)
        judged = tried_out("the discriminator", discriminator, torch.zeros(2, dimensions, device=device), None)
        self.offers, self.judges_rows = offered(discriminator, judged), judges_rows(discriminator)
        self.conditional = False  # the discriminator never sees a label
        self.nets = nn.ModuleDict(
            {"features": classifier.features, "head": classifier.head, "discriminator": discriminator}
        )

    def _classes(self, parts: Parts) -> int:
        """The number of classes. Raises ValueError for data without two labelled domains of the same classes."""
        columns = parts.columns
        if not {"sample", "label", "other", "other_label"} <= columns.keys():
            raise ValueError(
                "this task wants two labelled domains: choose dataset=digit_domains, degraded_domains, or "
                "domain_folders with folders of your own"
            )
        if columns["sample"].shape != columns["other"].shape:
            shapes = " and ".join(str(columns[name].shape) for name in ("sample", "other"))
            raise ValueError(f"the domains have pictures of unlike shapes, {shapes}; resize one")
        ours, theirs = (columns[name].num_classes for name in ("label", "other_label"))
        if ours != theirs or ours is None:
            raise ValueError(f"the source has {ours} classes and the target {theirs}; both must have the same")
        return ours

    @torch.no_grad()
    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """Rows of both domains mixed, `domain` 0 for the source and 1 for the target, each once.

        `class_logits` [n, K] of `features` [n, D], and the classes `label`.
        """
        assert data is not None
        first, second = (data.lengths[data.domain_of(name)] for name in ("sample", "other"))
        for rows in chosen_rows(first + second, num, seed):
            domain = (rows >= first).long()
            sides = [
                self._seen_of(nets, data, rows[domain == 0], "sample", "label", "features"),
                self._seen_of(nets, data, rows[domain == 1] - first, "other", "other_label", self.target_net),
            ]
            back = domain.argsort(stable=True).argsort()  # from the source's rows before the target's to mixed ones
            mixed = {name: torch.cat([side[name] for side in sides])[back] for name in sides[0]}
            yield mixed | {"domain": domain}

    def _seen_of(self, nets: nn.ModuleDict, data: Data, rows: Tensor, picture: str, label: str, net: str) -> Example:
        """The columns of one domain's rows."""
        sample = data.fetch(picture, rows, "cpu")
        features = nets[net](sample.to(device_of(nets)))
        logits = nets["head"](features)
        return {
            "sample": sample,
            "label": data.fetch(label, rows, "cpu"),
            "features": features.float().cpu(),
            "class_logits": logits.float().cpu(),
        }

    def exported(self, nets: nn.ModuleDict, data: Data | None, direction: str | None = None) -> Exported:
        """The target's classifier: from pictures to logits."""
        pictures = next(self.examples(nets, CHUNK, 0, data))["sample"]
        features, head = nets[self.target_net], nets["head"]
        return Exported(lambda picture: head(features(picture)), {"picture": pictures}, ("class_logits",))

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """A row for each class, of the target's pictures that are taken for it."""
        target = examples["domain"] == 1
        pictures, taken = unscale(examples["sample"][target]), examples["class_logits"][target].argmax(1)
        rows = torch.zeros(self.num_classes, ACROSS, *pictures.shape[1:], dtype=torch.uint8)
        for number in range(self.num_classes):
            chosen = pictures[taken == number][:ACROSS]
            rows[number, : len(chosen)] = chosen
        caption = f"rows: pictures of the target that are taken for class 0 to {self.num_classes - 1}"
        return Sheet(grid(rows.flatten(0, 1).numpy(), columns=ACROSS), caption)


@tasks.register("adaptation")
class Adaptation(Adapts):
    """DANN (Ganin et al. 2016, arXiv 1505.07818): a minimax game of a classifier's features and a domain discriminator.

    The classifier minimizes the source's cross-entropy minus `domain_weight` times what the discriminator minimizes
    (eq. 9). With `moves=reversal` both move in one step, through a gradient reversal; with `alternate` the
    discriminator moves first, with its own optimizer. At equal weights both give the same gradients. The weight rises
    to its full value over `ramp_images`, as 2 / (1 + exp(-10 p)) - 1 for the share p of them (section 5.2.2).

    With `condition=predictions` it is CDAN (Long et al. 2018, arXiv 1705.10667): the discriminator sees the outer
    product of features and predictions. A `domain_weight` of 0 trains on the source alone. Raises ValueError for data
    without two domains of the same classes, and for networks that do not fit.
    """

    players: Mapping[str, tuple[str, ...]] = {"classifier": ("features", "head"), "discriminator": ("discriminator",)}
    averaged = ("features", "head")

    def __init__(
        self,
        parts: Parts,
        *,
        moves: Literal["reversal", "alternate"] = "alternate",
        condition: Literal["none", "predictions"] = "none",
        domain_weight: Weight = 1.0,
        ramp_images: NonNegative = 0,
    ) -> None:
        self.condition, self.reverses = condition, moves == "reversal"
        self.domain_weight, self.ramp_images = domain_weight, ramp_images
        self._make_nets(parts)
        if self.reverses:
            self.players = {"classifier": ("features", "head", "discriminator")}

    def strength(self, images: int) -> float:
        """The weight of the domains' game after so many images."""
        if not self.ramp_images:
            return self.domain_weight
        share = min(images / self.ramp_images, 1.0)
        return self.domain_weight * (2 / (1 + math.exp(-STEEPNESS * share)) - 1)

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        judge: dict[str, Term] = {"adversarial": AdversarialTerm(loss.discriminator)}
        learn: dict[str, Term] = {"classification": Classify()}
        if self.reverses:
            return regularized([Phase("classifier", "classifier", learn | judge)], regularizers)
        main = [
            Phase("discriminator", "discriminator", judge),
            Phase("classifier", "classifier", learn | {"adversarial": Confuse(loss)}),
        ]
        return regularized(main, regularizers)


@tasks.register("adda")
class ADDA(Adapts):
    """ADDA (Tzeng et al. 2017, arXiv 1702.05464): a classifier of the source, then features of the target to match it.

    In the first `source_images` images the classifier learns the source (eq. 9, first line). Then its features rest,
    and a copy of them learns to make features of the target that a discriminator takes for the source's, with flipped
    labels (the other two lines, if loss=non_saturating). Raises ValueError as `adaptation` does.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "classifier": ("features", "head"), "target": ("target_features",), "discriminator": ("discriminator",)
    }  # fmt: skip
    averaged = ("features", "head", "target_features")
    target_net = "target_features"

    def __init__(self, parts: Parts, *, source_images: Positive = 64_000) -> None:
        self.selects_from = self.source_images = source_images
        self._make_nets(parts)
        self.nets["target_features"] = copy.deepcopy(self.nets["features"])

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        at = self.source_images
        learn: dict[str, Term] = {"classification": Classify()}
        game = [
            Phase("discriminator", "discriminator", {"adversarial": AdversarialTerm(loss.discriminator)}, start=at),
            Phase("target", "target", {"adversarial": AdversarialTerm(loss.generator)}, start=at),
        ]
        return [Phase("source", "classifier", learn, stop=at, after=(follow,)), *regularized(game, regularizers)]


@torch.no_grad()
def follow(forward: ForwardPass) -> None:
    """While the source is learned, the target's features are a copy: the copy needs no moment, and no state."""
    nets = forward.game.nets
    nets["target_features"].load_state_dict(nets["features"].state_dict())
