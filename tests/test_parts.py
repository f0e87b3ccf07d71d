"""Every registered part with every other: generators x discriminators x losses; points, pictures, classes."""

from __future__ import annotations

import copy
import functools
import itertools
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gan_lab import registry
from gan_lab.core import checkpoint
from gan_lab.core.hooks import Hook
from gan_lab.core.loop import train
from gan_lab.core.runtime import Runtime, inference
from gan_lab.layers import sides
from gan_lab.run.assembly import Assembly, assemble
from tests.core.toys import equal
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
FROM_NOISE = NETWORKS["generator"]
# Two networks meet in samples and labels alone: quick are pairs with a DCGAN, and families by themselves.
PAIRS = [
    pytest.param(*pair, marks=() if "dcgan" in pair or len(set(pair)) == 1 else pytest.mark.slow)
    for pair in itertools.product(*NETWORKS.values())
]


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """A small config; a width is cut where the part has one."""
    config = compose(*SMALL, *overrides)
    for part in ("generator", "discriminator"):
        if "width" in config[part]:
            config[part].width = 8
    return config


def build(*overrides: str, loss: str = "non_saturating") -> Assembly:
    config = composed(*overrides).copy()
    config.loss = composed(f"loss={loss}").loss
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


@pytest.mark.parametrize("data", ["points", "colour 32"])
@pytest.mark.parametrize(("generator", "discriminator"), PAIRS)
def test_every_pair_trains_under_every_loss(generator: str, discriminator: str, data: str) -> None:
    overrides = [*chosen(generator, discriminator), *DATA[data]]
    if not possible(generator, discriminator, data):
        with pytest.raises(ValueError, match=r"samples of shape \(2,\) do not have"):
            build(*overrides)
        return
    still = []
    for loss in LOSSES:
        assembly = build(*overrides, loss=loss)
        still.append(train_watched(assembly))
        samples = samples_of(assembly, 5)
        assert samples.shape == (5, *assembly.dataset.sample_shape), loss
        assert samples.isfinite().all(), loss
        assert samples.flatten(1).std(0).max() > 0, f"{loss}: the same sample for every z"
    assert not set.intersection(*still), "no loss moves it"


@pytest.mark.parametrize("data", ["points", "grey 28"])
@pytest.mark.parametrize(("generator", "discriminator"), PAIRS)
def test_every_pair_saves_and_loads(generator: str, discriminator: str, data: str, tmp_path: Path) -> None:
    if not possible(generator, discriminator, data):
        pytest.skip("one of them asks for an image size, and points have none")
    overrides = [*chosen(generator, discriminator), *DATA[data]]
    assembly = build(*overrides)
    game = assembly.game
    train(game, 8)
    checkpoint.save({"images": game.images, "game": game.state_dict()}, tmp_path)
    again = build(*overrides)
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    again.game.load_state_dict(state["game"])
    assert equal(again.game.state_dict(), game.state_dict())
    torch.testing.assert_close(samples_of(again, 70)[:5], samples_of(assembly, 5))


@pytest.mark.parametrize(("generator", "discriminator"), PAIRS)
def test_every_pair_takes_a_step_on_the_meta_device(generator: str, discriminator: str) -> None:
    assembly = build(*chosen(generator, discriminator), *DATA["colour 32"], "trainer.device=meta")
    train(assembly.game, 4)
    assert assembly.game.step == 1
    assert all(p.is_meta for p in assembly.game.nets.parameters())


# Groups whose parts other tests train, or that the task of these tests does not have.
OTHERWISE = {"dataset", "task", "generator", "discriminator", "loss", "feature_extractor"} | registry.optional_groups()


@pytest.mark.parametrize(
    "part",
    [f"{g}={n}" for g, r in registry.GROUPS.items() if not r.listed for n in r.classes if g not in OTHERWISE],
)
def test_every_other_part_trains(part: str) -> None:
    assembly = build(part, "regularizer=[r1]", *DATA["colour 32"])
    before = copy.deepcopy(assembly.game.nets.state_dict())
    train(assembly.game, 8)
    assert not equal(before, assembly.game.nets.state_dict())


@pytest.mark.parametrize("regularizer", [f"[{name}]" for name in registry.regularizers.classes])
def test_every_regularizer_trains_with_labels_and_maps(regularizer: str) -> None:
    """Against a discriminator that judges patches, knows classes, has features and, where wanted, decoders."""
    judge = "fastgan" if regularizer == "[reconstruction]" else "patchgan"
    words = [f"discriminator={judge}", "discriminator.conditioning=projection", "generator.conditioning=concat"]
    train_watched(build(f"regularizer={regularizer}", *words, *DATA["colour 32"]))


