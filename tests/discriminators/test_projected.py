"""The projected discriminator: its frozen part is the extractor, never learns, and is in no state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import conv2d, interpolate

from gan_lab import registry
from gan_lab.core import checkpoint
from gan_lab.core.loop import train
from gan_lab.run.assembly import Assembly, assemble
from tests.core.toys import equal
from tests.helpers import compose

registry.load()
PROJECTED = registry.discriminators.classes["projected"]
EXTRACTORS = ("mnist5k", "fashion_mnist")


def build(*words: str) -> Assembly:
    small = ["trainer.batch_size=8", "trainer.images=32", "trainer.device=cpu", "dataset=toy_pictures"]
    networks = ["generator=dcgan", "generator.width=4", "discriminator=projected", "discriminator.width=8"]
    return assemble(compose(*small, *networks, *words))


@pytest.mark.parametrize("name", EXTRACTORS)
def test_stages_are_the_extractors_maps(name: str) -> None:
    """Of 28 px, where the extractor crops nothing."""
    extractor = registry.feature_extractors.build(OmegaConf.create({"name": name}), sample_shape=(1, 28, 28)).eval()
    stages = PROJECTED(28, 1, None, extractor=name).stages
    pictures = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        for ours, theirs in zip(stages(2 * pictures - 1), extractor.maps(pictures), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_mixing_adds_the_coarser_scale_enlarged() -> None:
    torch.manual_seed(0)
    mixing = PROJECTED(32, 1, None, width=8).mixing
    fine, coarse = torch.randn(2, 24, 16, 16), torch.randn(2, 48, 8, 8)
    weights = [(layer.weight, layer.bias) for layer in (*mixing.channels, *mixing.scales)]
    lower = conv2d(conv2d(coarse, *weights[1]), *weights[3], padding=1)
    larger = interpolate(lower, scale_factor=2, mode="bilinear", align_corners=False)
    upper = conv2d(conv2d(fine, *weights[0]) + larger, *weights[2], padding=1)
    for ours, expected in zip(mixing([fine, coarse]), (upper, lower), strict=True):
        torch.testing.assert_close(ours, expected)
    assert not mixing.channels[0].weight.requires_grad


def test_each_channel_is_seen_and_has_a_gradient() -> None:
    judge = PROJECTED(32, 3, None, width=8).eval()
    image = torch.randn(2, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(judge(image).logits.sum(), image)
    assert (gradient.abs().amax((2, 3)) > 0).all()
    turned = judge(image.flip(1)).logits
    assert not torch.allclose(turned, judge(image).logits), "channels are mixed up"


def test_only_the_heads_learn() -> None:
    assembly = build("loss=hinge")
    game = assembly.game
    judge = game.nets["discriminator"]
    before = {name: buffer.clone() for name, buffer in judge.named_buffers() if not name.startswith("heads")}
    assert len(before) == 4 + 8  # weights and biases of two stages, and of the mixing's four convolutions
    assert all(name.startswith("heads") for name, _ in judge.named_parameters())
    moved = {id(p) for group in game.optimizers["discriminator"].param_groups for p in group["params"]}
    assert moved == {id(p) for p in judge.parameters()}
    train(game, 32)
    assert all(torch.equal(before[name], buffer) for name, buffer in judge.named_buffers() if name in before)
    judge.train()
    assert not any(module.training for module in judge.stages.modules())
    assert judge.heads.training


def test_the_extractor_is_not_in_checkpoints_and_is_found_again(tmp_path: Path) -> None:
    whole, part = build(), build()
    train(whole.game, 32)
    train(part.game, 16)
    state = part.game.state_dict()
    assert not [name for name in state["parts"]["task/nets"] if ".stages." in name]
    checkpoint.save({"images": 16, "game": state}, tmp_path)
    loaded = checkpoint.load_newest(tmp_path)
    assert loaded is not None
    again = build("trainer.seed=5")  # the mixing is drawn otherwise, and comes from the checkpoint
    assert not torch.equal(*(a.game.nets["discriminator"].mixing.scales[0].weight for a in (again, part)))
    again.game.seed = part.game.seed
    again.game.orders = part.game.orders
    again.game.load_state_dict(loaded["game"])
    train(again.game, 32)
    assert equal(again.game.state_dict(), whole.game.state_dict())


def test_a_checkpoint_of_another_extractor_is_refused() -> None:
    judge, other = (PROJECTED(32, 1, None, extractor=name, width=8) for name in EXTRACTORS)
    assert judge.weights_hash != other.weights_hash
    with pytest.raises(ValueError, match=r"trained with extractor fashion_mnist of hash .*; use the version of that"):
        other.load_state_dict(judge.state_dict())


@pytest.mark.parametrize("name", ["inception-v3-compat", "auto", "nothing"])
def test_an_extractor_without_stages_is_refused_with_those_that_have_them(name: str) -> None:
    with pytest.raises(ValueError, match=rf"extractor={name}: .*choose from .*mnist5k, fashion_mnist, or timm/MODEL"):
        PROJECTED(32, 1, None, extractor=name)


def test_weights_of_a_shipped_extractor_are_refused() -> None:
    with pytest.raises(ValueError, match="mnist5k ships with its own; leave it out"):
        PROJECTED(32, 1, None, weights="a.safetensors")


def test_classes_reach_every_head_by_projection_and_the_finest_as_a_classifier() -> None:
    image, label = torch.randn(2, 1, 32, 32), torch.tensor([0, 1])
    judge = PROJECTED(32, 1, 3, width=8, conditioning="projection").eval()
    changed = judge(image, label).logits != judge(image, label + 1).logits
    assert changed.all()
    judge = PROJECTED(32, 1, 3, width=8, conditioning="auxiliary").eval()
    assert judge(image, label).class_logits.shape == (2, 3)
    assert sum(isinstance(module, nn.Linear) for module in judge.modules()) == 1
