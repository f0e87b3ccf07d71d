"""The large extractors of the literature, from torch-fidelity, with the published resizing and layers.

Weights are downloaded at the first use, or read from a file. The words fid, kid and is are reserved for
`inception-v3-compat` with its published weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan_lab.feature_extractors import Features
from gan_lab.registry import feature_extractors, unknown

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"  # as torch.hub names the download
INCEPTION_LAYERS = (64, 192, 768, 2048)  # by their dimensions


class FidelityExtractor(nn.Module):
    """An extractor of torch-fidelity with some of its layers: the first gives features, a second one logits.

    Pictures are uint8 [B, 1 or 3, H, W] of any size; grey ones are repeated to three channels. Raises ValueError where
    the weights cannot be read or downloaded.
    """

    resize: str
    settings_in_name = ("model", "layer")

    def __init__(self, kind: str, name: str, layers: list[str], sample_shape: tuple[int, ...], weights: str | None):
        super().__init__()
        if len(sample_shape) != 3 or sample_shape[0] not in (1, 3):
            raise ValueError(
                f"feature_extractor={name} sees grey or colour pictures, not samples of shape {tuple(sample_shape)}"
            )
        self.name, self.layer, self.grey = name, layers[0], sample_shape[0] == 1
        file = _weights_file(name, weights)
        self.weights_hash = hashlib.sha256(file.read_bytes()).hexdigest() if file else None
        self.net = _build(kind, name, layers, file)
        size = getattr(self.net, "INPUT_IMAGE_SIZE", None) or self.net.resolution
        grey = "grey repeated to 3 channels, " if self.grey else ""
        self.resize = f"{grey}{sample_shape[1]} to {size} bilinear as in TensorFlow 1"

    def forward(self, pictures: Tensor) -> Features:
        """Pictures, uint8 [B, C, H, W]."""
        return Features(*self.net(pictures.expand(-1, 3, -1, -1) if self.grey else pictures))


def _weights_file(name: str, weights: str | None) -> Path | None:
    if weights is None:
        return None
    file = Path(weights).expanduser()
    if not file.is_file():
        raise ValueError(f"feature_extractor.weights={weights}: there is no such file")
    return file


def _build(kind: str, name: str, layers: list[str], file: Path | None) -> Any:
    import torch_fidelity  # it takes seconds to import

    try:
        if file and kind != "FeatureExtractorCLIP":  # a check, because torch-fidelity unpickles any content
            torch.load(file, map_location="cpu", weights_only=True)
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars of downloads
            return getattr(torch_fidelity, kind)(
                name, layers, feature_extractor_weights_path=None if file is None else str(file), verbose=False
            )
    except pickle.UnpicklingError as error:
        raise ValueError(f"feature_extractor.weights={file} is no file of weights alone, and is not loaded") from error
    except Exception as error:  # downloaders and loaders may raise any exception
        why = " ".join(str(error).split())[:200] or type(error).__name__
        if file:
            raise ValueError(f"feature_extractor.weights={file} does not hold the weights of {name}: {why}") from error
        own = "" if name.startswith("dinov2") else "give feature_extractor.weights=FILE, or "
        raise ValueError(
            f"feature_extractor={name}: its weights cannot be downloaded ({why}); {own}choose another "
            "(gan-lab list feature_extractors)"
        ) from error


def downloaded_inception() -> Path | None:
    """The file of Inception's weights if torch.hub has downloaded it before, else None."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    return file if file.is_file() else None


@feature_extractors.register("inception-v3-compat")
class Inception(FidelityExtractor):
    """Inception v3 of 2015, converted from TensorFlow: the extractor of FID (Heusel et al. 2017, arXiv 1706.08500).

    Raises ValueError for a layer other than 64, 192, 768, 2048.
    """

    def __init__(self, sample_shape: tuple[int, ...], *, weights: str | None = None, layer: int = 2048) -> None:
        if layer not in INCEPTION_LAYERS:
            raise unknown("feature_extractor.layer", layer, map(str, INCEPTION_LAYERS))
        layers = [str(layer), "logits_unbiased"]
        super().__init__("FeatureExtractorInceptionV3", "inception-v3-compat", layers, sample_shape, weights)
        if self.weights_hash is None and (file := downloaded_inception()):
            self.weights_hash = hashlib.sha256(file.read_bytes()).hexdigest()
        if layer != INCEPTION_LAYERS[-1]:
            self.name = f"inception-v3-compat-{layer}"


@feature_extractors.register("vgg16")
class VGG16(FidelityExtractor):
    """VGG-16 (Simonyan and Zisserman 2014, arXiv 1409.1556), its 4,096 last hidden activations."""

    def __init__(self, sample_shape: tuple[int, ...], *, weights: str | None = None) -> None:
        super().__init__("FeatureExtractorVGG16", "vgg16", ["fc2_relu"], sample_shape, weights)


@feature_extractors.register("clip")
class CLIP(FidelityExtractor):
    """CLIP's image encoder (Radford et al. 2021, arXiv 2103.00020); on images: Kynkaanniemi et al. 2022, 2203.06026."""

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        model: Literal["rn50", "rn101", "vit-b-32", "vit-b-16", "vit-l-14", "vit-l-14-336px"] = "vit-b-32",
        weights: str | None = None,
    ) -> None:
        super().__init__("FeatureExtractorCLIP", f"clip-{model}", ["clip"], sample_shape, weights)


@feature_extractors.register("dinov2")
class DINOv2(FidelityExtractor):
    """DINOv2 (Oquab et al. 2023, arXiv 2304.07193); vit-l-14 is that of Stein et al. 2023, arXiv 2306.04675."""

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        model: Literal["vit-s-14", "vit-b-14", "vit-l-14", "vit-g-14"] = "vit-l-14",
    ) -> None:
        super().__init__("FeatureExtractorDinoV2", f"dinov2-{model}", ["dinov2"], sample_shape, None)