def test_all_regularizers_at_once_train() -> None:
    names = ",".join(REGULARIZERS)
    train_watched(build(f"regularizer=[{names}]", "discriminator=fastgan", *DATA["colour 32"]))


CONDITIONED = [
    (["generator.conditioning=concat"], ["discriminator.conditioning=projection"]),
    (["generator.normalization=batch", "generator.conditioning=batch_norm"], ["discriminator.conditioning=auxiliary"]),
]


@pytest.mark.parametrize(("told", "judged"), CONDITIONED)
@pytest.mark.parametrize(("generator", "discriminator"), PAIRS)
def test_every_pair_trains_on_classes(generator: str, discriminator: str, told: list[str], judged: list[str]) -> None:
    if "batch_norm" in told[-1] and "normalization" not in composed(f"generator={generator}").generator:
        told = CONDITIONED[0][0]  # it has no batch norm
    words = [*chosen(generator, discriminator), *told, *judged, *DATA["colour 32"]]
    assembly = build(*words, "trainer.batch_size=8", "trainer.images=32")
    train_watched(assembly)
    z, _ = assembly.game.task.latents(3, seed=0)
    with inference(assembly.sampled_nets, "running") as nets:
        first, second = (assembly.game.task.generate(nets, z, torch.full((3,), label)) for label in (0, 1))
    assert not torch.allclose(first, second), "both classes look the same"


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_network_that_asks_for_classes_is_refused_without_labels(player: str) -> None:
    for name in NETWORKS[player]:
        choice = "concat" if player == "generator" else "projection"
        with pytest.raises(ValueError, match=rf"{player}\.conditioning={choice} needs labels"):
            registry.GROUPS[player].build(
                composed(f"{player}={name}", f"{player}.conditioning={choice}")[player],
                sample_shape=(3, 32, 32), image_size=32, image_channels=3, num_classes=None,
            )  # fmt: skip


SIZES: list[int | tuple[int, int]] = [28, 32, 40, 48, 64, 96, 128, (32, 64), (48, 32)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["dcgan", "resnet", "stylegan2", "r3gan", "sagan", "biggan", "biggan_deep", "fastgan"])
def test_generators_make_their_sizes(name: str, size: int | tuple[int, int]) -> None:
    for channels in (1, 3):
        generator = registry.generators.classes[name](size, channels, None, width=4)
        images = generator(torch.randn(2, generator.latent_dim))
        assert images.shape == (2, channels, *sides(size))
        assert images.abs().max() <= 1 or name in ("stylegan2", "r3gan")  # these have no tanh


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "name",
    [
        "dcgan",
        "resnet",
        "patchgan",
        "unet",
        "stylegan2",
        "r3gan",
        "sagan",
        "biggan",
        "biggan_deep",
        "fastgan",
        "projected",
    ],
)
def test_discriminators_judge_their_sizes(name: str, size: int | tuple[int, int]) -> None:
    for channels in (1, 3):
        discriminator = registry.discriminators.classes[name](size, channels, None, width=4)
        output = discriminator(torch.randn(2, channels, *sides(size)))
        maps = {"unet": (2, 2, *sides(size))}
        if name in ("patchgan", "fastgan", "projected"):
            assert output.logits.dim() >= 3
        else:
            assert output.logits.shape == maps.get(name, (2,))
        assert len(output.features[-1]) == 2


@pytest.mark.parametrize(
    ("player", "name"), [(player, name) for player, names in NETWORKS.items() for name in names if name != "mlp"]
)
def test_a_size_that_a_network_cannot_take_is_refused_in_words(player: str, name: str) -> None:
    settings = {"name": name} | ({"width": 2} if "width" in composed(f"{player}={name}")[player] else {})
    for size in (1, 2, 5, 9, 36, 50, (32, 33), (4, 64), 512):
        side, said = sides(size), "image_size"
        try:
            registry.GROUPS[player].build(
                OmegaConf.create(settings), sample_shape=(1, *side), image_size=size, image_channels=1, num_classes=None
            )
        except ValueError as error:  # and nothing else
            said = str(error)
        assert "image_size" in said


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_trains_and_resumes_bit_for_bit(precision: str, tmp_path: Path) -> None:
    overrides = [
        *DATA["colour 32"],
        "trainer.device=cuda",
        "trainer.deterministic=true",
        f"trainer.precision={precision}",
    ]
    whole, part = build(*overrides), build(*overrides)
    train(whole.game, 40)
    train(part.game, 20)
    checkpoint.save({"images": 20, "game": part.game.state_dict()}, tmp_path)
    part = build(*overrides)
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    part.game.load_state_dict(state["game"])
    train(part.game, 40)
    assert equal(whole.game.state_dict(), part.game.state_dict())
    Runtime()  # switches deterministic algorithms off again
