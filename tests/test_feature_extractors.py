"""The shipped extractors, torch-fidelity's, and a user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open
from torch import Tensor, nn

from gan_lab import registry
from gan_lab.datasets.fashion_mnist import DEBIAN
from gan_lab.feature_extractors import Features, fidelity
from gan_lab.feature_extractors.choice import NoExtractor
from gan_lab.feature_extractors.small import WEIGHTS, centre
from gan_lab.feature_extractors.training import GATES, changed
from gan_lab.metrics.reference import check, extract, identity, weights_hash

# A file that changes makes every number another number: then the names of all of them change, and this test with them.
HASHES = {"mnist5k": "03da3a14", "fashion_mnist": "9751c4ec"}


def build(name: str, shape: tuple[int, ...], dataset: object = None, **settings: object) -> nn.Module:
    registry.load()
    config = OmegaConf.create({"name": name, **settings})
    net: nn.Module = registry.feature_extractors.build(config, sample_shape=shape, dataset=dataset)
    return net.eval()


@pytest.mark.parametrize("name", HASHES)
def test_the_shipped_weights_are_small_whole_and_say_how_they_were_made(name: str) -> None:
    file = WEIGHTS / f"{name}.safetensors"
    assert file.stat().st_size < 1_000_000
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith(HASHES[name])
    with safe_open(file, "pt") as content:
        about = content.metadata()
    assert {"data", "recipe", "test_accuracy", "torch"} <= about.keys()
    assert float(about["test_accuracy"]) >= GATES[name]
    assert identity(build(name, (1, 28, 28))) == f"{name}-{HASHES[name]}"


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("name", HASHES)
def test_they_classify_held_out_pictures(name: str, size: int) -> None:
    if name == "fashion_mnist" and not DEBIAN.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    dataset = registry.datasets.build(OmegaConf.create({"name": name, "image_size": size}))
    columns = dataset.load("test").columns
    seen = extract(build(name, (1, size, size)), columns["sample"])
    assert seen.class_logits is not None
    accuracy = float((seen.class_logits.argmax(1) == columns["label"]).double().mean())
    assert accuracy >= GATES[name]
    assert abs(float(seen.features.mean())) < 0.1, "standardized over the training pictures"
    assert 0.9 < float(seen.features.std()) < 1.1


def test_padded_pictures_are_seen_without_their_border_and_larger_ones_resized() -> None:
    pictures = torch.rand(3, 1, 7, 7).repeat_interleave(4, 2).repeat_interleave(4, 3)
    padded = torch.nn.functional.pad(pictures, (2, 2, 2, 2))
    assert torch.equal(centre(padded), pictures)
    larger = torch.nn.functional.interpolate(padded, 64, mode="nearest")
    assert float((centre(larger) - pictures).abs().mean()) < 0.1
    assert "64 to 32" in str(build("mnist5k", (1, 64, 64)).resize)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 32, 28), (1, 24, 24), (2,)])
def test_pictures_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square grey pictures of 28 px or more"):
        build("mnist5k", shape)


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_what_it_sees_does_not_depend_on_the_batch(batch: int) -> None:
    pictures = torch.randint(0, 256, (40, 32, 32, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    net = build("mnist5k", (1, 32, 32))
    whole = extract(net, pictures).features
    parts = torch.cat([extract(net, part).features for part in pictures.split(batch)])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


def test_training_changes_a_picture_by_so_much_at_most() -> None:
    picture = torch.zeros(64, 1, 28, 28)
    picture[:, :, 14, 14] = 1
    moved = changed(picture, 2.0, 0.0, 0.0, torch.Generator().manual_seed(0)).flatten(2).argmax(2)
    rows, columns = moved // 28, moved % 28
    assert int((rows - 14).abs().max()) <= 3
    assert int((columns - 14).abs().max()) <= 3
    assert len(torch.unique(moved)) > 5


# -- torch-fidelity's --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of random Inception weights, taken for the published ones, as they cannot be downloaded here."""
    from torch_fidelity import FeatureExtractorInceptionV3

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
        torch.manual_seed(0)
        net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(net.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fidelity.PUBLISHED, "inception-v3-compat", ("inception.pth", digest))
        yield file


