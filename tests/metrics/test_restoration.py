"""Measures of pictures with a truth, against scikit-image, Pillow and closed forms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_lab.degradations.super_resolution import SuperResolution
from gan_lab.metrics import restoration
from gan_lab.metrics.base import Metric
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.restoration import (
    LPIPS,
    PSNR,
    SSIM,
    LumaPSNR,
    Sharpness,
    alexnet_file,
    edge_sharpness,
    luma,
    psnr,
    ssim,
)
from gan_lab.metrics.restoration_bars import PSNROfTheSource
from gan_lab.registry import metrics

quality = pytest.importorskip("skimage.metrics")


def pair(count: int, channels: int, height: int, width: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Smooth truths and noisy versions of them, [N, C, H, W] in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(count, channels, height + 4, width + 4, generator=generator)
    truth = torch.nn.functional.avg_pool2d(rough, 5, 1) * 4 - 2
    return (truth + noise * torch.randn(truth.shape, generator=generator)).clamp(-1, 1), truth.clamp(-1, 1)


def inputs(pictures: Tensor, truth: Tensor, bar: Tensor | None = None) -> MetricInputs:
    return MetricInputs(pictures, {"target": truth}, bar=None if bar is None else lambda columns: ("bicubic", bar))


def measured(metric: Metric, seen: MetricInputs) -> Mapping[str, Any]:
    found = metric(seen)
    assert isinstance(found, Mapping)
    return found


def hwc(picture: Tensor) -> Any:
    return picture.permute(1, 2, 0).double().numpy()


def test_psnr_is_scikit_images() -> None:
    pictures, truth = pair(5, 3, 13, 17)
    pairs = zip(pictures, truth, strict=True)
    theirs = [quality.peak_signal_noise_ratio(hwc(t), hwc(p), data_range=2) for p, t in pairs]
    assert psnr(pictures, truth).tolist() == pytest.approx(theirs, abs=1e-9)
    found = measured(PSNR(), inputs(pictures, truth))
    assert found["value"] == pytest.approx(np.mean(theirs), abs=1e-9)
    assert found["standard_error"] == pytest.approx(np.std(theirs, ddof=1) / math.sqrt(5), abs=1e-9)


def test_a_constant_error_has_the_closed_forms_psnr() -> None:
    truth = torch.zeros(1, 1, 4, 4)
    assert float(psnr(truth + 0.02, truth)) == pytest.approx(40, abs=1e-5)  # 20 log10(2 / 0.02)


def test_equal_pictures_have_the_cap_and_no_infinity() -> None:
    _, truth = pair(2, 3, 12, 12)
    assert measured(PSNR(), inputs(truth, truth)) == pytest.approx({"value": 100, "standard_error": 0})
    assert "standard_error" not in measured(PSNR(), inputs(truth[:1], truth[:1]))


def test_luma_is_matlabs_as_in_scikit_image() -> None:
    color = pytest.importorskip("skimage.color")
    pictures, truth = pair(2, 3, 12, 14)
    y, y_of_truth = (color.rgb2ycbcr((hwc(x[1]) + 1) / 2)[..., 0] for x in (pictures, truth))
    ours = (luma(pictures)[1, 0].numpy() + 219 / 255) * 127.5 + 16  # -1 is black, 16, and 1 is white, 235
    assert ours == pytest.approx(y, abs=1e-4)
    theirs = quality.peak_signal_noise_ratio(y_of_truth, y, data_range=255)
    found = measured(LumaPSNR(), inputs(pictures[1:], truth[1:]))
    assert found["value"] == pytest.approx(theirs, abs=1e-6)


def test_the_luma_of_grey_pictures_is_themselves_and_of_two_channels_nothing() -> None:
    seen = inputs(*pair(2, 1, 12, 12))
    assert measured(LumaPSNR(), seen) == measured(PSNR(), seen)
    metric = LumaPSNR()
    assert metric(inputs(*pair(2, 2, 12, 12))) is None
    assert metric.absent == "it is of pictures with 1 or 3 channels, not 2"


@pytest.mark.parametrize("shape", [(1, 11, 11), (1, 32, 32), (3, 24, 40)])
def test_ssim_is_scikit_images(shape: tuple[int, int, int]) -> None:
    pictures, truth = pair(4, *shape)
    theirs = [
        quality.structural_similarity(
            (hwc(t) + 1) / 2, (hwc(p) + 1) / 2, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for p, t in zip(pictures, truth, strict=True)
    ]  # fmt: skip
    assert ssim(pictures, truth).tolist() == pytest.approx(theirs, abs=2e-5)
    assert measured(SSIM(), inputs(pictures, truth))["value"] == pytest.approx(np.mean(theirs), abs=2e-5)


def test_ssim_of_equal_pictures_is_one_and_of_small_ones_absent() -> None:
    _, truth = pair(2, 3, 12, 12)
    assert measured(SSIM(), inputs(truth, truth))["value"] == pytest.approx(1, abs=1e-6)
    metric = SSIM()
    assert metric(inputs(*pair(2, 1, 10, 32))) is None
    assert metric.absent == "it takes 11 x 11 pixels at least, not 10 x 32"


def test_sharpness_is_a_ratio_of_contrasts() -> None:
    _, truth = pair(3, 3, 16, 16)
    assert measured(Sharpness(), inputs(truth, truth)) == pytest.approx({"value": 1, "standard_error": 0}, abs=1e-12)
    assert measured(Sharpness(), inputs(truth / 2, truth))["value"] == pytest.approx(0.5)
    blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1)
    assert measured(Sharpness(), inputs(blurred, truth))["value"] < 0.9


def test_sharpness_of_a_ramp_is_its_slope() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    ramp = ((3 * x + 4 * y) / 100)[None, None]
    assert float(restoration.gradient_magnitude(ramp)) == pytest.approx(0.05)


def test_sharpness_has_the_standard_error_of_resampled_pictures() -> None:
    pictures, truth = pair(200, 1, 8, 8)
    weight = torch.linspace(0.2, 1, 200)[:, None, None, None]
    pictures, truth = pictures * weight, truth * weight.flip(0)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(200, (200,), generator=generator) for _ in range(200)]
    again = [measured(Sharpness(), inputs(pictures[r], truth[r]))["value"] for r in rows]
    assert measured(Sharpness(), inputs(pictures, truth))["standard_error"] == pytest.approx(np.std(again), rel=0.2)


def test_flat_truths_have_no_sharpness() -> None:
    metric = Sharpness()
    assert metric(inputs(torch.rand(2, 1, 8, 8), torch.zeros(2, 1, 8, 8))) is None
    assert metric.absent == "the truths are all flat"


@pytest.mark.parametrize("word", ["psnr", "psnr_y", "ssim", "sharpness"])
def test_the_bars_number_is_the_same_measure_of_the_trivial_solution(word: str) -> None:
    bar, truth = pair(3, 3, 16, 16)
    metric, of_the_bar = (metrics.classes[name]() for name in (word, f"{word}_bar"))
    found = measured(of_the_bar, inputs(torch.zeros_like(truth), truth, bar))
    assert found == {**measured(metric, inputs(bar, truth)), "bar": "bicubic"}
    assert of_the_bar.constant
    assert not metric.constant
    assert of_the_bar.needs == {"bar"}
    assert of_the_bar.better == metric.better
    assert of_the_bar.name("any extractor") == of_the_bar.word == f"{word}_bar"


def test_the_bar_has_no_number_where_the_measure_has_none() -> None:
    bar, truth = pair(1, 1, 8, 8)
    metric = metrics.classes["ssim_bar"]()
    assert metric(inputs(truth, truth, bar)) is None
    assert metric.absent


def test_numbers_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = inputs(*pair(7, 3, 16, 16))
    whole = [measured(metric, seen) for metric in (PSNR(), SSIM(), Sharpness())]
    monkeypatch.setattr(restoration, "AT_ONCE", 2 * 3 * 16 * 16)
    chunked = [measured(metric, seen) for metric in (PSNR(), SSIM(), Sharpness())]
    for one, other in zip(whole, chunked, strict=True):
        assert one == pytest.approx(other, abs=1e-7)


def test_bicubic_on_a_photograph_has_the_psnr_that_pillow_and_scikit_image_give() -> None:
    data, color = pytest.importorskip("skimage.data"), pytest.importorskip("skimage.color")
    photograph = data.astronaut()
    small = Image.fromarray(photograph).resize((256, 256), Image.Resampling.BICUBIC)
    channels = [small.getchannel(i).convert("F").resize((512, 512), Image.Resampling.BICUBIC) for i in range(3)]
    large = np.stack(channels, -1).clip(0, 255)
    y, y_of_truth = (color.rgb2ycbcr(x / 255.0)[..., 0] for x in (large, photograph))
    theirs = quality.peak_signal_noise_ratio(y_of_truth, y, data_range=255)

    truth = torch.from_numpy(photograph).permute(2, 0, 1)[None] / 127.5 - 1
    degradation = SuperResolution()
    bar = degradation.solve(degradation(truth, lambda *_, **__: torch.empty(0)))
    found = measured(metrics.classes["psnr_y_bar"](), inputs(truth, truth, bar))
    assert found["value"] == pytest.approx(theirs, abs=0.01)  # Pillow reduces 8 bits one axis at a time, rounding twice
    assert found["bar"] == "bicubic"


# -- LPIPS: the published weights are not downloaded here, so AlexNet has random ones ----------------------------------


@pytest.fixture
def alexnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of torch.hub with random weights of AlexNet; those of its classifier are one number."""
    from torchvision.models import alexnet

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)  # an attempt fails
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in alexnet().state_dict().items()}
    weights = {
        name: 0.05 * torch.randn(shape) if name.startswith("features") else torch.zeros(1).expand(shape)
        for name, shape in shapes.items()
    }
    alexnet_file().parent.mkdir()
    torch.save(weights, alexnet_file())
    restoration.lpips_network.cache_clear()
    yield tmp_path
    restoration.lpips_network.cache_clear()


