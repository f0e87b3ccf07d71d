"""Paired translation: a generator that turns a source into its target, a discriminator that judges both together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Data, Phase, Term, per_sample, regularized
from gan_lab.datasets.store import unscale
from gan_lab.degradations import Degradation
from gan_lab.display.pictures import Sheet, beside
from gan_lab.generators.sources import enlarged, enlargement, shown
from gan_lab.registry import NonNegative, Weight, tasks
from gan_lab.tasks.contract import (
    CHUNK,
    Example,
    Parts,
    RowDraws,
    Task,
    chosen_rows,
    device_of,
    picture_values,
    tried_out,
)
from gan_lab.tasks.judged import JudgedPass, check_needs, offered
from gan_lab.tasks.perceptual import PerceptualDistance


class TranslationPass(JudgedPass):
    """The target is real, the generator's output fake; the discriminator sees the source beside either."""

    task: Translation

    @property
    def shared(self) -> tuple[str, ...]:  # type: ignore[override]
        """What a degradation draws is drawn alike in all phases of a step while fakes are reused."""
        return self.task.degradation.streams if self.task.degradation else ()

    @cached_property
    def target(self) -> Tensor:
        return self.data(self.task.reference)

    @cached_property
    def source(self) -> Tensor:
        degradation = self.task.degradation
        return self.data("source") if degradation is None else degradation(self.target, self.draw)

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.target)

    @cached_property
    def fake(self) -> Tensor:
        made = self.keep(
            "fake", "generator", lambda: self.task.finished(self.net("generator")(self.source), self.source)
        )
        return self.probe("fake", made)

    @cached_property
    def condition(self) -> Tensor:
        """The source in the target's size."""
        return enlarged(self.source, self.task.factor)

    def with_condition(self, sample: Tensor) -> Tensor:
        return torch.cat([self.condition, sample], dim=1) if self.task.condition_discriminator else sample


class Distance:
    """The mean distance of output and target, [B]: absolute (Isola et al. 2017, arXiv 1611.07004, eq. 3) or squared."""

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, squared: bool) -> None:
        self.weight, self.squared = weight, squared

    def __call__(self, forward: Any) -> Tensor:
        gap = forward.fake.float() - forward.target
        return per_sample(gap.square() if self.squared else gap.abs())


class Likeness:
    """The distance of what output and target are known by, [B]: a frozen network's features, or the discriminator's.

    Of the latter, the mean absolute difference of each map, summed over the maps that D returns (feature matching of
    pairs: Wang et al. 2018, arXiv 1711.11585, eq. 4).
    """

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, network: PerceptualDistance | None) -> None:
        self.weight, self.network = weight, network

    def __call__(self, forward: Any) -> Tensor:
        if self.network is not None:
            return self.network(forward.fake, forward.target)
        pairs = zip(forward.real_output.features, forward.fake_output.features, strict=True)
        return torch.stack([per_sample((a.detach().float() - b.float()).abs()) for a, b in pairs]).sum(0)


