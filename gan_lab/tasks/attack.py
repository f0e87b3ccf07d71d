"""Adversarial attack and defence: to test one's own classifiers, and to harden them.

A generator changes pictures, each value by at most epsilon, so that a classifier errs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_lab.classifiers.convolutional import AllConvolutional
from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Data, Phase, Term, regularized
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import Sheet, beside
from gan_lab.registry import NonNegative, Positive, Share, Weight, tasks
from gan_lab.tasks.contract import (
    CHUNK,
    Example,
    Exported,
    Parts,
    RowDraws,
    Task,
    chosen_rows,
    device_of,
    picture_values,
    tried_out,
)
from gan_lab.tasks.gradient_attacks import fgsm, noise, pgd, within
from gan_lab.tasks.judged import JudgedPass, check_needs, offered

NOISE, START = "attack/noise", "attack/start"  # streams of random numbers for examples


class AttackPass(JudgedPass):
    """Pictures are real, changed ones fake."""

    task: Attack

    @cached_property
    def clean(self) -> Tensor:
        return self.data("sample")

    @cached_property
    def label(self) -> Tensor:
        return self.data("label")

    @cached_property
    def changed(self) -> Tensor:
        """Pictures that the generator has changed, [B, C, H, W] in [-1, 1]."""
        return self.keep("changed", "generator", lambda: self.task.changed(self.net("generator"), self.clean))

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.clean)

    @cached_property
    def fake(self) -> Tensor:
        return self.probe("fake", self.changed)

    @cached_property
    def attacked_logits(self) -> Tensor:
        logits: Tensor = self.net("classifier")(self.changed)
        return logits.float()

    def observe(self) -> Mapping[str, Tensor]:
        seen = dict(super().observe())
        if "attacked_logits" in vars(self):
            seen["error"] = self.attacked_logits.detach().argmax(1).ne(self.label)
        return seen


class Learn:
    """The cross-entropy [B] of a network's classes of unchanged pictures."""

    weight, probes = 1.0, frozenset[str]()

    def __init__(self, net: str) -> None:
        self.net = net

    def __call__(self, forward: Any) -> Tensor:
        return cross_entropy(forward.net(self.net)(forward.clean).float(), forward.label, reduction="none")


class Withstand:
    """The classifier's cross-entropy [B] of changed pictures (Goodfellow et al. 2015, arXiv 1412.6572, section 6)."""

    weight, probes = 1.0, frozenset[str]()

    def __call__(self, forward: Any) -> Tensor:
        return cross_entropy(forward.attacked_logits, forward.label, reduction="none")


class Fool:
    """The margin by which the classifier is still right, at least -`margin`, [B].

    Untargeted max(z_y - max_{i != y} z_i, -margin), and with a goal t max(max_{i != t} z_i - z_t, -margin), of logits z
    (Carlini and Wagner 2017, arXiv 1608.04644, section IV-A, f_6, which AdvGAN's authors take for their eq. 1).
    """

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, margin: float, goal: int | None) -> None:
        self.weight, self.margin, self.goal = weight, margin, goal

    def __call__(self, forward: Any) -> Tensor:
        aim = forward.label if self.goal is None else torch.full_like(forward.label, self.goal)
        lead = leads(forward.attacked_logits, aim)
        return (lead if self.goal is None else -lead).clamp(min=-self.margin)


def leads(logits: Tensor, label: Tensor) -> Tensor:
    """The logit of the class less the largest of the others, [B]."""
    index = label[:, None]
    return logits.gather(1, index)[:, 0] - logits.scatter(1, index, -torch.inf).amax(1)


class NormHinge:
    """max(0, |x' - x|_2 - norm) of pixels in [0, 1], [B] (Xiao et al. 2018, arXiv 1801.02610, eq. 2)."""

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, norm: float) -> None:
        self.weight, self.norm = weight, norm

    def __call__(self, forward: Any) -> Tensor:
        return (torch.linalg.vector_norm((forward.changed - forward.clean).flatten(1), dim=1) / 2 - self.norm).relu()


