"""A pass in which a discriminator judges real and fake samples, for losses and regularizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.core.types import DiscriminatorOutput
from gan_lab.registry import discriminators


class JudgedPass(ForwardPass):
    """`real_output`, `fake_output` and their logits, of the net `discriminator` on augmented samples.

    A task subclasses it with cached properties `real` and `fake` [B, ...] and, with classes, their labels [B]. The task
    has `augment`, `judges_rows` (`core.runtime.judges_rows` of its discriminator), `boundary` and `conditional`.
    """

    task: Any

    @cached_property
    def real_label(self) -> Tensor | None:
        return None

    @cached_property
    def fake_label(self) -> Tensor | None:
        return None

    @cached_property
    def real(self) -> Tensor:
        raise AssertionError("a task says what is real")

    @cached_property
    def fake(self) -> Tensor:
        raise AssertionError("a task says what is fake")

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        return self._both[0] if self._together else self.judge(self.real, self._seen_label("real_label"), "real")

    @cached_property
    def fake_output(self) -> DiscriminatorOutput:
        return self._both[1] if self._together else self.judge(self.fake, self._seen_label("fake_label"), "fake")

    @property
    def _augment(self) -> Callable[..., Tensor]:
        """The task's augmentation of what the discriminator sees, if it has one."""
        augment: Callable[..., Tensor] = getattr(self.task, "augment", _unchanged)
        return augment

    def with_condition(self, sample: Tensor) -> Tensor:
        """The discriminator's input for a sample: here the sample alone. A task may add a condition."""
        return sample

    def _seen_label(self, name: str) -> Tensor | None:
        """Labels, or None where no network uses them, so that they need not be drawn."""
        label: Tensor | None = getattr(self, name) if getattr(self.task, "conditional", True) else None
        return label

    @property
    def _together(self) -> bool:
        """Whether D judges real and fake samples in one batch: in its main phase, if it judges rows independently."""
        phase = self.phase
        return (
            phase.player == "discriminator"
            and any(name.startswith("adversarial") for name in phase.terms)
            and not phase.probes
            and getattr(self.task, "judges_rows", False)
            and type(self).judge is JudgedPass.judge  # a task may override `judge`
        )

    @cached_property
    def _both(self) -> list[DiscriminatorOutput]:
        """The outputs for real and fake samples, from one pass."""
        augment = self._augment
        sides = ((self.real, "real"), (self.fake, "fake"))
        samples = torch.cat([augment(self, self.with_condition(x), stream) for x, stream in sides])
        labels = [label for name in ("real_label", "fake_label") if (label := self._seen_label(name)) is not None]
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
        return self._output(self._augment(self, self.with_condition(sample), stream), label)

    def _output(self, seen: Tensor, label: Tensor | None) -> DiscriminatorOutput:
        output = self.net("discriminator")(seen, label)
        output = output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(output)
        low = output.logits.dtype in (torch.bfloat16, torch.float16)
        return output._replace(logits=output.logits.float()) if low else output

    def observe(self) -> Mapping[str, Tensor]:
        """In a phase that trains D on real and fake samples: its logits, and its accuracies if the loss has a boundary.

        Also the accuracy of D's classifier, if it has one, and the probability of an augmentation that adapts.
        """
        if self.phase.player != "discriminator" or not {"real_output", "fake_output"} <= vars(self).keys():
            return {}
        real, fake, boundary = self.real_logits, self.fake_logits, self.task.boundary
        seen: dict[str, Tensor] = {"real_logits": real, "fake_logits": fake}
        if boundary is not None:
            seen |= {"real_accuracy": real > boundary, "fake_accuracy": fake < boundary}
        classes, label = self.real_output.class_logits, self.real_label
        if classes is not None and label is not None:
            seen["class_accuracy"] = classes.detach().argmax(1).eq(label)
        probability = getattr(self._augment, "p", None)
        if isinstance(probability, Tensor):
            seen["augment_p"] = probability.clone()
        return seen


def _rows(output: DiscriminatorOutput, rows: slice) -> DiscriminatorOutput:
    """A part of a discriminator's output: the given rows."""
    classes = output.class_logits
    return DiscriminatorOutput(
        output.logits[rows], None if classes is None else classes[rows], [feature[rows] for feature in output.features]
    )


def _unchanged(forward: ForwardPass, samples: Tensor, stream: str) -> Tensor:
    return samples


def offered(net: nn.Module, output: Any) -> set[str]:
    """The names of what D or its output for two samples has besides logits. Raises ValueError for other logits."""
    output = output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(output)
    if output.logits.dim() < 1 or output.logits.shape[0] != 2:
        raise ValueError(
            f"{type(net).__name__} returns logits of shape {tuple(output.logits.shape)} for 2 samples; "
            "wanted are [B] or a map [B, ...]"
        )
    names = {name for name in ("class_logits", "features") if getattr(output, name) not in (None, ())}
    return names | ({"reconstruction"} if hasattr(net, "reconstruct") else set())


def check_needs(regularizers: Mapping[str, Any], offers: set[str], net: nn.Module) -> None:
    """Raise ValueError where a regularizer needs what the pass and its discriminator do not offer."""
    for name, regularizer in regularizers.items():
        needs: frozenset[str] = getattr(regularizer, "needs", frozenset())
        if "latent" in needs - offers:
            raise ValueError(f"regularizer {name} needs latents, and this task's generator takes none; leave it out")
        if "reconstruction" in needs - offers:
            able = [name for name, cls in discriminators.classes.items() if hasattr(cls, "reconstruct")]
            raise ValueError(
                f"regularizer {name} needs a discriminator that makes pictures again, and {type(net).__name__} has no "
                f"decoders; choose discriminator={' or '.join(able)}"
            )
        if missing := needs - offers:
            raise ValueError(
                f"regularizer {name} needs {' and '.join(sorted(missing))} of the discriminator, and "
                f"{type(net).__name__} returns none: see DiscriminatorOutput"
            )
