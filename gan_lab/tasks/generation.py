"""Generation: a generator that turns noise into samples, a discriminator that tells them from the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_lab.core.forward_pass import ForwardPass, key
from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import (
    AdversarialLoss,
    AdversarialTerm,
    DiscriminatorOutput,
    Phase,
    Term,
    per_sample,
    regularized,
)
from gan_lab.registry import NonNegative, Positive, Weight, tasks

CHUNK = 64  # samples drawn at once: sample i of a seed is the same however many are asked for


class GenerationPass(ForwardPass):
    """real and fake, and what the discriminator makes of them."""

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
        made = self.keep("fake", "generator", lambda: self.net("generator")(self.latent, self._heard("fake_label")))
        return self.probe("fake", made)

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        return self._both[0] if self._together else self.judge(self.real, self._heard("real_label"), "real")

    @cached_property
    def fake_output(self) -> DiscriminatorOutput:
        return self._both[1] if self._together else self.judge(self.fake, self._heard("fake_label"), "fake")

    def _heard(self, name: str) -> Tensor | None:
        """Labels, where some network looks at them: else nobody need draw them."""
        label: Tensor | None = getattr(self, name) if getattr(self.task, "conditional", True) else None
        return label

    @property
    def _together(self) -> bool:
        """Whether D's main phase shows it real and fake samples at once: where it looks at each row by itself."""
        phase = self.phase
        return (
            phase.player == "discriminator"
            and "adversarial" in phase.terms
            and not phase.probes
            and getattr(self.task, "judges_rows", False)
            and type(self).judge is GenerationPass.judge  # or a task judges in a way of its own
        )

    @cached_property
    def _both(self) -> list[DiscriminatorOutput]:
        """The outputs for real and fake samples, from one pass."""
        augment = self.task.augment
        samples = torch.cat([augment(self, self.real, "real"), augment(self, self.fake, "fake")])
        labels = [label for name in ("real_label", "fake_label") if (label := self._heard(name)) is not None]
        output = self._output(samples, torch.cat(labels) if labels else None)
        count = len(self)
        return [_rows(output, slice(0, count)), _rows(output, slice(count, None))]

    @property
    def real_logits(self) -> Tensor:
        return self.real_output.logits

    @property
    def fake_logits(self) -> Tensor:
        return self.fake_output.logits

    def judge(self, sample: Tensor, label: Tensor | None, stream: str) -> DiscriminatorOutput:
        """The discriminator on augmented samples, with logits in at least single precision."""
        return self._output(self.task.augment(self, sample, stream), label)

    def _output(self, seen: Tensor, label: Tensor | None) -> DiscriminatorOutput:
        output = self.net("discriminator")(seen, label)
        output = output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(output)
        low = output.logits.dtype in (torch.bfloat16, torch.float16)
        return output._replace(logits=output.logits.float()) if low else output

    def observe(self) -> Mapping[str, Tensor]:
        """Where this phase trains D on both: its mean logits, and its accuracies if single logits say what it holds."""
        if self.phase.player != "discriminator" or not {"real_output", "fake_output"} <= vars(self).keys():
            return {}
        real, fake, boundary = self.real_logits, self.fake_logits, self.task.boundary
        seen: dict[str, Tensor] = {"real_logits": real, "fake_logits": fake}
        if boundary is not None:
            seen |= {"real_accuracy": real > boundary, "fake_accuracy": fake < boundary}
        classes, label = self.real_output.class_logits, self.real_label
        if classes is not None and label is not None:
            seen["class_accuracy"] = classes.detach().argmax(1).eq(label)
        return seen


