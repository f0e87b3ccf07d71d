"""Every registered part by itself: it trains, and takes sizes and classes. Pairs of networks are in test_pairs.py."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from gan_lab import registry
from gan_lab.core import checkpoint
from gan_lab.core.loop import train
from gan_lab.core.runtime import Runtime
from gan_lab.layers import sides
from tests.core.toys import equal
from tests.pairs import DATA, NETWORKS, REGULARIZERS, build, train_watched

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


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_network_that_asks_for_classes_is_refused_without_labels(player: str) -> None:
    for name in NETWORKS[player]:
        choice = "concat" if player == "generator" else "projection"
        with pytest.raises(ValueError, match=rf"{player}\.conditioning={choice} needs labels"):
            registry.GROUPS[player].build(
                OmegaConf.create({"name": name, "conditioning": choice}),
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
    keys = {key for key, *_ in registry.parameters(registry.GROUPS[player].classes[name])}
    settings = {"name": name} | ({"width": 2} if "width" in keys else {})
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
