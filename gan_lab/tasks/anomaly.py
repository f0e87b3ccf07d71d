"""Anomaly detection: networks that learn normal pictures alone, and a score for how far another one is from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

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
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import Sheet, beside, heat
from gan_lab.registry import Positive, Weight, tasks
from gan_lab.tasks.contract import Example, Exported, Parts, Task, chosen_rows, device_of, picture_values, tried_out
from gan_lab.tasks.judged import JudgedPass, check_needs, offered
from gan_lab.tasks.typical import Typical


class DetectionPass(JudgedPass):
    """Normal pictures are real; what the generator makes is fake."""

    task: Detection

    @cached_property
    def picture(self) -> Tensor:
        return self.data("sample")

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.picture)

    @cached_property
    def reconstruction(self) -> Tensor:
        raise AssertionError("a detector says what it makes of a picture")

    @cached_property
    def vector(self) -> Tensor:
        """What `Typical` knows a picture by, [B, D]."""
        raise AssertionError("a detector says what it knows a picture by")

    @property
    def error(self) -> Tensor:
        return self.reconstruction.float() - self.picture


class Gap:
    """A distance [B] between two tensors of the pass: their mean squared or absolute difference."""

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, first: str, second: str, distance: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.weight, self.first, self.second, self.distance = weight, first, second, distance

    def __call__(self, forward: Any) -> Tensor:
        return self.distance(getattr(forward, self.first), getattr(forward, self.second))


def squared(x: Tensor, y: Tensor) -> Tensor:
    """The mean squared difference of each row, [B]."""
    return per_sample((x.float() - y.float()).square())


def absolute(x: Tensor, y: Tensor) -> Tensor:
    """The mean absolute difference of each row, [B]."""
    return per_sample((x.float() - y.float()).abs())


Score = Literal["paper", "energy"]
RESIDUALS = frozenset({"paper", "energy", "image", "feature"})


class Detection(Task):
    """What all detectors share. A subclass makes `nets` and `typical`, and says `residuals` and `phases`.

    Columns of examples: pictures as `sample`, what the networks make of them as `remade`, the `score`, `map`
    [n, H, W] of absolute differences, the residuals by name, and `anomaly` (0 normal, 1 not) where the data know it.
    The score is one of the residuals: the `paper`'s, or the `energy` of `typical.Typical`.
    """

    typical: Typical
    score: Score

    needs_data = deterministic = detects = True
    conditional = False  # no network looks at labels
    forward_pass: type[DetectionPass] = DetectionPass
    measures = (
        "normal_score", "auroc", "average_precision", "pixel_auroc", "paper_auroc", "energy_auroc", "image_auroc",
        "feature_auroc", "neighbour_bar", "pca_bar",
    )  # fmt: skip

    def _check_data(self, parts: Parts) -> tuple[int, int, int]:
        """The shape of the pictures. Notes which columns the examples have."""
        column = parts.columns.get("sample")
        if column is None or column.kind != "picture":
            raise ValueError("this task wants pictures, in a column sample; choose another data set")
        self.known = frozenset(parts.columns) & {"anomaly", "mask"}
        self.columns = self.known | RESIDUALS | {"sample", "remade", "score", "map"}
        shape: tuple[int, int, int] = column.shape
        return shape

    def _encoder(self, parts: Parts, shape: tuple[int, int, int], latent_dim: int) -> nn.Module:
        """An encoder of pictures to vectors: the mean of its map over places."""
        encoder: nn.Module = parts.encoder(takes=["code_channels"], code_channels=latent_dim)
        code = tried_out("the encoder", encoder, torch.zeros(2, *shape, device=next(encoder.parameters()).device))
        if code.dim() != 4 or code.shape[1] != latent_dim:
            raise ValueError(
                f"{type(encoder).__name__} makes codes of shape {tuple(code.shape[1:])}; wanted are {latent_dim} "
                "channels, as many as the generator takes"
            )
        return encoder

    def _judge(self, discriminator: nn.Module, shape: tuple[int, int, int]) -> int:
        """The number of the discriminator's features; notes what it offers. Raises ValueError where that is none."""
        blank = torch.zeros(2, *shape, device=next(discriminator.parameters()).device)
        output = tried_out("the discriminator", discriminator, blank, None)
        self.offers = offered(discriminator, output)
        if "features" not in self.offers:
            raise ValueError(
                f"{type(discriminator).__name__} returns no features, which this task compares; choose "
                "discriminator=dcgan, or see DiscriminatorOutput"
            )
        self.judges_rows = judges_rows(discriminator)
        return features_of(output).shape[1]

    def residuals(self, nets: nn.ModuleDict, pictures: Tensor) -> Example:
        """`remade`, `vector`, and `paper`, `image` and `feature` [B] for pictures on the networks' device."""
        raise NotImplementedError(f"{type(self).__name__} says no residuals")

    @torch.no_grad()
    def detect(self, nets: nn.ModuleDict, pictures: Tensor) -> Example:
        """The residuals of pictures [B, C, H, W] in [-1, 1], with their `map`, on the CPU."""
        pictures = pictures.to(device_of(nets))
        found = self.residuals(nets, pictures)
        error = found["remade"].float() - pictures
        found["energy"] = self.typical.energy(found.pop("vector"), error)
        found |= {"score": found[self.score], "map": error.abs().mean(1)}
        return {name: column.float().cpu() for name, column in found.items()}

    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """Each row once, in a random order."""
        assert data is not None
        for rows in chosen_rows(len(data), num, seed):
            pictures = data.fetch("sample", rows, "cpu")
            known = {name: data.fetch(name, rows, "cpu") for name in self.known if name in data}
            yield {"sample": pictures, **self.detect(nets, pictures), **known}

    def exported(self, nets: nn.ModuleDict, data: Data | None, direction: str | None = None) -> Exported:
        """From pictures to scores and maps."""
        self.typical.fix()
        return super().exported(nets, data, direction)

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """Rows of a picture, what it becomes, and their difference: the most normal ones first."""
        order = examples["score"].argsort()
        pictures, remade = (unscale(examples[name][order]).numpy() for name in ("sample", "remade"))
        difference = heat(examples["map"][order]).repeat(pictures.shape[3], axis=3)
        return Sheet(
            beside(pictures, remade, difference),
            "from the left: picture, reconstruction, difference; normal ones first",
        )


