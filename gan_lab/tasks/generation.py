"""Generation: a generator that turns noise into samples, a discriminator that tells them from the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import ForwardPass, key
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, DiscriminatorOutput, Phase, regularized
from gan_lab.registry import Positive, Weight, tasks

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
        made = self.keep("fake", "generator", lambda: self.net("generator")(self.latent, self.fake_label))
        return self.probe("fake", made)

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        return self.judge(self.real, self.real_label, "real")

    @cached_property
    def fake_output(self) -> DiscriminatorOutput:
        return self.judge(self.fake, self.fake_label, "fake")

    @property
    def real_logits(self) -> Tensor:
        return self.real_output.logits

    @property
    def fake_logits(self) -> Tensor:
        return self.fake_output.logits

    def judge(self, sample: Tensor, label: Tensor | None, stream: str) -> DiscriminatorOutput:
        """The discriminator on augmented samples, with logits in at least single precision."""
        output = self.net("discriminator")(self.task.augment(self, sample, stream), label)
        output = output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(output)
        low = output.logits.dtype in (torch.bfloat16, torch.float16)
        return output._replace(logits=output.logits.float()) if low else output

    def observe(self) -> Mapping[str, Tensor]:
        """D's mean logits and its accuracies, where this phase trains it on both."""
        if self.phase.player != "discriminator" or not {"real_output", "fake_output"} <= vars(self).keys():
            return {}
        real, fake = self.real_logits.detach(), self.fake_logits.detach()
        return {"real_logits": real, "fake_logits": fake, "real_accuracy": real > 0, "fake_accuracy": fake < 0}


@tasks.register("generation")
class Generation:
    """The game of Goodfellow et al. (2014): D moves `n_critic` times, then G once.

    Raises ValueError where the generator has no `latent_dim`, or the networks do not fit the data or each other.
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
    ) -> None:
        generator, discriminator = make_generator(), make_discriminator()
        self.nets = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
        if not isinstance(getattr(generator, "latent_dim", None), int):
            raise ValueError(f"{type(generator).__name__} needs an attribute latent_dim: how many numbers it takes")
        self.latent_dim: int = generator.latent_dim  # type: ignore[assignment]
        self.augment, self.sample_shape, self.num_classes = augment, tuple(sample_shape), num_classes
        self.n_critic, self.discriminator_weight = n_critic, discriminator_weight
        self._check_shapes()

    def _check_shapes(self) -> None:
        """Two samples through both networks, so that a misfit is a message and not a traceback from a layer."""
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
        logits = output.logits if isinstance(output, DiscriminatorOutput) else output
        if logits.dim() < 1 or logits.shape[0] != 2:
            raise ValueError(
                f"{type(discriminator).__name__} returns logits of shape {tuple(logits.shape)} for 2 samples; "
                "wanted are [B] or a map [B, ...]"
            )

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        discriminator = AdversarialTerm(loss.discriminator, self.discriminator_weight)
        main = [
            Phase("discriminator", "discriminator", {"adversarial": discriminator}, repeat=self.n_critic),
            Phase("generator", "generator", {"adversarial": AdversarialTerm(loss.generator)}),
        ]
        return regularized(main, regularizers)

    @torch.no_grad()
    def sample(self, nets: nn.ModuleDict, num: int, seed: int, *, label: Tensor | None = None) -> Tensor:
        """Samples [num, ...] on the CPU from `nets` (the averaged ones, say), in the mode that they are in.

        The latents are drawn on the CPU, so a seed means the same pictures on every device.
        """
        generator = nets["generator"]
        device = next(generator.parameters()).device
        samples = []
        for start in range(0, num, CHUNK):
            random = torch.Generator().manual_seed(key("sample", seed, start))
            z = torch.randn(CHUNK, self.latent_dim, generator=random).to(device)
            chosen: Tensor | None = None
            if self.num_classes:
                chosen = torch.randint(self.num_classes, (CHUNK,), generator=random)
                if label is not None:
                    chosen[: len(label[start : start + CHUNK])] = label[start : start + CHUNK]
                chosen = chosen.to(device)
            samples.append(generator(z, chosen).float().cpu())
        return torch.cat(samples)[:num]