@tasks.register("translation")
class Translation(Task):
    """pix2pix (Isola et al. 2017, arXiv 1611.07004): G's output is near the target, and D cannot tell it from targets.

    Sources are made from the data's pictures by a `degradation`, or come with the data as pairs (columns `source` and
    `target`). G minimizes  adversarial + pixel_weight * distance  (eq. 4); D's objective is halved, as in section 3.3.
    `perceptual` adds  perceptual_weight * likeness  to that, as WGAN-VGG does (Yang et al. 2018, arXiv 1708.00961): by
    AlexNet's features (LPIPS), a shipped classifier's, or the discriminator's own.
    In the first `pixel_images` images G minimizes the distance alone, and D rests: SRResNet before SRGAN (Ledig et al.
    2017, arXiv 1609.04802, section 3.2). D judges source and picture together unless `condition_discriminator` is
    false. Raises ValueError for data without pairs, and for networks that do not fit them or each other.
    """

    players: Mapping[str, tuple[str, ...]] = {"generator": ("generator",), "discriminator": ("discriminator",)}
    averaged = ("generator",)
    forward_pass = TranslationPass
    measures = (
        "psnr", "ssim", "psnr_y", "lpips", "sharpness", "psnr_bar", "ssim_bar", "psnr_y_bar", "sharpness_bar", "fd",
    )  # fmt: skip
    columns = frozenset({"sample", "source", "target", "bar"})
    needs_data = deterministic = translates = True

    def __init__(
        self,
        parts: Parts,
        sample_shape: tuple[int, ...],
        *,
        pixel_weight: Weight = 100.0,
        pixel_loss: Literal["l1", "l2"] = "l1",
        pixel_images: NonNegative = 0,
        condition_discriminator: bool = True,
        discriminator_weight: Weight = 0.5,
        perceptual: Literal["lpips", "mnist5k", "fashion_mnist", "discriminator"] | None = None,
        perceptual_weight: Weight = 1.0,
    ) -> None:
        pictures = parts.columns.get("sample")
        self.degradation: Degradation | None = parts.degradation(pictures=pictures) if "degradation" in parts else None
        target_shape, self.input_shape = self._shapes(parts)
        sizes = picture_values(target_shape)
        self.factor = enlargement(self.input_shape, sizes["image_size"])
        self.condition_discriminator = condition_discriminator
        self.pixel_weight, self.squared, self.discriminator_weight = (
            pixel_weight,
            pixel_loss == "l2",
            discriminator_weight,
        )
        self.selects_from = self.pixel_images = pixel_images
        self.augment = parts.augment()
        channels = target_shape[0] + (self.input_shape[0] if condition_discriminator else 0)
        seen = (channels, *target_shape[1:])
        self.nets = nn.ModuleDict(
            {
                "generator": parts.generator(
                    takes=["input_shape"], input_shape=self.input_shape, num_classes=None, **sizes
                ),
                "discriminator": parts.discriminator(sample_shape=seen, num_classes=None, **picture_values(seen)),
            }
        )
        self.conditional = False  # no network looks at labels
        self.judges_rows = judges_rows(self.nets["discriminator"])
        self.offers = self._try_out(target_shape, seen)
        self.likeness: Likeness | None = None
        if perceptual == "discriminator" and "features" not in self.offers:
            raise ValueError(
                f"task.perceptual=discriminator: {type(self.nets['discriminator']).__name__} returns no features; "
                "choose discriminator=patchgan, or task.perceptual=null"
            )
        if perceptual is not None:
            network = None if perceptual == "discriminator" else PerceptualDistance(perceptual, target_shape)
            self.likeness = Likeness(perceptual_weight, network)

    def _shapes(self, parts: Parts) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """The target's and the source's. Notes which column is the target, and what sources are made by."""
        columns = {name: column for name, column in parts.columns.items() if column.kind == "picture"}
        if {"source", "target"} <= columns.keys():
            if self.degradation is not None:
                raise ValueError("degradation=...: this data set has sources of its own; leave the degradation out")
            self.reference = "target"
            return columns["target"].shape, columns["source"].shape
        if "sample" not in columns:
            known = ", ".join(parts.columns)
            raise ValueError(f"task=translation wants pictures; choose another data set: this one's are {known}")
        if self.degradation is None:
            raise ValueError(
                "task=translation wants pairs: choose degradation=super_resolution, denoising or inpainting, to make "
                "sources of this data set's pictures, or dataset=pairs with folders of your own"
            )
        self.conditions = self.degradation.label
        shape = columns["sample"].shape
        return shape, self.degradation.input_shape(shape)

    def _try_out(self, target_shape: tuple[int, ...], seen: tuple[int, ...]) -> set[str]:
        """Two rows through both networks. Returns what D's output has besides logits."""
        generator, discriminator = self.nets["generator"], self.nets["discriminator"]
        device = device_of(self.nets)
        made = tried_out("the generator", generator, torch.zeros(2, *self.input_shape, device=device))
        if tuple(made.shape[1:]) != tuple(target_shape):
            raise ValueError(
                f"{type(generator).__name__} makes pictures of shape {tuple(made.shape[1:])} of sources "
                f"{self.input_shape}; the targets are {target_shape}"
            )
        judged = tried_out("the discriminator", discriminator, torch.zeros(2, *seen, device=device), None)
        return offered(discriminator, judged)

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """The pixel stage, if there is one, and the game. Regularizers belong to the game."""
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        start = self.pixel_images
        judge: dict[str, Term] = {"adversarial": AdversarialTerm(loss.discriminator, self.discriminator_weight)}
        translate: dict[str, Term] = {
            "adversarial": AdversarialTerm(loss.generator),
            "pixel": Distance(self.pixel_weight, self.squared),
        }
        if self.likeness is not None:
            translate["perceptual"] = self.likeness
        game = [
            Phase("discriminator", "discriminator", judge, start=start),
            Phase("generator", "generator", translate, start=start),
        ]
        alone = Phase("pixels", "generator", {"pixel": Distance(1.0, self.squared)}, stop=start) if start else None
        return [*([alone] if alone else []), *regularized(game, regularizers)]

    def finished(self, output: Tensor, source: Tensor) -> Tensor:
        """The generator's output with what the source already knows put in place."""
        return output if self.degradation is None else self.degradation.finish(output, source)

    # -- examples --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """`source`, `sample` (the generator's output) and `target`, of rows of the data, each once."""
        assert data is not None
        for rows in chosen_rows(len(data), num, seed):
            target = data.fetch(self.reference, rows, "cpu")
            if self.degradation is None:
                source = data.fetch("source", rows, "cpu")
            else:
                source = self.degradation(target, RowDraws(rows, seed))
            yield {"source": source, "sample": self.translate(nets, source), "target": target}

    @torch.no_grad()
    def translate(self, nets: nn.ModuleDict, source: Tensor) -> Tensor:
        """Outputs [B, C, factor h, factor w] on the CPU for sources [B, C', h, w] of any size, by nets as they are."""
        source = source.to(device_of(nets))
        made: Tensor = self.finished(nets["generator"](source), source)
        return made.float().cpu()

    def source_of(self, picture: Tensor, alpha: Tensor | None) -> Tensor:
        """The source of a user's own file. Raises ValueError where it lacks what a source needs."""
        if self.degradation is not None:
            return self.degradation.source_of(picture, alpha)
        return picture

    def bar(self, columns: Mapping[str, Tensor]) -> tuple[str, Tensor]:
        """The degradation's trivial solution; of pairs, the source itself, enlarged where it is smaller."""
        source, target = columns["source"], columns["target"]
        if self.degradation is not None:
            return self.degradation.bar, torch.cat([self.degradation.solve(part) for part in source.split(CHUNK)])
        solved = enlarged(source, self.factor).clamp(-1, 1)
        return "input" if self.factor == 1 else "bicubic", _as_picture(solved, target.shape[1])

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """Rows of input, output and truth."""
        channels = 3 if examples["target"].shape[1] >= 3 else 1
        rows = [_as_picture(examples[name], channels) for name in ("source", "sample", "target")]
        rows[0] = interpolate(rows[0], scale_factor=self.factor, mode="nearest")
        return Sheet(beside(*(unscale(pictures).numpy() for pictures in rows)), "from the left: input, output, truth")


def _as_picture(bands: Tensor, channels: int) -> Tensor:
    """Pictures [B, C, H, W] of any number of bands as `channels` channels; of too few, the first one is repeated."""
    return shown(bands if bands.shape[1] >= channels else bands[:, :1], channels)
