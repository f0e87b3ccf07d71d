"""Generation: a generator turns noise into samples, and a discriminator distinguishes them from the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_lab.core.forward_pass import key
from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import (
    AdversarialLoss,
    AdversarialTerm,
    Data,
    DiscriminatorOutput,
    Phase,
    Term,
    per_sample,
    regularized,
)
from gan_lab.registry import NonNegative, Positive, Weight, tasks
from gan_lab.tasks.contract import CHUNK, STANDING, Example, Layout, Parts, Signals, Task, own_chunks
from gan_lab.tasks.judged import JudgedPass, check_needs, offered
from gan_lab.tasks.layouts import classes, directions, interpolation, neighbours, style_mixing, truncation
from gan_lab.tasks.packing import check_divides, packing_discriminator
from gan_lab.tasks.sample_signals import SampleSignals


class GenerationPass(JudgedPass):
    """Samples of the data and of the generator, with their classes."""

    shared = ("latent", "label")
    task: Generation

    @cached_property
    def latent(self) -> Tensor:
        return self.draw("latent", self.task.latent_dim)

    @cached_property
    def real_label(self) -> Tensor | None:
        return self.data("label") if self.task.num_classes else None

    @cached_property
    def fake_label(self) -> Tensor | None:
        """Classes [B], uniform."""
        if not self.task.num_classes:
            return None
        return (self.draw("label", kind="uniform") * self.task.num_classes).long()

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.data("sample"))

    @cached_property
    def fake(self) -> Tensor:
        made = self.keep(
            "fake", "generator", lambda: self.net("generator")(self.latent, self._seen_label("fake_label"))
        )
        return self.probe("fake", made)


class Classification:
    """An auxiliary classifier's cross-entropy [B] (Odena et al. 2017, arXiv 1610.09585, eq. 3).

    D classifies real and fake samples; G makes fakes that are classified as their labels.
    """

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, *, real: bool) -> None:
        self.weight, self.real = weight, real

    def __call__(self, forward: Any) -> Tensor:
        judged = [(forward.fake_output, forward.fake_label)]
        if self.real:
            judged.append((forward.real_output, forward.real_label))
        losses = [
            cross_entropy(output.class_logits.float(), label, reduction="none")
            for output, label in judged
            if output.class_logits is not None and label is not None
        ]
        return torch.stack(losses).sum(0)


@tasks.register("generation")
class Generation(Task):
    """The game of Goodfellow et al. (2014): in each step D moves `n_critic` times, then G once.

    The cross-entropy of a discriminator that also classifies is added to both players' objectives.
    `freeze_discriminator` is the number of D's first layers that do not learn (FreezeD: Mo et al. 2020, arXiv
    2002.10964), for fine-tuning with `init_from`. With `packing`, D judges so many samples at once (see `Packed`), and
    `trainer.batch_size` counts samples, not packs. Raises ValueError where the generator has no `latent_dim`, or where
    the networks do not fit the data or each other.
    """

    players: Mapping[str, tuple[str, ...]] = {"generator": ("generator",), "discriminator": ("discriminator",)}
    averaged = ("generator",)
    forward_pass = GenerationPass
    columns = frozenset({"sample", "label"})
    generates = takes_label = True
    layouts: ClassVar[Mapping[str, Layout]] = {
        "interpolation": interpolation, "classes": classes, "neighbours": neighbours, "directions": directions,
        "truncation": truncation, "style-mixing": style_mixing,
    }  # fmt: skip

    def __init__(
        self,
        parts: Parts,
        sample_shape: tuple[int, ...],
        num_classes: int | None,
        *,
        n_critic: Positive = 1,
        discriminator_weight: Weight = 1.0,
        classification_weight: Weight = 1.0,
        freeze_discriminator: NonNegative = 0,
        packing: Positive = 1,
    ) -> None:
        if "sample" not in parts.columns:
            known = ", ".join(parts.columns)
            raise ValueError(f"task=generation wants a column sample, and these data have {known}; choose another task")
        self.augment = parts.augment()
        generator, discriminator = parts.generator(), packing_discriminator(parts, tuple(sample_shape), packing)
        self.nets = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
        if not isinstance(getattr(generator, "latent_dim", None), int):
            raise ValueError(f"{type(generator).__name__} needs an attribute latent_dim: how many numbers it takes")
        self.latent_dim: int = generator.latent_dim
        self.sample_shape, self.num_classes = tuple(sample_shape), num_classes
        self.shown = 1000 if len(self.sample_shape) == 1 else None  # a cloud of points needs more than a grid
        self.n_critic, self.discriminator_weight, self.packing = n_critic, discriminator_weight, packing
        self.classification_weight = classification_weight
        self.boundary: float | None = 0.0  # the logit at which D judges real and fake equally likely
        self.offers = self._check_shapes()
        # Whether a network uses labels. A network without the attribute `conditioning` may use them.
        self.conditional = bool(num_classes) and any(
            getattr(net, "conditioning", None) != "none" for net in self.nets.values()
        )
        self.judges_rows = judges_rows(discriminator)
        freeze_first_layers(discriminator, freeze_discriminator)

    def _check_shapes(self) -> set[str]:
        """Run two samples, or packs, through both networks: a mismatch becomes a message, not a traceback from a layer.

        Returns the names of what the pass offers besides logits.
        """
        generator, discriminator = self.nets["generator"].eval(), self.nets["discriminator"].eval()
        device = next(generator.parameters()).device
        rows = 2 * self.packing
        label = torch.zeros(rows, dtype=torch.long, device=device) if self.num_classes else None
        with torch.no_grad():
            fake = generator(torch.zeros(rows, self.latent_dim, device=device), label)
            if tuple(fake.shape) != (rows, *self.sample_shape):
                shape = tuple(fake.shape[1:])
                raise ValueError(
                    f"{type(generator).__name__} makes samples of shape {shape}; the data set's are {self.sample_shape}"
                )
            output = discriminator(fake, label)
        return offered(discriminator, output) | {"latent"}

    def check_batch(self, rows: int) -> None:
        check_divides(rows, self.packing)

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """D's and G's phases. Raises ValueError for a regularizer that needs more than the discriminator returns."""
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        discriminator: dict[str, Term] = {"adversarial": AdversarialTerm(loss.discriminator, self.discriminator_weight)}
        generator: dict[str, Term] = {"adversarial": AdversarialTerm(loss.generator)}
        if "class_logits" in self.offers:
            discriminator["classification"] = Classification(self.classification_weight, real=True)
            generator["classification"] = Classification(self.classification_weight, real=False)
        main = [
            Phase("discriminator", "discriminator", discriminator, repeat=self.n_critic),
            Phase("generator", "generator", generator),
        ]
        return regularized(main, regularizers)

    # -- samples -------------------------------------------------------------------------------------------------

    def latents(self, num: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """Latents [num, latent_dim] and, with labels, classes [num], on the CPU: the same for a seed on any device.

        The first ones of a seed do not depend on `num`.
        """
        z, labels = [], []
        for start in range(0, num, CHUNK):
            random = torch.Generator().manual_seed(key("sample", seed, start))
            z.append(torch.randn(CHUNK, self.latent_dim, generator=random))
            if self.num_classes:
                labels.append(torch.randint(self.num_classes, (CHUNK,), generator=random))
        return torch.cat(z)[:num], torch.cat(labels)[:num] if labels else None

    @torch.no_grad()
    def generate(self, nets: nn.ModuleDict, z: Tensor, label: Tensor | None) -> Tensor:
        """Samples [N, ...] on the CPU for given latents and classes, made by `nets` in their current mode."""
        generator = nets["generator"]
        device = next(generator.parameters()).device
        samples = []
        for start in range(0, len(z), CHUNK):
            rows = slice(start, start + CHUNK)
            chosen = None if label is None else label[rows].to(device)
            samples.append(generator(z[rows].to(device), chosen).float().cpu())
        return torch.cat(samples)

    def sample(self, nets: nn.ModuleDict, num: int, seed: int, *, label: Tensor | None = None) -> Tensor:
        """Samples [num, ...] on the CPU from `nets`, of random classes or of given ones [num]."""
        return torch.cat([example["sample"] for example in self.examples(nets, num, seed, label=label)])

    def examples(
        self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None = None, *, label: Tensor | None = None
    ) -> Iterator[Example]:
        """`sample`s and, where the generator uses the label, the classes that they were made for."""
        z, classes_drawn = self.latents(-(-num // CHUNK) * CHUNK, seed)  # whole chunks, for batch norm's statistics
        if classes_drawn is not None and label is not None:
            classes_drawn[: len(label)] = label
        uses_label = self.uses_label(nets)
        for start in own_chunks(range(0, num, CHUNK)):
            rows = slice(start, start + CHUNK)
            left = num - start
            chosen = None if classes_drawn is None else classes_drawn[rows]
            example = {"sample": self.generate(nets, z[rows], chosen)[:left]}
            if chosen is not None and uses_label:
                example["label"] = chosen[:left]
            yield example

    def warm(self, nets: nn.ModuleDict) -> None:
        self.generate(nets, *self.latents(STANDING, -1))  # whole chunks alone, where `examples` also tries out labels

    def logits(self, nets: nn.ModuleDict, samples: Tensor, label: Tensor | None) -> Tensor:
        """The discriminator's logits [N] for samples [N, ...] with these classes, without augmentation.

        With packing, they are as many as there are whole packs.
        """
        whole = slice(len(samples) - len(samples) % self.packing)
        output = nets["discriminator"](samples[whole], None if label is None else label[whole])
        logits: Tensor = output.logits if isinstance(output, DiscriminatorOutput) else output
        return per_sample(logits.float())

    def uses_label(self, nets: nn.ModuleDict) -> bool:
        """Whether the generator's output depends on the class."""
        if not self.num_classes:
            return False
        z, _ = self.latents(2, 0)
        first, second = (self.generate(nets, z, torch.full((2,), label)) for label in (0, self.num_classes - 1))
        return not torch.equal(first, second)

    def signals(self, train: Data, held_out: Data | None, device: torch.device) -> Signals:
        return SampleSignals(self, train, held_out, device)


def freeze_first_layers(net: nn.Module, count: int) -> None:
    """Freeze the first `count` layers with weights, and the modules between them.

    Layers count in the order in which the network defines them. Raises ValueError where no layer would be left.
    """
    if not count:
        return
    layers = list(net.modules())
    weighted = [i for i, m in enumerate(layers) if isinstance(m, (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd))]
    if count >= len(weighted):
        raise ValueError(
            f"task.freeze_discriminator={count}: {type(net).__name__} has {len(weighted)} layers with weights, and "
            "one at least must learn"
        )
    for module in layers[: weighted[count]]:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