def vector_size(generator: nn.Module, shape: tuple[int, ...]) -> int:
    """How many numbers a generator takes. Raises ValueError for one that takes no vector, or makes other pictures."""
    size = getattr(generator, "latent_dim", None)
    if not isinstance(size, int):
        raise ValueError(f"{type(generator).__name__} takes no vector (latent_dim); choose generator=dcgan")
    z = torch.zeros(2, size, device=next(generator.parameters()).device)
    made = tuple(tried_out("the generator", generator, z, None).shape[1:])
    if made != tuple(shape):
        raise ValueError(f"{type(generator).__name__} makes {made}; the data's pictures are {tuple(shape)}")
    return size


def features_of(output: Any) -> Tensor:
    """The last features that a discriminator returns, [B, D]: of a map, the means over places."""
    assert isinstance(output, DiscriminatorOutput)
    features = output.features[-1]
    return features.flatten(2).mean(2) if features.dim() > 2 else features


class FAnoGANPass(DetectionPass):
    task: FAnoGAN

    @cached_property
    def latent(self) -> Tensor:
        return self.draw("latent", self.task.latent_dim)

    @cached_property
    def fake(self) -> Tensor:
        return self.probe("fake", self.keep("fake", "generator", lambda: self.net("generator")(self.latent, None)))

    @cached_property
    def reconstruction(self) -> Tensor:
        code = self.net("encoder")(self.picture).mean((2, 3))
        made: Tensor = self.net("generator")(code, None)
        return made

    @cached_property
    def features(self) -> Tensor:
        return features_of(self.net("discriminator")(self.picture, None))

    @property
    def vector(self) -> Tensor:
        return self.features

    @cached_property
    def reconstruction_features(self) -> Tensor:
        return features_of(self.net("discriminator")(self.reconstruction, None))


