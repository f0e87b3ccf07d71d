"""The games that are timed: networks as their papers have them, on random pictures, without average or augmentation.

A plain loop has neither, and with both sides the same algorithm, what is compared is how it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tests.toy_data  # noqa: F401
from gan_lab import registry
from gan_lab.run.assembly import Assembly
from tests.benchmarks import steps
from tests.benchmarks.measure import build

PICTURES = (
    "dataset=toy_pictures", "dataset.image_size=32", "dataset.image_channels=3", "dataset.num=640",
    "trainer.ema=0", "augment=none", "evaluation.metrics=[]", "schedule/learning_rate=constant",
)  # fmt: skip
# As experiment=stylegan2_cifar10 and r3gan_cifar10 have them, but for classes and schedules.
STYLEGAN2 = (
    "experiment=none", "generator=stylegan2", "discriminator=stylegan2", "generator.width=512",
    "discriminator.width=512", "generator.mapping_layers=2", "generator.style_mixing=0", "discriminator.residual=false",
    "loss=non_saturating", "regularizer=[r1]", "regularizer.r1.gamma=0.01", "regularizer.r1.every=16",
)  # fmt: skip
R3GAN = (
    "experiment=none", "generator=r3gan", "discriminator=r3gan", "loss=relativistic", "regularizer=[r1,r2]",
    "regularizer.r1.gamma=0.05", "regularizer.r2.gamma=0.05",
)  # fmt: skip
TINY = ("generator.width=8", "discriminator.width=8", "trainer.batch_size=4")
SOON = ("regularizer.r1.every=2",)  # StyleGAN2's R1, where 16 steps would be too many


@dataclass(frozen=True)
class Network:
    """`words` of the command line; `loss` is the plain loop's, None for the primer's own loop."""

    needs: str  # a registered generator
    words: Sequence[str]
    tiny: Sequence[str] = TINY
    loss: str | None = None

    @property
    def registered(self) -> bool:
        registry.load()
        return self.needs in registry.generators.classes


NETWORKS: Mapping[str, Network] = {
    "dcgan": Network("dcgan", (*steps.PRIMER, "evaluation.metrics=[]")),
    "sngan": Network("resnet", ("experiment=sngan_cifar10", *PICTURES), loss="hinge"),
    "stylegan2": Network("stylegan2", (*STYLEGAN2, *PICTURES), (*TINY, *SOON), "non_saturating"),
    "r3gan": Network("r3gan", (*R3GAN, *PICTURES), loss="relativistic"),
}


def built(name: str, tiny: bool, device: str, *more: str) -> Assembly:
    """The game, with a log that is not due while it is looked at."""
    network = NETWORKS[name]
    small = network.tiny if tiny else ()
    return build(*network.words, *small, *more, log_every=1_000_000_000, device=device)


def period(assembly: Assembly) -> int:
    """Steps after which each lazy phase was played equally often."""
    return math.lcm(*(phase.every for phase in assembly.game.phases))