def _rows(output: DiscriminatorOutput, rows: slice) -> DiscriminatorOutput:
    """What a discriminator said of some of the samples."""
    classes = output.class_logits
    return DiscriminatorOutput(
        output.logits[rows], None if classes is None else classes[rows], [feature[rows] for feature in output.features]
    )


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
class Generation:
    """The game of Goodfellow et al. (2014): D moves `n_critic` times, then G once.

    A discriminator that classifies adds its cross-entropy to both players' objectives. With `freeze_discriminator`,
    that many of D's first layers stay as they begin (FreezeD: Mo et al. 2020, arXiv 2002.10964), for fine-tuning with
    `init_from`. Raises ValueError where the generator has no `latent_dim`, or the networks do not fit the data or each
    other.
    """

    players: Mapping[str, tuple[str, ...]] = {"generator": ("generator",), "discriminator": ("discriminator",)}
    averaged = ("generator",)
    forward_pass = GenerationPass

    def __init__(
        self,
        make_generator: Callable[[], nn.Module],
        make_discriminator: Callable[[], nn.Module],
        augment: Callable[..., Tensor],
        sample_shape: tuple[int, ...],
        num_classes: int | None,
        *,
        n_critic: Positive = 1,
        discriminator_weight: Weight = 1.0,
        classification_weight: Weight = 1.0,
        freeze_discriminator: NonNegative = 0,
    ) -> None:
        generator, discriminator = make_generator(), make_discriminator()
        self.nets = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
        if not isinstance(getattr(generator, "latent_dim", None), int):
            raise ValueError(f"{type(generator).__name__} needs an attribute latent_dim: how many numbers it takes")
        self.latent_dim: int = generator.latent_dim  # type: ignore[assignment]
        self.augment, self.sample_shape, self.num_classes = augment, tuple(sample_shape), num_classes
        self.n_critic, self.discriminator_weight = n_critic, discriminator_weight
        self.classification_weight = classification_weight
        self.boundary: float | None = 0.0  # the logit at which D holds a sample as likely real as fake
        self.offers = self._check_shapes()
        # Whether some network looks at labels. One that does not say so may.
        self.conditional = bool(num_classes) and any(
            getattr(net, "conditioning", None) != "none" for net in self.nets.values()
        )
        self.judges_rows = judges_rows(discriminator)
        freeze_first_layers(discriminator, freeze_discriminator)

    def _check_shapes(self) -> set[str]:
        """Two samples through both networks, so that a misfit is a message and not a traceback from a layer.

        Returns what D's output has besides logits.
        """
        generator, discriminator = self.nets["generator"].eval(), self.nets["discriminator"].eval()
        device = next(generator.parameters()).device
        label = torch.zeros(2, dtype=torch.long, device=device) if self.num_classes else None
        with torch.no_grad():
            fake = generator(torch.zeros(2, self.latent_dim, device=device), label)
            if tuple(fake.shape) != (2, *self.sample_shape):
                made = tuple(fake.shape[1:])
                raise ValueError(
                    f"{type(generator).__name__} makes samples of shape {made}; the data set's are {self.sample_shape}"
                )
            output = discriminator(fake, label)
        output = output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(output)
        if output.logits.dim() < 1 or output.logits.shape[0] != 2:
            raise ValueError(
                f"{type(discriminator).__name__} returns logits of shape {tuple(output.logits.shape)} for 2 samples; "
                "wanted are [B] or a map [B, ...]"
            )
        return {name for name in ("class_logits", "features") if getattr(output, name) not in (None, ())}

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """D's moves and G's. Raises ValueError where a regularizer needs what the discriminator does not return."""
        self.boundary = getattr(loss, "boundary", None)
        for name, regularizer in regularizers.items():
            needs: frozenset[str] = getattr(regularizer, "needs", frozenset())
            if missing := needs - self.offers:
                raise ValueError(
                    f"regularizer {name} needs {' and '.join(sorted(missing))} of the discriminator, and "
                    f"{type(self.nets['discriminator']).__name__} returns none: see DiscriminatorOutput"
                )
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
        """Latents [num, latent_dim] and, with labels, classes [num], on the CPU: a seed means the same on any device.

        The first ones of a seed are the same however many are asked for.
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
        """Samples [N, ...] on the CPU for given latents and classes, by `nets` in the mode that they are in."""
        generator = nets["generator"]
        device = next(generator.parameters()).device
        samples = []
        for start in range(0, len(z), CHUNK):
            rows = slice(start, start + CHUNK)
            chosen = None if label is None else label[rows].to(device)
            samples.append(generator(z[rows].to(device), chosen).float().cpu())
        return torch.cat(samples)

    def sample(self, nets: nn.ModuleDict, num: int, seed: int, *, label: Tensor | None = None) -> Tensor:
        """Samples [num, ...] on the CPU from `nets` (the averaged ones, say), of random classes or given ones [num]."""
        return torch.cat([samples for samples, _ in self.stream(nets, num, seed, label=label)])

    def stream(
        self, nets: nn.ModuleDict, num: int, seed: int, *, label: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The same samples, some at a time, each with the classes that they were asked for, where the nets listen."""
        z, asked = self.latents(-(-num // CHUNK) * CHUNK, seed)  # whole chunks: batch norm may look at them
        if asked is not None and label is not None:
            asked[: len(label)] = label
        listens = self.listens(nets)
        for start in range(0, num, CHUNK):
            rows = slice(start, start + CHUNK)
            samples = self.generate(nets, z[rows], None if asked is None else asked[rows])
            left = num - start
            yield samples[:left], asked[rows][:left] if asked is not None and listens else None

    def logits(self, nets: nn.ModuleDict, samples: Tensor, label: Tensor | None) -> Tensor:
        """What the discriminator makes of samples [N, ...] with these classes, unaugmented: [N]."""
        output = nets["discriminator"](samples, label)
        logits: Tensor = output.logits if isinstance(output, DiscriminatorOutput) else output
        return per_sample(logits.float())

    def listens(self, nets: nn.ModuleDict) -> bool:
        """Whether the generator makes something else of another class."""
        if not self.num_classes:
            return False
        z, _ = self.latents(2, 0)
        first, second = (self.generate(nets, z, torch.full((2,), label)) for label in (0, self.num_classes - 1))
        return not torch.equal(first, second)


def freeze_first_layers(net: nn.Module, count: int) -> None:
    """Let the first `count` layers with weights, and whatever lies between them, stay as they are.

    Layers count in the order in which the network defines them. Raises ValueError where it has no more than that.
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
