"""Consistency regularization: D should give nearly the same output for nearly the same input.

A map of logits is compared by its mean, because a flip or a shift moves its entries. The discriminator's augmentation,
if any, uses the same draws for both members of a pair, so that they differ only by the transformation.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gan_lab.augment.pixels import flip_and_shift
from gan_lab.core.types import per_sample
from gan_lab.layers import ImageSize, sides
from gan_lab.registry import NonNegative, Positive, Rate, Share, Weight, regularizers


def disagreement(a: Tensor, b: Tensor) -> Tensor:
    """The squared difference [B] of two batches of logits."""
    return (per_sample(a) - per_sample(b)).square()


class Transformation:
    """Images mirrored with probability `flip` and shifted by up to `shift` pixels each way, edges reflected."""

    def __init__(self, image_size: ImageSize, flip: float, shift: int, where: str) -> None:
        if shift >= min(sides(image_size)):
            raise ValueError(f"{where}.shift={shift} must be smaller than a side of the images: {image_size}")
        self.flip, self.shift = flip, shift

    def __call__(self, forward: Any, images: Tensor, stream: str) -> Tensor:
        return flip_and_shift(images, forward.draw(stream, 3, kind="uniform"), self.flip, self.shift)


@regularizers.register("cr")
class Consistency:
    """weight E (D(x) - D(T(x)))^2 on real x (Zhang et al. 2020, arXiv 1910.12027, algorithm 1).

    T mirrors images with probability `flip` and shifts them by up to `shift` pixels. Costs one more pass of D. The
    parameter `image_size` also refuses data of points, which have none.
    """

    player = "discriminator"
    probes: frozenset[str] = frozenset()

    def __init__(
        self,
        image_size: ImageSize,
        *,
        weight: Weight = 10.0,
        flip: Share = 0.5,
        shift: NonNegative = 4,
        every: Positive = 1,
    ) -> None:
        self.weight, self.every = weight, every
        self.transform = Transformation(image_size, flip, shift, "regularizer.cr")

    def __call__(self, forward: Any) -> Tensor:
        moved = self.transform(forward, forward.real.detach(), "cr/real")
        return disagreement(forward.real_logits, forward.judge(moved, forward.real_label, "real").logits)


@regularizers.register("bcr")
class BalancedConsistency:
    """weight (E (D(x) - D(T(x)))^2 + E (D(G(z)) - D(T(G(z))))^2) for D (Zhao et al. 2020, arXiv 2002.04724, alg. 1).

    T is that of cr. Both halves have one weight, because the paper's lambda_real and lambda_fake are equal. Costs two
    more passes of D.
    """

    player = "discriminator"
    probes: frozenset[str] = frozenset()

    def __init__(
        self,
        image_size: ImageSize,
        *,
        weight: Weight = 10.0,
        flip: Share = 0.5,
        shift: NonNegative = 4,
        every: Positive = 1,
    ) -> None:
        self.weight, self.every = weight, every
        self.transform = Transformation(image_size, flip, shift, "regularizer.bcr")

    def __call__(self, forward: Any) -> Tensor:
        real = self.transform(forward, forward.real.detach(), "bcr/real")
        fake = self.transform(forward, forward.fake.detach(), "bcr/fake")
        real_logits = forward.judge(real, forward.real_label, "real").logits
        fake_logits = forward.judge(fake, forward.fake_label, "fake").logits
        return disagreement(forward.real_logits, real_logits) + disagreement(forward.fake_logits, fake_logits)


@regularizers.register("zcr")
class LatentConsistency:
    """Latent consistency (Zhao et al. 2020, arXiv 2002.04724, algorithm 2): D should ignore small changes of z.

    D gets  discriminator_weight E (D(G(z)) - D(G(T(z))))^2.  G gets  -generator_weight E |G(z) - G(T(z))|^2,  so that
    its output still depends on z. T(z) = z + noise * normal. The square of G's part is averaged over the numbers of a
    sample. Each part costs one more pass of G, and D's part also one more pass of D.
    """

    needs = frozenset({"latent"})

    def __init__(
        self,
        *,
        discriminator_weight: Weight = 5.0,
        generator_weight: Weight = 0.5,
        noise: Rate = 0.03,
        every: Positive = 1,
    ) -> None:
        self.parts = {
            "discriminator": DiscriminatorLatentConsistency(discriminator_weight, noise, every),
            "generator": GeneratorLatentConsistency(generator_weight, noise, every),
        }


class DiscriminatorLatentConsistency:
    """zcr's part for D."""

    player = "discriminator"
    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, noise: float, every: int) -> None:
        self.weight, self.noise, self.every = weight, noise, every

    def __call__(self, forward: Any) -> Tensor:
        near = nearby(forward, self.noise)
        return disagreement(forward.fake_logits, forward.judge(near, forward.fake_label, "fake").logits)


class GeneratorLatentConsistency:
    """zcr's part for G: negative, because G should make the distance large."""

    player = "generator"
    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, noise: float, every: int) -> None:
        self.weight, self.noise, self.every = weight, noise, every

    def __call__(self, forward: Any) -> Tensor:
        distance = forward.fake.float() - nearby(forward, self.noise).float()
        return -per_sample(distance.square())


def nearby(forward: Any, noise: float) -> Tensor:
    """G's output for slightly changed latents, with the same labels."""
    latent = forward.latent + noise * forward.draw("zcr", *forward.latent.shape[1:])
    made: Tensor = forward.net("generator")(latent, forward.fake_label)
    return made
