"""What the tests of parts and of pairs of networks need: small assemblies of any parts, trained and watched."""

from __future__ import annotations

import copy
import functools
import itertools
import re

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from gan_lab import registry
from gan_lab.core.hooks import Hook
from gan_lab.core.loop import train
from gan_lab.core.runtime import inference
from gan_lab.run.assembly import Assembly, assemble
from tests.helpers import compose

registry.load()
DATA = {
    "points": ["dataset=mixture"],
    "grey 28": ["dataset=toy_pictures", "dataset.image_size=28"],
    "colour 32": ["dataset=toy_pictures", "dataset.image_size=32", "dataset.image_channels=3"],
}
SMALL = ["trainer.batch_size=4", "trainer.images=8", "trainer.ema=0.9", "trainer.device=cpu"]
REGULARIZERS = tuple(registry.regularizers.classes)
LOSSES = tuple(registry.losses.classes)  # now: other test modules register parts of their own
# Generators that take a picture, and networks of tokens, belong to other tasks: see tests/tasks.
PLAIN = {"sample_shape", "image_size", "image_channels", "num_classes"}
NETWORKS = {
    player: tuple(name for name, cls in kind.classes.items() if PLAIN.issuperset(registry.supplied(cls)))
    for player, kind in (("generator", registry.generators), ("discriminator", registry.discriminators))
}
# Two networks meet in samples and labels alone: quick are pairs with a DCGAN, and families by themselves.
PAIRS = [
    pytest.param(*pair, marks=() if "dcgan" in pair or len(set(pair)) == 1 else pytest.mark.slow)
    for pair in itertools.product(*NETWORKS.values())
]


ALONE = ("generator", "discriminator", "dataset", "loss")  # groups whose choice changes nothing in another group


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """A small config; a width is cut where the part has one."""
    config = compose(*SMALL, *overrides)
    for part in ("generator", "discriminator"):
        if "width" in config[part]:
            config[part].width = 8
    return config


def build(*overrides: str, loss: str = "non_saturating") -> Assembly:
    """The assembly of these words. Each group of `ALONE` is composed by itself and once, not with all the others."""
    words: dict[str, list[str]] = {group: [] for group in ("", *ALONE)}
    for word in (*overrides, f"loss={loss}"):
        group = re.split("[.=]", word)[0]
        words[group if group in ALONE else ""].append(word)
    config = composed(*words[""]).copy()
    for group in ALONE:
        if words[group]:
            config[group] = composed(*words[group])[group]
    return assemble(config)


def chosen(generator: str, discriminator: str) -> list[str]:
    """Overrides that choose two networks, and the regularizer that trains a discriminator's decoders."""
    decodes = hasattr(registry.discriminators.classes[discriminator], "reconstruct")
    words = [f"generator={generator}", f"discriminator={discriminator}"]
    return [*words, "regularizer=[reconstruction]"] if decodes else words


def asks_for_images(generator: str, discriminator: str) -> bool:
    classes = registry.generators.classes[generator], registry.discriminators.classes[discriminator]
    return any("image_size" in registry.supplied(cls) for cls in classes)


def possible(generator: str, discriminator: str, data: str) -> bool:
    return data != "points" or not asks_for_images(generator, discriminator)


class Watch(Hook):
    """Keeps every scalar that is recorded."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def after_play(self, game, phase, seen) -> None:  # type: ignore[no-untyped-def]
        self.values += [tensor.item() for tensors in seen.values() for tensor in tensors if tensor.dim() == 0]


def train_watched(assembly: Assembly) -> set[str]:
    """Train; everything recorded is finite, and every weight of both players moves. Returns what did not.

    Biases of D may stay: losses that look at differences of logits alone do not see what it adds to all of them.
    """
    game, watch = assembly.game, Watch()
    before = copy.deepcopy(game.nets.state_dict())
    game.add(watch)
    train(game, assembly.trainer.images)
    assert torch.tensor(watch.values).isfinite().all()
    still = {name for name, parameter in game.nets.named_parameters() if torch.equal(parameter, before[name])}
    assert all(name.startswith("discriminator") and name.endswith("bias") for name in still), still
    return still


def samples_of(assembly: Assembly, num: int) -> Tensor:
    with inference(assembly.sampled_nets, "running") as nets:
        samples: Tensor = assembly.game.task.sample(nets, num, seed=1)
    return samples
