"""Measures of pictures that have a truth: their distance to it, and their sharpness.

Pictures and truths are float [N, C, H, W] in [-1, 1]. The number of several pictures is the mean over pictures, with
the standard error of the mean. Borders are included; super-resolution papers often leave some pixels out.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.metrics.base import OfColumns
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.registry import metrics

CAP = 100.0  # dB, for equal pictures, whose PSNR is infinite
LUMA = (65.481, 128.553, 24.966)  # of red, green and blue in [0, 1], BT.601: 16 (black) to 235 (white) of 255
WINDOW = 11  # pixels that the window of SSIM takes
EDGES = 0.05  # share of a picture's pixels that are taken for its edges
AT_ONCE = 1 << 20  # values of a chunk


def chunked(measure: Callable[[Tensor, Tensor], Tensor], pictures: Tensor, target: Tensor) -> Tensor:
    """`measure` of chunks of pictures and truths [n, C, H, W], joined: memory does not grow with their number."""
    assert pictures.shape == target.shape, f"pictures {tuple(pictures.shape)}, truths {tuple(target.shape)}"
    rows = max(1, AT_ONCE // target[0].numel())
    return torch.cat([measure(*part) for part in zip(pictures.split(rows), target.split(rows), strict=True)])


def psnr(pictures: Tensor, target: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each picture in dB, float64 [N], for a range of 2. Equal pictures get `CAP`."""
    error = (pictures.double() - target.double()).square().mean((1, 2, 3))
    return 10 * torch.log10(4 / error.clamp(min=4 / 10 ** (CAP / 10)))


def luma(pictures: Tensor) -> Tensor:
    """The Y of MATLAB's rgb2ycbcr, less its offset and not rounded: [N, 1, H, W], where 2 is the range of 255.

    Grey pictures stay as they are.
    """
    if pictures.shape[1] == 1:
        return pictures
    weights = torch.tensor(LUMA, dtype=torch.float64) / 255
    return (pictures.double() * weights[:, None, None]).sum(1, keepdim=True)


def luma_psnr(pictures: Tensor, target: Tensor) -> Tensor:
    """`psnr` of the luma of grey or colour pictures."""
    return psnr(luma(pictures), luma(target))


def ssim(pictures: Tensor, target: Tensor) -> Tensor:
    """The structural similarity of each picture, [N], at most 1 (Wang et al. 2004, doi 10.1109/TIP.2003.819861).

    Gaussian window of 11 pixels and a deviation of 1.5, of each channel. Only whole windows count, as in the paper and
    in scikit-image: torchmetrics' own mean also takes a reflected border, and differs by up to 0.1 for small pictures.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    border = WINDOW // 2
    # The luminance term of SSIM needs values that start at 0, so [-1, 1] is shifted.
    ours, truth = ((x.float() + 1) / 2 for x in (pictures, target))
    _, everywhere = structural_similarity_index_measure(
        ours, truth, data_range=1.0, reduction="none", return_full_image=True
    )
    return everywhere[..., border:-border, border:-border].double().mean((1, 2, 3))


def gradient_magnitude(pictures: Tensor) -> Tensor:
    """The mean length of each picture's gradient by forward differences, float64 [N]."""
    x = pictures.double()
    across, down = x[:, :, :-1, 1:] - x[:, :, :-1, :-1], x[:, :, 1:, :-1] - x[:, :, :-1, :-1]
    return torch.hypot(across, down).mean((1, 2, 3))


def edge_sharpness(pictures: Tensor, target: Tensor) -> Tensor:
    """How steep each picture is where its truth has edges, over the truth's own steepness there, float64 [N].

    Edges are the `EDGES` steepest pixels of the truth. Gradients (central differences) are projected on the truth's, so
    that noise, which has no direction, adds nothing: sum(gx . gt) / sum(gt . gt). A flat truth gets 1.
    """
    ours, truth = (gradients(x.double()).flatten(2) for x in (pictures, target))
    steep = truth.square().sum(1)
    edges = steep >= steep.quantile(1 - EDGES, dim=1, keepdim=True)
    both, own = ((x * truth).sum(1).mul(edges).sum(1) for x in (ours, truth))
    return torch.where(own > 0, both / own.clamp(min=1e-30), 1.0)


def gradients(pictures: Tensor) -> Tensor:
    """Central differences across and down [N, 2 C, H - 2, W - 2]."""
    inside = pictures[:, :, 1:-1, 2:] - pictures[:, :, 1:-1, :-2], pictures[:, :, 2:, 1:-1] - pictures[:, :, :-2, 1:-1]
    return torch.cat(inside, 1) / 2


# -- LPIPS -------------------------------------------------------------------------------------------------------------


def alexnet_file() -> Path:
    """Where torchvision keeps AlexNet's weights."""
    from torchvision.models import AlexNet_Weights

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(AlexNet_Weights.DEFAULT.url).name