@tasks.register("fanogan")
class FAnoGAN(Detection):
    """f-AnoGAN (Schlegl et al. 2019, doi 10.1016/j.media.2019.01.010): a GAN of normal pictures, then its encoder.

    For `gan_images` images D moves `n_critic` times and G once, with any loss; the paper has WGAN-GP's. Then both rest,
    and an encoder E learns to minimize, by pictures x,
        |x - G(E(x))|^2 / n + kappa |f(x) - f(G(E(x)))|^2 / n_d  (eq. 5, izi_f),
    with f the discriminator's features. The same expression is a picture's score (eq. 6); with `score=energy` it is
    that of `typical.Typical`, by f(x) and the pixels' errors. Raises ValueError where G takes no vector, D returns no
    features, the encoder's code does not fit, or the run ends before the encoder begins.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("generator",), "discriminator": ("discriminator",), "encoder": ("encoder",)
    }  # fmt: skip
    averaged = ("encoder",)
    forward_pass = FAnoGANPass

    def __init__(
        self,
        parts: Parts,
        *,
        gan_images: Positive = 64_000,
        n_critic: Positive = 1,
        kappa: Weight = 1.0,
        score: Score = "paper",
    ) -> None:
        shape = self._check_data(parts)
        self.gan_images = self.selects_from = gan_images
        self.n_critic, self.kappa, self.score = n_critic, kappa, score
        self.conditions = f"kappa={kappa}, score={score}"
        self.augment = parts.augment()
        values = {"num_classes": None, **picture_values(shape)}
        generator, discriminator = parts.generator(**values), parts.discriminator(sample_shape=shape, **values)
        self.latent_dim = vector_size(generator, shape)
        self.nets = nn.ModuleDict(
            {
                "generator": generator,
                "discriminator": discriminator,
                "encoder": self._encoder(parts, shape, self.latent_dim),
            }
        )
        self.typical = Typical(self._judge(discriminator, shape), shape)
        self.offers |= {"latent"}

    def check_duration(self, images: int) -> None:
        if self.gan_images >= images:
            raise ValueError(
                f"task.gan_images={self.gan_images}: the encoder would begin after the end, trainer.images={images}; "
                "lower it, or train longer"
            )

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        judge: dict[str, Term] = {"adversarial": AdversarialTerm(loss.discriminator)}
        game = [
            Phase("discriminator", "discriminator", judge, repeat=self.n_critic),
            Phase("generator", "generator", {"adversarial": AdversarialTerm(loss.generator)}),
        ]
        encode: dict[str, Term] = {"image": Gap(1.0, "picture", "reconstruction", squared)}
        if self.kappa:
            encode["feature"] = Gap(self.kappa, "features", "reconstruction_features", squared)
        first = [replace(phase, stop=self.gan_images) for phase in regularized(game, regularizers)]
        return [*first, Phase("encoder", "encoder", encode, start=self.gan_images, after=(self.typical.after_step,))]

    def residuals(self, nets: nn.ModuleDict, pictures: Tensor) -> Example:
        """`image` and `feature` [B], whose weighted sum is the `paper`'s score."""
        made = nets["generator"](nets["encoder"](pictures).mean((2, 3)), None)
        image = squared(pictures, made)
        features = [features_of(nets["discriminator"](x, None)) for x in (pictures, made)]
        feature = squared(*features)
        return {
            "remade": made, "vector": features[0], "paper": image + self.kappa * feature, "image": image,
            "feature": feature,
        }  # fmt: skip
