"""Segmentation: a network that says of each pixel what it shows, and a discriminator that knows how masks look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Data, Phase, Term, regularized
from gan_lab.datasets.masks import DOMAIN as UNLABELLED
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import Sheet, beside
from gan_lab.registry import NonNegative, Weight, tasks
from gan_lab.tasks.contract import Example, Parts, Task, chosen_rows, device_of, picture_values, tried_out
from gan_lab.tasks.judged import check_needs, offered
from gan_lab.tasks.segmenting import CrossEntropy, OfUnlabelled, SegmentationPass, SelfTraining, SoftDice

Symmetry = Literal["none", "mirror", "all"]
RED, BLUE, YELLOW = (230.0, 60.0, 40.0), (60.0, 120.0, 255.0), (240.0, 200.0, 40.0)


@tasks.register("segmentation")
class Segmentation(Task):
    """A segmenter with an adversary (Luc et al. 2016, arXiv 1611.08408): D judges pictures with masks beside them.

    The generator is any that makes pictures of pictures: of its map in [-1, 1] the classes' probabilities are made. It
    minimizes  dice_weight * (1 - Dice) + cross_entropy_weight * cross-entropy + adversarial_weight * adversarial,  for
    `supervised_images` images without the last term, while D rests.

    Of data with pictures whose masks are not known (`dataset.labelled` below 1), the game adds two terms of those (Hung
    et al. 2018, arXiv 1802.07934, eq. 2): the adversarial one, with `unlabelled_weight`, and cross-entropy to the
    generator's own decision where D takes it for a mask, with `self_training_weight`. D learns from the others alone.

    `symmetry` mirrors pictures and masks at random: left to right (`mirror`), or in all ways that a square has (`all`).
    Raises ValueError for data without masks, and for networks that do not fit them.
    """

    players: Mapping[str, tuple[str, ...]] = {"generator": ("generator",), "discriminator": ("discriminator",)}
    averaged = ("generator",)
    forward_pass = SegmentationPass
    measures = ("dice", "hausdorff95", "sensitivity", "window_bar", "nearest_mask_bar")
    columns = frozenset({"sample", "mask", "found", "pixel"})
    directions: ClassVar[Mapping[str, tuple[str, str]]] = {"mask": ("sample", "mask")}
    needs_data = deterministic = translates = True
    conditional = False  # no network looks at labels

    def __init__(
        self,
        parts: Parts,
        *,
        dice_weight: Weight = 1.0,
        cross_entropy_weight: Weight = 1.0,
        adversarial_weight: Weight = 0.01,
        unlabelled_weight: Weight = 0.01,
        self_training_weight: Weight = 0.1,
        supervised_images: NonNegative = 0,
        symmetry: Symmetry = "mirror",
    ) -> None:
        picture, mask = (parts.columns.get(name) for name in ("sample", "mask"))
        if picture is None or mask is None or picture.kind != "picture" or mask.kind != "mask":
            raise ValueError(
                "task=segmentation wants pictures with masks; choose dataset=nuclei, colin27, masked_folder or volumes"
            )
        if dice_weight == cross_entropy_weight == 0:
            raise ValueError("task.dice_weight=0 and task.cross_entropy_weight=0: one of them must say what is right")
        self.classes: int = mask.num_classes
        self.pixel = picture.spacing or (1.0, 1.0)
        self.has_unlabelled = UNLABELLED in parts.columns
        terms: dict[str, Term] = {"dice": SoftDice(dice_weight), "cross_entropy": CrossEntropy(cross_entropy_weight)}
        self.supervised = {name: term for name, term in terms.items() if term.weight}
        self.weights = adversarial_weight, unlabelled_weight, self_training_weight
        self.selects_from = self.supervised_images = supervised_images
        self.symmetry = symmetry
        channels, height, width = picture.shape
        if symmetry == "all" and height != width:
            raise ValueError(f"task.symmetry=all turns pictures, and {height} x {width} is no square; choose mirror")
        self.augment = parts.augment()
        made = (1 if self.classes == 2 else self.classes, height, width)
        seen = (channels + made[0], height, width)
        self.nets = nn.ModuleDict(
            {
                "generator": parts.generator(
                    takes=["input_shape"], input_shape=picture.shape, num_classes=None, **picture_values(made)
                ),
                "discriminator": parts.discriminator(sample_shape=seen, num_classes=None, **picture_values(seen)),
            }
        )
        self.judges_rows = judges_rows(self.nets["discriminator"])
        self.offers = self._try_out(picture.shape, made, seen)

    def _try_out(self, given: tuple[int, ...], wanted: tuple[int, ...], seen: tuple[int, ...]) -> set[str]:
        """Two rows through both networks. Returns what D's output has besides logits."""
        generator, discriminator = self.nets["generator"], self.nets["discriminator"]
        device = device_of(self.nets)
        made = tried_out("the generator", generator, torch.zeros(2, *given, device=device))
        if tuple(made.shape[1:]) != wanted:
            raise ValueError(
                f"{type(generator).__name__} makes maps of shape {tuple(made.shape[1:])} of pictures {tuple(given)}; "
                f"the masks' are {wanted}"
            )
        judged = tried_out("the discriminator", discriminator, torch.zeros(2, *seen, device=device), None)
        return offered(discriminator, judged)

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """The supervised stage, if there is one, and the game."""
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        labelled, unlabelled, own = self.weights
        segment: dict[str, Term] = {**self.supervised}
        if labelled:
            segment["adversarial"] = AdversarialTerm(loss.generator, labelled)
        if self.has_unlabelled and unlabelled:
            segment["unlabelled"] = OfUnlabelled(AdversarialTerm(loss.generator, unlabelled))
        if self.has_unlabelled and own:
            if self.boundary is None:
                raise ValueError(
                    "task.self_training_weight trusts what D takes for a mask, and no logit of this loss says that; "
                    "set it to 0, or choose loss=non_saturating"
                )
            segment["self_training"] = OfUnlabelled(SelfTraining(own))
        start = self.supervised_images
        game = [
            Phase("discriminator", "discriminator", {"adversarial": AdversarialTerm(loss.discriminator)}, start=start),
            Phase("generator", "generator", segment, start=start),
        ]
        alone = [Phase("supervised", "generator", {**self.supervised}, stop=start)] if start else []
        return [*alone, *regularized(game, regularizers)]

    def turned(self, pictures: Tensor, chance: Tensor) -> Tensor:
        """Pictures [B, C, H, W], each in the way that its row [B, 3] of uniform numbers says."""
        if self.symmetry == "none":
            return pictures
        flips = [(chance[:, 0], lambda x: x.flip(3))]
        if self.symmetry == "all":
            flips += [(chance[:, 1], lambda x: x.flip(2)), (chance[:, 2], lambda x: x.transpose(2, 3))]
        for draw, flip in flips:
            pictures = torch.where(draw[:, None, None, None] < 0.5, flip(pictures), pictures)
        return pictures

    # -- examples --------------------------------------------------------------------------------------------------

    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """`sample`, its true `mask` and the one `found`, [n, H, W], of rows of the data, each once.

        `pixel` [n, 2] is a pixel's height and width in mm, 1 where that is not known.
        """
        assert data is not None
        for rows in chosen_rows(len(data), num, seed):
            pictures = data.fetch("sample", rows, "cpu")
            found = self.decided(self.translate(nets, pictures))
            pixel = torch.tensor([self.pixel]).expand(len(rows), 2)
            yield {"sample": pictures, "mask": data.fetch("mask", rows, "cpu"), "found": found, "pixel": pixel}

    @torch.no_grad()
    def translate(self, nets: nn.ModuleDict, source: Tensor, direction: str = "mask") -> Tensor:
        """Maps in [-1, 1] on the CPU, [B, 1 or K, h, w], for pictures [B, C, h, w] of any size."""
        made: Tensor = nets["generator"](source.to(device_of(nets)))
        return made.float().cpu()

    def decided(self, made: Tensor) -> Tensor:
        """The most probable class of each pixel, int64 [B, H, W], of maps [B, 1 or K, H, W]."""
        return (made[:, 0] > 0).long() if self.classes == 2 else made.argmax(1)

    def in_file(self, output: Tensor) -> Tensor:
        """Masks as `gan-lab apply` writes them, in [-1, 1]: of two classes black and white, of more, their numbers."""
        found = self.decided(output)[:, None].float()
        return found * 2 - 1 if self.classes == 2 else found / 127.5 - 1

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """Rows of a picture, its true mask, and where the one that was found differs from it."""
        picture = unscale(examples["sample"].clamp(-1, 1)).numpy()
        picture = picture.repeat(3, axis=3) if picture.shape[3] != 3 else picture
        mask, found = examples["mask"], examples["found"]
        grey = 255 * mask / (self.classes - 1)
        truth = grey[..., None].expand(-1, -1, -1, 3).clone()
        answer = truth * 0.6
        answer[(mask == 0) & (found != 0)] = torch.tensor(RED)
        answer[(mask != 0) & (found == 0)] = torch.tensor(BLUE)
        answer[(mask != found) & (mask != 0) & (found != 0)] = torch.tensor(YELLOW)
        rows = (picture, *(x.round().to(torch.uint8).numpy() for x in (truth, answer)))
        return Sheet(beside(*rows), "from the left: picture, truth, and what differs: red too much, blue missed")