def test_inception_reads_a_file_and_takes_grey_pictures(inception: Path) -> None:
    net = build("inception-v3-compat", (1, 32, 32), weights=str(inception))
    assert check(net, (1, 32, 32)) == (2048, 1008)
    assert identity(net) == f"inception-v3-compat-{hashlib.sha256(inception.read_bytes()).hexdigest()[:8]}"
    assert "grey repeated to 3 channels" in str(net.resize)
    pictures = torch.randint(0, 256, (2, 32, 32, 1), dtype=torch.uint8)
    colour = build("inception-v3-compat", (3, 32, 32), weights=str(inception))
    grey_seen, colour_seen = extract(net, pictures), extract(colour, pictures.expand(-1, -1, -1, 3))
    torch.testing.assert_close(grey_seen.features, colour_seen.features)
    assert grey_seen.class_logits is not None
    assert grey_seen.class_logits.shape == (2, 1008)


def test_another_layer_is_another_extractor(inception: Path) -> None:
    net = build("inception-v3-compat", (3, 32, 32), weights=str(inception), layer=192)
    assert check(net, (3, 32, 32))[0] == 192
    assert identity(net).startswith("inception-v3-compat-192-")
    with pytest.raises(ValueError, match=r"feature_extractor\.layer=7.*2048"):
        build("inception-v3-compat", (3, 32, 32), weights=str(inception), layer=7)


@pytest.mark.parametrize("name", ["inception-v3-compat", "vgg16", "clip", "dinov2"])
def test_weights_that_cannot_be_downloaded_are_told_with_the_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", offline)
    monkeypatch.setattr("torch_fidelity.feature_extractor_clip.load_state_dict_from_url", offline)
    monkeypatch.setattr("torch_fidelity.feature_extractor_clip.time.sleep", lambda seconds: None)
    monkeypatch.setattr("torch_fidelity.feature_extractor_vgg16.torchvision_load_pretrained_vgg16", offline)
    monkeypatch.setattr("torch.hub.load", offline)
    with pytest.raises(ValueError, match=r"its weights cannot be downloaded .* choose another") as caught:
        build(name, (3, 32, 32))
    assert ("feature_extractor.weights=FILE" in str(caught.value)) == (name != "dinov2")


def test_a_weights_file_is_checked_before_it_is_loaded(tmp_path: Path, inception: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        build("vgg16", (3, 32, 32), weights=str(tmp_path / "nothing.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"code": print}, tmp_path / "code.pth")  # what an unpickler would look up and could call
    for name in ("text.pth", "code.pth"):
        with pytest.raises(ValueError, match=name):
            build("inception-v3-compat", (3, 32, 32), weights=str(tmp_path / name))
    with pytest.raises(ValueError, match=r"SHA-256 of the published weights of vgg16 begins with 397923af"):
        build("vgg16", (3, 32, 32), weights=str(inception))


# -- auto --------------------------------------------------------------------------------------------------------------


class Data:
    def __init__(self, feature_extractor: str | None = None) -> None:
        self.feature_extractor = feature_extractor


def test_auto_is_the_data_sets_own_or_what_is_at_hand(inception: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build("auto", (1, 32, 32), Data("mnist5k")).name == "mnist5k"
    monkeypatch.setattr(fidelity.torch.hub, "get_dir", lambda: str(inception.parent / "hub"))
    with pytest.raises(NoExtractor, match="feature_extractor=inception-v3-compat downloads them"):
        build("auto", (3, 32, 32), Data())
    with pytest.raises(NoExtractor, match="points"):
        build("auto", (2,), Data())
    with pytest.raises(NoExtractor, match="square grey"):
        build("auto", (3, 32, 32), Data("mnist5k"))
    with pytest.raises(NoExtractor):
        build("none", (3, 32, 32))


# -- a user's own ------------------------------------------------------------------------------------------------------


class Mean(nn.Module):
    """A bare tensor, without a name."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.float().mean((2, 3))


def test_an_extractor_may_return_a_bare_tensor_and_its_hash_follows_its_weights() -> None:
    net = Mean()
    assert check(net, (3, 8, 8)) == (3, 0)
    linear, same = nn.Linear(3, 2), nn.Linear(3, 2)
    same.load_state_dict(linear.state_dict())
    assert weights_hash(linear) == weights_hash(same)
    with torch.no_grad():
        same.bias[0] += 1e-3
    assert weights_hash(linear) != weights_hash(same)


class Flat(nn.Module):
    name = "flat"

    def forward(self, pictures: Tensor) -> Features:
        return Features(pictures.float())


class Picky(nn.Module):
    name = "picky"

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.float().reshape(-1, 17)


@pytest.mark.parametrize(("net", "message"), [(Flat(), r"wanted are \[2, D\]"), (Picky(), "picky cannot see samples")])
def test_what_an_extractor_returns_is_checked(net: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(net, (1, 8, 8))
