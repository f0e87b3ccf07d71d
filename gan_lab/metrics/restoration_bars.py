"""The measures of `restoration` for what needs no network: the trivial solution, and the source as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.restoration import PSNR, SSIM, EdgeSharpness, LumaPSNR, OfPairs, Sharpness
from gan_lab.registry import metrics


class OfTheBar(OfPairs):
    """The same number for the trivial solution. It must be the first base of a class."""

    reads, needs = frozenset({"target"}), frozenset({"bar"})
    constant = True

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        found = self.of(seen.bar, seen["target"])
        return None if found is None else {**found, "bar": seen.bar_name}


class OfTheSource:
    """The same number of the source itself, where it is as large as the truth. It must be the first base of a class."""

    reads, constant = frozenset({"source", "target"}), True

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any] | None:
        source, target = seen["source"], seen["target"]
        if source.shape != target.shape:
            self.absent = "sources are no pictures of the truths' shape"
            return None
        found: Mapping[str, Any] | None = self.of(source, target)  # type: ignore[attr-defined]
        return found


@metrics.register("edge_sharpness_bar")
class EdgeSharpnessOfTheBar(OfTheBar, EdgeSharpness):
    """The trivial solution's sharpness of edges."""

    word, better = "edge_sharpness_bar", None


@metrics.register("psnr_bar")
class PSNROfTheBar(OfTheBar, PSNR):
    """The trivial solution's PSNR in dB."""

    word, headline = "psnr_bar", True


@metrics.register("psnr_y_bar")
class LumaPSNROfTheBar(OfTheBar, LumaPSNR):
    """The trivial solution's PSNR in dB of the luma alone."""

    word = "psnr_y_bar"


@metrics.register("ssim_bar")
class SSIMOfTheBar(OfTheBar, SSIM):
    """The trivial solution's structural similarity."""

    word, headline = "ssim_bar", True


@metrics.register("sharpness_bar")
class SharpnessOfTheBar(OfTheBar, Sharpness):
    """The trivial solution's sharpness."""

    word, better, headline = "sharpness_bar", None, False


@metrics.register("psnr_source")
class PSNROfTheSource(OfTheSource, PSNR):
    """The PSNR in dB of the sources as they are."""

    word, headline = "psnr_source", False


@metrics.register("ssim_source")
class SSIMOfTheSource(OfTheSource, SSIM):
    """The structural similarity of the sources as they are."""

    word, headline = "ssim_source", False