@tasks.register("attack")
class Attack(Task):
    """AdvGAN (Xiao et al. 2018, arXiv 1801.02610): G changes pictures so that a classifier errs and D sees no change.

    G minimizes  adversarial + fool_weight * margin + norm_weight * hinge  (eq. 3), and changes no value by more than
    `epsilon` of pixels in [0, 1]. With `goal`, all pictures shall be taken for that class; else for any wrong one.

    In the first `classifier_images` images the classifier learns, and with it a `witness` of another architecture that
    G never sees. Then it rests. For a run's own classifier: `init_from=RUN task.classifier_images=0`. During
    `defence=[start,stop]`, in images, the classifier learns changed pictures, too, against a G that goes on; after it
    the classifier rests again, and G shows what is left. Raises ValueError for an epsilon that is not in (0, 1], data
    without classes, a goal that is none of them, a defence before the attack, and networks that do not fit.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "classifier": ("classifier",), "witness": ("witness",), "generator": ("generator",),
        "discriminator": ("discriminator",),
    }  # fmt: skip
    averaged = ("generator",)
    forward_pass = AttackPass
    columns = frozenset(
        {
            "sample", "source", "label", "goal", "clean_logits", "attacked_logits", "witness_logits",
            "transferred_logits", "noise_logits", "fgsm_logits", "pgd_logits",
        }
    )  # fmt: skip
    measures = (
        "attack_success", "transfer_success", "noise_success", "fgsm_success", "pgd_success", "clean_accuracy",
        "change_l2", "change_max",
    )  # fmt: skip
    needs_data = deterministic = True

    def __init__(
        self,
        parts: Parts,
        sample_shape: tuple[int, ...],
        num_classes: int | None,
        *,
        epsilon: Share = 0.3,
        goal: NonNegative | None = None,
        fool_weight: Weight = 10.0,
        margin: Weight = 5.0,
        norm_weight: Weight = 1.0,
        norm: Weight = 6.0,
        classifier_images: NonNegative = 24_000,
        defence: tuple[int, int] | None = None,
        pgd_steps: Positive = 10,
    ) -> None:
        if not 0 < epsilon <= 1:
            raise ValueError(f"task.epsilon={epsilon}: it must lie above 0 and be at most 1, of pixels in [0, 1]")
        if len(sample_shape) != 3 or not num_classes:
            raise ValueError("this task wants pictures with classes; choose another data set")
        if goal is not None and goal >= num_classes:
            raise ValueError(f"task.goal={goal}: the classes are 0 to {num_classes - 1}")
        if defence is not None and not classifier_images <= defence[0] < defence[1]:
            raise ValueError(
                f"task.defence={list(defence)}: give its start and stop in images, after "
                f"task.classifier_images={classifier_images}"
            )
        self.bound, self.goal, self.pgd_steps = 2 * epsilon, goal, pgd_steps
        self.fool, self.hinge = Fool(fool_weight, margin, goal), NormHinge(norm_weight, norm)
        self.classifier_images, self.defence = classifier_images, defence
        self.selects_from = defence[1] if defence else classifier_images
        self.conditions = f"epsilon={epsilon}, goal={goal}"
        self.augment, self.conditional = parts.augment(), False
        sizes = picture_values(sample_shape)
        self.nets = nn.ModuleDict(
            {
                "generator": parts.generator(takes=["input_shape"], input_shape=sample_shape, num_classes=None),
                "discriminator": parts.discriminator(num_classes=None),
                "classifier": parts.classifier(),
                "witness": AllConvolutional(num_classes=num_classes, width=8, **sizes),
            }
        )
        self.judges_rows = judges_rows(self.nets["discriminator"])
        self.offers = self._try_out(sample_shape, num_classes)

    def _try_out(self, shape: tuple[int, ...], num_classes: int) -> set[str]:
        """Two rows through all networks. Returns what D's output has besides logits."""
        rows = torch.zeros(2, *shape, device=device_of(self.nets))
        made = tried_out("the generator", self.nets["generator"], rows)
        if made.shape != rows.shape:
            raise ValueError(f"the generator makes {tuple(made.shape[1:])} of pictures {shape}; choose another one")
        logits = tried_out("the classifier", self.nets["classifier"], rows)
        if logits.shape != (2, num_classes):
            raise ValueError(
                f"{type(self.nets['classifier']).__name__} returns {tuple(logits.shape)} for 2 pictures of "
                f"{num_classes} classes; wanted are logits [B, {num_classes}]"
            )
        discriminator = self.nets["discriminator"]
        return offered(discriminator, tried_out("the discriminator", discriminator, rows, None))

    def changed(self, generator: Any, clean: Tensor) -> Tensor:
        """Pictures with G's changes, which are at most the bound."""
        return within(clean + self.bound * generator(clean), clean, self.bound)

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """Learning, the attack, and within it the defence. Regularizers belong to the attack."""
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        start = self.classifier_images
        learn = [Phase(net, net, {"classification": Learn(net)}, stop=start) for net in ("classifier", "witness")]
        attack: dict[str, Term] = {"adversarial": AdversarialTerm(loss.generator), "fool": self.fool}
        game = [
            Phase("discriminator", "discriminator", {"adversarial": AdversarialTerm(loss.discriminator)}, start=start),
            Phase("generator", "generator", attack | {"norm": self.hinge}, start=start),
        ]
        phases = [*(learn if start else ()), *regularized(game, regularizers)]
        if self.defence is not None:
            terms: dict[str, Term] = {"classification": Learn("classifier"), "withstanding": Withstand()}
            phases.append(Phase("defence", "classifier", terms, start=self.defence[0], stop=self.defence[1]))
        return phases

    @torch.no_grad()
    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """`source` pictures, G's changes as `sample`, and logits [n, K] of the networks for these and other attacks.

        `goal` is the class that they shall be taken for, -1 for any wrong one. The witness sees G's pictures, too.
        """
        assert data is not None
        device, classifier, witness = device_of(nets), nets["classifier"], nets["witness"]
        for rows in chosen_rows(len(data), num, seed):
            x, label = data.fetch("sample", rows, device), data.fetch("label", rows, device)
            goal = None if self.goal is None else torch.full_like(label, self.goal)
            draw = RowDraws(rows, seed, device)
            uniform = [draw(stream, *x.shape[1:], kind="uniform") for stream in (NOISE, START)]
            made = self.changed(nets["generator"], x)
            logits = {
                "clean": classifier(x),
                "attacked": classifier(made),
                "witness": witness(x),
                "transferred": witness(made),
                "noise": classifier(noise(x, self.bound, uniform[0])),
                "fgsm": classifier(fgsm(classifier, x, label, self.bound, goal)),
                "pgd": classifier(pgd(classifier, x, label, self.bound, uniform[1], self.pgd_steps, goal)),
            }
            example = {f"{name}_logits": values.float().cpu() for name, values in logits.items()}
            wanted = torch.full_like(label, -1) if goal is None else goal
            columns = {"sample": made.float(), "source": x, "label": label, "goal": wanted}
            yield example | {name: column.cpu() for name, column in columns.items()}

    def exported(self, nets: nn.ModuleDict, data: Data | None, direction: str | None = None) -> Exported:
        """From pictures to changed ones."""
        pictures = next(self.examples(nets, CHUNK, 0, data))["source"]
        return Exported(lambda picture: self.changed(nets["generator"], picture), {"picture": pictures})

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """Rows of picture, change and changed picture."""
        source, made = examples["source"], examples["sample"]
        pictures = (source, (made - source) / self.bound, made)
        return Sheet(
            beside(*(unscale(rows).numpy() for rows in pictures)),
            "from the left: picture, change (grey: none, black and white: epsilon), changed picture",
        )
