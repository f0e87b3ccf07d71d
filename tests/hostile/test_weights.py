"""Files of weights are loaded where they are the published ones, and no others: some of them hold programs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from gan_lab import registry
from gan_lab.feature_extractors import fidelity
from gan_lab.feature_extractors.fidelity import CLIP_MODELS, PUBLISHED

SHAPE = (3, 32, 32)


def build(name: str, **settings: object) -> nn.Module:
    registry.load()
    net: nn.Module = registry.feature_extractors.build(OmegaConf.create({"name": name, **settings}), sample_shape=SHAPE)
    return net


class Program(nn.Module):
    """What TorchScript compiles and runs when it is loaded and called."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures * 2


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of TorchScript; loading anything fails the test."""
    torch.jit.script(Program()).save(str(tmp_path / "evil.pt"))

    def loaded(*_: object, **__: object) -> None:
        pytest.fail("it was loaded")

    for place in ("torch.jit.load", "torch.load"):
        monkeypatch.setattr(place, loaded)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return tmp_path / "evil.pt"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["clip", "vgg16", "inception-v3-compat"])
def test_a_file_that_is_not_the_published_one_is_refused_before_it_is_loaded(name: str, script: Path) -> None:
    with pytest.raises(ValueError, match=r"evil\.pt is not loaded: the SHA-256 of the published weights of") as caught:
        build(name, weights=str(script))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["clip-vit-b-32", "vgg16", "inception-v3-compat"])
def test_a_file_in_the_place_of_a_download_is_compared_too(name: str, script: Path, tmp_path: Path) -> None:
    place = tmp_path / "hub/hub/checkpoints" / PUBLISHED[name][0]
    place.parent.mkdir(parents=True)
    script.rename(place)
    with pytest.raises(ValueError, match="is not loaded: the SHA-256 of the published weights"):
        build(name.removesuffix("-vit-b-32"))


def test_a_download_that_is_not_the_published_file_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch-fidelity's loader of Inception compares nothing, and unpickles all."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.mkdir, (tmp_path / "marker",)

    def download(url: str, to: str, *_: object, **__: object) -> None:
        torch.save({"fc.weight": Touch()}, to)

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    with pytest.raises(ValueError, match="its weights cannot be downloaded"):
        build("inception-v3-compat")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("weights", ["/dev/zero", "pipe", "folder", "nothing.pt"])
def test_weights_are_a_file(weights: str, workdir: Path) -> None:
    import os

    os.mkfifo("pipe")
    Path("folder").mkdir()
    with pytest.raises(ValueError, match="there is no such file"):
        build("clip", weights=weights)


def test_the_published_hashes_are_those_in_the_addresses() -> None:
    clip: Any = importlib.import_module("torch_fidelity.feature_extractor_clip")
    assert {model: clip.MODEL_METADATA[f"clip-{model}"]["hash"] for model in CLIP_MODELS} == CLIP_MODELS
    inception: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    from torchvision.models import VGG16_Weights

    for name, url in (("inception-v3-compat", inception.URL_INCEPTION_V3), ("vgg16", VGG16_Weights.DEFAULT.url)):
        file, digest = PUBLISHED[name]
        assert url.endswith(f"/{file}")
        assert file.endswith(f"-{digest[:8]}.pth")
        assert len(digest) == 64


def test_dinov2_says_that_it_runs_code_of_the_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.load", offline)
    with pytest.raises(ValueError, match="no network"):
        build("dinov2")
    assert "code of github.com/facebookresearch/dinov2 and runs it" in capsys.readouterr().err
    assert "runs code" in (fidelity.DINOv2.__doc__ or "")