def test_lpips_is_absent_without_weights_and_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    reason = LPIPS().lacks()
    assert reason is not None
    assert str(tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth") in reason


def test_lpips_with_weights_is_torchmetrics(alexnet: Path) -> None:
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    pictures, truth = pair(3, 3, 32, 40)
    metric = LPIPS()
    assert metric.lacks() is None
    theirs = learned_perceptual_image_patch_similarity(pictures, truth, net_type="alex")
    assert measured(metric, inputs(pictures, truth))["value"] == pytest.approx(float(theirs), rel=1e-5)
    assert measured(metric, inputs(truth, truth))["value"] == 0
    grey = pair(2, 1, 31, 31)
    in_colour = tuple(x.expand(-1, 3, -1, -1) for x in grey)
    assert measured(metric, inputs(*grey)) == pytest.approx(measured(metric, inputs(*in_colour)), rel=1e-6)


def test_lpips_is_absent_for_small_pictures_and_other_channels() -> None:
    metric = LPIPS()
    assert metric(inputs(*pair(1, 3, 30, 32))) is None
    assert "31 x 31" in metric.absent
    assert metric(inputs(*pair(1, 4, 32, 32))) is None
    assert "1 or 3 channels" in metric.absent


# -- edges, and sources as they are ------------------------------------------------------------------------------------


def test_edges_are_as_steep_as_the_truths_whatever_the_noise() -> None:
    torch.manual_seed(0)
    truth = torch.zeros(3, 1, 40, 40)
    truth[..., 20:] = 0.8
    assert edge_sharpness(truth, truth).tolist() == pytest.approx([1, 1, 1])
    assert edge_sharpness(truth * 0.5, truth).tolist() == pytest.approx([0.5] * 3)
    noisy = truth + 0.1 * torch.randn(3, 1, 40, 40)
    assert float(edge_sharpness(noisy, truth).mean()) == pytest.approx(1, abs=0.05)
    blurred = torch.nn.functional.avg_pool2d(truth, 3, stride=1, padding=1, count_include_pad=False)
    # A step of three pixels is a third as steep between two neighbours, two thirds over two.
    assert edge_sharpness(blurred, truth).tolist() == pytest.approx([2 / 3] * 3, abs=1e-6)
    assert edge_sharpness(noisy, truth * 0).tolist() == [1, 1, 1]


def test_a_source_is_measured_where_it_is_as_large_as_its_truth() -> None:
    truth, source = torch.rand(2, 1, 16, 16) * 2 - 1, torch.rand(2, 1, 16, 16) * 2 - 1
    inputs = MetricInputs(truth, {"source": source, "target": truth})
    result = PSNROfTheSource()(inputs)
    assert result is not None
    assert result["value"] == pytest.approx(float(psnr(source, truth).mean()))
    small = PSNROfTheSource()
    assert small(MetricInputs(truth, {"source": source[..., ::2, ::2], "target": truth})) is None
    assert small.absent == "sources are no pictures of the truths' shape"
