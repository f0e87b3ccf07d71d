"""The projected discriminator with timm's networks: its maps, a file of weights, and what cannot be had."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import interpolate

from gan_lab import registry
from gan_lab.core.loop import train
from gan_lab.run.assembly import assemble
from tests.helpers import compose

timm = pytest.importorskip("timm")
registry.load()
PROJECTED = registry.discriminators.classes["projected"]
MODEL = "test_efficientnet"  # timm's own for tests: 0.4 million parameters


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights in the file that timm would download."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file(timm.create_model(MODEL, pretrained=False).state_dict(), file)
    return str(file)


def judge(weights: str, size: int = 32, channels: int = 3, **settings: Any) -> Any:
    return PROJECTED(size, channels, None, extractor=f"timm/{MODEL}", weights=weights, width=8, **settings)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_maps_are_timms_of_enlarged_normalized_pictures(weights: str, channels: int) -> None:
    net = timm.create_model(MODEL, pretrained=True, features_only=True, pretrained_cfg_overlay={"file": weights}).eval()
    image = 2 * torch.rand(2, channels, 32, 32) - 1
    mean, std = (torch.tensor(net.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    large = interpolate((image + 1) / 2, size=224, mode="bilinear").expand(-1, 3, -1, -1)
    with torch.no_grad():
        for ours, theirs in zip(
            judge(weights, channels=channels).stages(image), net((large - mean) / std)[-4:], strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_it_judges_and_learns_by_its_heads_alone(weights: str) -> None:
    words = ["dataset=toy_pictures", "generator=dcgan", "generator.width=4", "discriminator=projected", "loss=hinge"]
    mine = [f"discriminator.extractor=timm/{MODEL}", f"discriminator.weights={weights}", "discriminator.width=8"]
    game = assemble(compose("trainer.batch_size=4", "trainer.images=8", "trainer.device=cpu", *words, *mine)).game
    net = game.nets["discriminator"]
    assert all(name.startswith("heads") for name, _ in net.named_parameters())
    frozen = {name: buffer.clone() for name, buffer in net.stages.named_buffers()}
    train(game, 8)
    assert all(torch.equal(buffer, frozen[name]) for name, buffer in net.stages.named_buffers())
    assert not [name for name in net.state_dict() if name.startswith("stages")]


def test_other_weights_than_the_checkpoints_are_refused(weights: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    save_file(timm.create_model(MODEL, pretrained=False).state_dict(), other)
    with pytest.raises(ValueError, match=r"the checkpoint was trained with extractor timm/.* of hash"):
        judge(str(other)).load_state_dict(judge(weights).state_dict())


def test_what_cannot_be_had_is_refused_in_words(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"timm/nothing: timm has no such network"):
        PROJECTED(32, 3, None, extractor="timm/nothing")
    with pytest.raises(ValueError, match=r"weights=none\.safetensors: expected a file of safetensors"):
        judge("none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"its weights cannot be loaded .*give discriminator\.weights=FILE"):
        judge(str(broken))
    with pytest.raises(ValueError, match="grey or colour pictures, not 2 channels"):
        judge(weights, channels=2)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'hydra-gan-lab\[timm\]'"):
        judge(weights)
