"""GANomaly: an autoencoder with an adversary, and a second encoder that must find the same code again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Phase, Term, regularized
from gan_lab.registry import Weight, tasks
from gan_lab.tasks.anomaly import Detection, DetectionPass, Gap, Score, absolute, features_of, squared, vector_size
from gan_lab.tasks.contract import Example, Parts, picture_values
from gan_lab.tasks.judged import check_needs
from gan_lab.tasks.typical import Typical


class GANomalyPass(DetectionPass):
    """The reconstruction is the fake."""

    task: GANomaly

    @cached_property
    def code(self) -> Tensor:
        code: Tensor = self.net("encoder")(self.picture).mean((2, 3))
        return code

    @property
    def vector(self) -> Tensor:
        return self.code

    @cached_property
    def reconstruction(self) -> Tensor:
        return self.keep("fake", "generator", lambda: self.net("decoder")(self.code, None))

    @cached_property
    def fake(self) -> Tensor:
        return self.probe("fake", self.reconstruction)

    @cached_property
    def code_again(self) -> Tensor:
        code: Tensor = self.net("encoder_again")(self.reconstruction).mean((2, 3))
        return code

    @cached_property
    def features(self) -> Tensor:
        return features_of(self.real_output).detach()

    @cached_property
    def reconstruction_features(self) -> Tensor:
        return features_of(self.fake_output)


@tasks.register("ganomaly")
class GANomaly(Detection):
    """GANomaly (Akcay et al. 2018, arXiv 1805.06725): encoder, decoder and a second encoder against a discriminator.

    The player `generator` minimizes  feature_weight |f(x) - f(x')|^2 + image_weight |x - x'| + code_weight
    |E(x) - E'(x')|^2  (eq. 1 to 4, each a mean over its numbers), and `adversarial_weight` times the generator's half
    of the loss, which the paper leaves out. A picture's score is |E(x) - E'(x')| (eq. 5, a mean); with
    `score=energy` it is that of `typical.Typical`, by E(x) and the pixels' errors. The decoder is any generator of
    vectors. Raises ValueError for parts that do not fit.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("encoder", "decoder", "encoder_again"), "discriminator": ("discriminator",)
    }  # fmt: skip
    averaged = ("encoder", "decoder", "encoder_again")
    forward_pass = GANomalyPass

    def __init__(
        self,
        parts: Parts,
        *,
        feature_weight: Weight = 1.0,
        image_weight: Weight = 50.0,
        code_weight: Weight = 1.0,
        adversarial_weight: Weight = 0.0,
        score: Score = "paper",
    ) -> None:
        shape = self._check_data(parts)
        self.score, self.conditions = score, f"score={score}"
        self.weights = {"image": image_weight, "feature": feature_weight, "code": code_weight}
        self.adversarial_weight = adversarial_weight
        self.augment = parts.augment()
        values = {"num_classes": None, **picture_values(shape)}
        decoder, discriminator = parts.generator(**values), parts.discriminator(sample_shape=shape, **values)
        size = vector_size(decoder, shape)
        encoders = [self._encoder(parts, shape, size) for _ in range(2)]
        self.nets = nn.ModuleDict(
            {"encoder": encoders[0], "decoder": decoder, "encoder_again": encoders[1], "discriminator": discriminator}
        )
        self._judge(discriminator, shape)
        self.typical = Typical(size, shape)

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        gaps = {
            "image": ("picture", "reconstruction", absolute),
            "feature": ("features", "reconstruction_features", squared),
            "code": ("code", "code_again", squared),
        }
        make: dict[str, Term] = {
            name: Gap(self.weights[name], *gap) for name, gap in gaps.items() if self.weights[name]
        }  # fmt: skip
        if self.adversarial_weight:
            make["adversarial"] = AdversarialTerm(loss.generator, self.adversarial_weight)
        judge: dict[str, Term] = {"adversarial": AdversarialTerm(loss.discriminator)}
        game = [
            Phase("discriminator", "discriminator", judge),
            Phase("generator", "generator", make, after=(self.typical.after_step,)),
        ]
        return regularized(game, regularizers)

    def residuals(self, nets: nn.ModuleDict, pictures: Tensor) -> Example:
        """The gap between both codes as the `paper`'s score, `image` and `feature` [B]."""
        code = nets["encoder"](pictures).mean((2, 3))
        made = nets["decoder"](code, None)
        feature = squared(*(features_of(nets["discriminator"](x, None)) for x in (pictures, made)))
        return {
            "remade": made, "vector": code, "image": squared(pictures, made), "feature": feature,
            "paper": absolute(code, nets["encoder_again"](made).mean((2, 3))),
        }  # fmt: skip