@functools.cache
def lpips_network(file: Path) -> nn.Module:
    """The network of LPIPS, cached by AlexNet's file. torchmetrics contains the weights of its linear layers."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    assert file.is_file(), "torchvision would download it"
    network: nn.Module = LearnedPerceptualImagePatchSimilarity(net_type="alex").net.eval()
    return network


@torch.no_grad()
def lpips(pictures: Tensor, target: Tensor) -> Tensor:
    """The learned perceptual distance of each picture by AlexNet, [N] (Zhang et al. 2018, arXiv 1801.03924, eq. 1).

    Grey pictures are repeated to three channels. Nothing is downloaded: `alexnet_file` must exist.
    """
    pair = (x.float().clamp(-1, 1).expand(-1, 3, -1, -1) for x in (pictures, target))
    distance: Tensor = lpips_network(alexnet_file())(*pair)
    return distance.flatten().double()


# -- measures ----------------------------------------------------------------------------------------------------------


class OfPairs(OfColumns):
    """A number of pictures and their truths."""

    reads = frozenset({"sample", "target"})

    @abstractmethod
    def of(self, pictures: Tensor, target: Tensor) -> Mapping[str, Any] | None:
        """A mapping with the number under "value", or None, with the reason in `absent`."""

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        return self.of(seen["sample"], seen["target"])


class MeanOfPairs(OfPairs):
    """The mean over pictures of a number that is computed for each of them."""

    each: Callable[[Tensor, Tensor], Tensor]  # the numbers [n] of a chunk of pictures and their truths
    channels: tuple[int, ...] = ()  # numbers of channels for which it is defined; empty: any
    least = 1  # smallest height and width in pixels

    def of(self, pictures: Tensor, target: Tensor) -> Mapping[str, Any] | None:
        channels, height, width = target.shape[1:]
        if self.channels and channels not in self.channels:
            self.absent = f"it is of pictures with {' or '.join(map(str, self.channels))} channels, not {channels}"
        elif min(height, width) < self.least:
            self.absent = f"it takes {self.least} x {self.least} pixels at least, not {height} x {width}"
        else:
            return mean(chunked(self.each, pictures, target))
        return None


def mean(values: Tensor) -> Mapping[str, Any]:
    """The mean of values [N] and its standard error; with one value, the mean alone."""
    error = {"standard_error": float(values.std()) / math.sqrt(len(values))} if len(values) > 1 else {}
    return {"value": float(values.mean()), **error}


@metrics.register("psnr")
class PSNR(MeanOfPairs):
    """The peak signal-to-noise ratio in dB, 100 at most."""

    word, better, headline = "psnr", "higher", True
    each = staticmethod(psnr)


@metrics.register("psnr_y")
class LumaPSNR(MeanOfPairs):
    """The peak signal-to-noise ratio in dB of the luma alone, as super-resolution papers give it."""

    word, better = "psnr_y", "higher"
    each = staticmethod(luma_psnr)
    channels = (1, 3)


@metrics.register("ssim")
class SSIM(MeanOfPairs):
    """The structural similarity: 1 for equal pictures."""

    word, better, headline = "ssim", "higher", True
    each = staticmethod(ssim)
    least = WINDOW


@metrics.register("lpips")
class LPIPS(MeanOfPairs):
    """The learned perceptual distance: 0 for equal pictures. Only where AlexNet's weights are at hand."""

    word, better, headline = "lpips", "lower", True
    each = staticmethod(lpips)
    channels = (1, 3)
    least = 31  # below that AlexNet's second pooling has nothing to pool

    def lacks(self) -> str | None:
        file = alexnet_file()
        why = f"it needs AlexNet's weights at {file}, which torchvision.models.alexnet(weights='DEFAULT') downloads"
        return None if file.is_file() else why


@metrics.register("sharpness")
class Sharpness(OfPairs):
    """The mean gradient magnitude of the pictures over that of the truths: 1 is as sharp as the truth, less is blurred.

    A ratio of means, because a single flat truth would divide by zero. More is not better: noise is sharp, too.
    """

    word, better, headline = "sharpness", None, True

    def of(self, pictures: Tensor, target: Tensor) -> Mapping[str, Any] | None:
        ours, truth = (chunked(lambda x, _: gradient_magnitude(x), x, target) for x in (pictures, target))
        if not truth.mean() > 0:
            self.absent = "the truths are all flat"
            return None
        ratio = float(ours.mean() / truth.mean())
        # The delta method's standard error of a ratio of means.
        return {**mean((ours - ratio * truth) / truth.mean()), "value": ratio}


@metrics.register("edge_sharpness")
class EdgeSharpness(MeanOfPairs):
    """How steep pictures are at their truths' edges: 1 is as sharp, less is blurred. Noise does not count."""

    word, better = "edge_sharpness", None
    each = staticmethod(edge_sharpness)
    least = 3
