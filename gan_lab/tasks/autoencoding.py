"""Autoencoding: an encoder, a bottleneck and a decoder make pictures again, and a discriminator judges them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.bottlenecks import Bottleneck, Code
from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Data, Phase, Term, regularized
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import Sheet, beside
from gan_lab.registry import NonNegative, Weight, tasks
from gan_lab.tasks.contract import (
    CHUNK,
    Example,
    Exported,
    Parts,
    Signals,
    Task,
    chosen_rows,
    device_of,
    picture_values,
    tried_out,
)
from gan_lab.tasks.judged import check_needs, offered
from gan_lab.tasks.perceptual import Perceptual, PerceptualDistance
from gan_lab.tasks.reconstruction import Adversarial, AutoencodingPass, Error, Penalty
from gan_lab.tasks.switch import Switch


@tasks.register("autoencoding")
class Autoencoding(Task):
    """VQGAN's game (Esser et al. 2021, arXiv 2012.09841, section 3.1), with any bottleneck: `vq`, `fsq` or `kl`.

    The player `generator` (encoder, bottleneck, decoder) minimizes
        pixel_weight |x - x'| + perceptual_weight d(x, x') + penalty + adversarial_weight lambda L_adv(x'),
    with lambda of eq. 7 (`adaptive_weight`) or 1. The decoder is any generator that takes an `input_shape`.

    D begins at `discriminator_start` images. For `head_start` images more it learns alone: an untrained D has short and
    meaningless gradients, which lambda would stretch to the length of the errors'. `adversarial_weight=0` leaves the
    game out. Raises ValueError for data that are no pictures, parts that do not fit each other, and a start after the
    end of the run.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("encoder", "bottleneck", "decoder"),
        "discriminator": ("discriminator",),
    }
    averaged = ("encoder", "bottleneck", "decoder")
    forward_pass = AutoencodingPass
    measures = ("fd", "fd_test", "psnr", "ssim", "lpips", "sharpness", "bits", "codebook_use", "perplexity")
    needs_data = deterministic = True

    def __init__(
        self,
        parts: Parts,
        sample_shape: tuple[int, ...],
        *,
        pixel_weight: Weight = 1.0,
        perceptual: Perceptual | None = None,
        perceptual_weight: Weight = 1.0,
        adversarial_weight: Weight = 0.8,
        adaptive_weight: bool = True,
        discriminator_weight: Weight = 1.0,
        discriminator_start: NonNegative = 0,
        head_start: NonNegative = 0,
    ) -> None:
        if len(sample_shape) != 3:
            raise ValueError("task=autoencoding wants pictures; choose another data set")
        self.sample_shape = tuple(sample_shape)
        self.adversarial_weight, self.adaptive, self.discriminator_weight = (
            adversarial_weight,
            adaptive_weight,
            discriminator_weight,
        )
        self.discriminator_start, self.game_start = discriminator_start, discriminator_start + head_start
        self.selects_from = self.game_start if adversarial_weight else 0
        self.augment = parts.augment()
        self.perceptual = None if perceptual is None else PerceptualDistance(perceptual, self.sample_shape)
        self.errors: dict[str, Term] = {"pixel": Error("pixel_error", pixel_weight)}
        if self.perceptual is not None:
            self.errors["perceptual"] = Error("perceptual_error", perceptual_weight)
        self.nets = self._built(parts)
        self.bottleneck: Bottleneck = self.nets["bottleneck"]  # type: ignore[assignment]
        self.columns = frozenset({"sample", "target", "bits"} | ({"codes"} if self.bottleneck.size else set()))
        self.conditional = False  # no network looks at labels
        self.judges_rows = judges_rows(self.nets["discriminator"])
        self.offers = offered(
            self.nets["discriminator"],
            tried_out("the discriminator", self.nets["discriminator"], torch.zeros(2, *self.sample_shape), None),
        )
        self.switch = Switch()
        self.adversarial: Callable[[Any], Tensor]  # the generator's half of the loss: see `phases`

    def _built(self, parts: Parts) -> nn.ModuleDict:
        """The networks, tried out on two rows. Notes the shape of a picture's latent."""
        bottleneck: Bottleneck = parts.bottleneck()
        encoder = parts.encoder(takes=["code_channels"], code_channels=bottleneck.inside)
        encoded = tried_out("the encoder", encoder, torch.zeros(2, *self.sample_shape))
        code: Code = tried_out("the bottleneck", bottleneck, encoded)
        self.latent_shape: tuple[int, int, int] = tuple(code.latent.shape[1:])  # type: ignore[assignment]
        sizes = picture_values(self.sample_shape)
        decoder = parts.generator(takes=["input_shape"], input_shape=self.latent_shape, num_classes=None, **sizes)
        made = tried_out("the decoder", decoder, code.latent)
        if tuple(made.shape[1:]) != self.sample_shape:
            raise ValueError(
                f"{type(decoder).__name__} makes pictures of shape {tuple(made.shape[1:])} of codes "
                f"{self.latent_shape}; the data's are {self.sample_shape}"
            )
        discriminator = parts.discriminator(num_classes=None)
        return nn.ModuleDict(
            {"encoder": encoder, "bottleneck": bottleneck, "decoder": decoder, "discriminator": discriminator}
        )

    @property
    def last_weight(self) -> nn.Parameter:
        """The weight of the decoder's last layer, in the order in which it defines them."""
        return [parameter for parameter in self.nets["decoder"].parameters() if parameter.dim() > 1][-1]

    def check_duration(self, images: int) -> None:
        if self.adversarial_weight and self.game_start >= images:
            head = self.game_start - self.discriminator_start
            after = f" + task.head_start={head}" if head else ""
            raise ValueError(
                f"task.discriminator_start={self.discriminator_start}{after}: the discriminator would be heard after "
                f"the end, trainer.images={images}; lower the start, train longer, or leave the discriminator out: "
                "task.adversarial_weight=0"
            )

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """The errors alone, then the game. Both of the autoencoder's phases have one name, and so one curve."""
        self.boundary = getattr(loss, "boundary", None)
        self.adversarial = loss.generator
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        errors = dict(self.errors)
        if self.bottleneck.penalty:
            errors[self.bottleneck.penalty] = Penalty(self.bottleneck.weight)
        alone = Phase("generator", "generator", errors, after=(self.bottleneck.after_step, self.switch.after_step))
        if not self.adversarial_weight:
            return regularized([alone], regularizers)
        half = Adversarial if self.adaptive else functools.partial(AdversarialTerm, loss.generator)
        terms = {**errors, "adversarial": half(weight=self.adversarial_weight)}
        judge: dict[str, Term] = {"adversarial": AdversarialTerm(loss.discriminator, self.discriminator_weight)}
        game = [
            Phase("discriminator", "discriminator", judge, start=self.discriminator_start),
            replace(alone, terms=terms, start=self.game_start),
        ]
        before = [replace(alone, stop=self.game_start)] if self.game_start else []
        return [*before, *regularized(game, regularizers)]

    # -- examples --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def code(self, nets: nn.ModuleDict, pictures: Tensor) -> Code:
        """The code, without noise, of pictures [B, C, H, W] in [-1, 1] on the networks' device."""
        code: Code = nets["bottleneck"](nets["encoder"](pictures))
        return code

    @torch.no_grad()
    def decode(self, nets: nn.ModuleDict, continuous: Tensor) -> Tensor:
        """Pictures [B, C, H, W] of continuous latents, which the bottleneck first puts where codes can be."""
        bottleneck: Any = nets["bottleneck"]
        return self._decoded(nets, bottleneck.snap(continuous))

    def _decoded(self, nets: nn.ModuleDict, latent: Tensor) -> Tensor:
        pictures: Tensor = nets["decoder"](latent)
        return pictures.float()

    @torch.no_grad()
    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """`target`, `sample` (made again of its code), `bits` and, where there is a codebook, `codes`."""
        assert data is not None
        for rows in chosen_rows(len(data), num, seed):
            target = data.fetch("sample", rows, "cpu")
            code = self.code(nets, target.to(device_of(nets)))
            example = {"sample": self._decoded(nets, code.latent), "target": target, "bits": code.bits}
            if code.indices is not None:
                example["codes"] = code.indices
            yield {name: column.cpu() for name, column in example.items()}

    def exported(self, nets: nn.ModuleDict, data: Data | None, direction: str | None = None) -> Exported:
        """From pictures to their reconstructions."""
        pictures = next(self.examples(nets, CHUNK, 0, data))["target"]
        return Exported(lambda picture: self._decoded(nets, self.code(nets, picture).latent), {"picture": pictures})

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """Rows of a picture and its reconstruction."""
        rows = [unscale(examples[name]).numpy() for name in ("target", "sample")]
        return Sheet(beside(*rows), "from the left: picture, reconstruction")

    def signals(self, train: Data, held_out: Data | None, device: torch.device) -> Signals:
        return lambda playing, averaged: self.switch.signals()
