"""The large extractors of the literature, from torch-fidelity, with the published resizing and layers.

Weights are downloaded at the first use, or read from a file. A file is read only where its SHA-256 is that of the
published weights: torch-fidelity unpickles what it loads, and CLIP's files hold programs. The words fid, kid and is are
reserved for `inception-v3-compat` with its published weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan_lab.feature_extractors import Features
from gan_lab.registry import feature_extractors, unknown

CLIP_MODELS = {  # OpenAI's addresses contain these
    "rn50": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "rn101": "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
    "vit-b-32": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "vit-b-16": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "vit-l-14": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    "vit-l-14-336px": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
}
INCEPTION = "inception-v3-compat"
PUBLISHED = {  # of each extractor, the file as torch.hub names its download, and the SHA-256 of its content
    INCEPTION: (
        "weights-inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    "vgg16": ("vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
    **{f"clip-{model}": (f"clip-{model}-{digest}.pt", digest) for model, digest in CLIP_MODELS.items()},
}
INCEPTION_LAYERS = (64, 192, 768, 2048)  # by their dimensions


class FidelityExtractor(nn.Module):
    """An extractor of torch-fidelity with some of its layers: the first gives features, a second one logits.

    Pictures are uint8 [B, 1 or 3, H, W] of any size; grey ones are repeated to three channels. Raises ValueError where
    the weights cannot be read or downloaded, or are not the published ones.
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
        self.weights_hash = PUBLISHED[name][1] if name in PUBLISHED else None
        self.net = _build(kind, name, layers, file)
        size = getattr(self.net, "INPUT_IMAGE_SIZE", None) or self.net.resolution
        grey = "grey repeated to 3 channels, " if self.grey else ""
        self.resize = f"{grey}{sample_shape[1]} to {size} bilinear as in TensorFlow 1"

    def forward(self, pictures: Tensor) -> Features:
        """Pictures, uint8 [B, C, H, W]."""
        return Features(*self.net(pictures.expand(-1, 3, -1, -1) if self.grey else pictures))


def _weights_file(name: str, weights: str | None) -> Path | None:
    """The given file, or that of an earlier download; None where there is neither.

    Raises ValueError for any content but the published one, before anything is loaded.
    """
    file = Path(weights).expanduser() if weights is not None else downloaded(name)
    if file is None:
        return None
    given = f"feature_extractor.weights={weights}" if weights is not None else str(file)
    if not file.is_file():
        raise ValueError(f"{given}: there is no such file")
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != PUBLISHED[name][1]:
        raise ValueError(
            f"{given} is not loaded: the SHA-256 of the published weights of {name} begins with "
            f"{PUBLISHED[name][1][:8]}, its own with {digest[:8]}; download it again, or register your own extractor"
        )
    return file


def downloaded(name: str) -> Path | None:
    """The file of an extractor's weights if torch.hub has downloaded it before, else None."""
    if name not in PUBLISHED:  # its code is downloaded, too
        return None
    file = Path(torch.hub.get_dir()) / "checkpoints" / PUBLISHED[name][0]
    return file if file.is_file() else None


def _downloaded_inception() -> Path | None:
    """Its file, downloaded and compared. torch-fidelity would unpickle whatever came."""
    from torch_fidelity import feature_extractor_inceptionv3 as published

    published.load_state_dict_from_url(
        published.URL_INCEPTION_V3, check_hash=True, weights_only=True, map_location="cpu", progress=False
    )
    return _weights_file(INCEPTION, None)


def _build(kind: str, name: str, layers: list[str], file: Path | None) -> Any:
    import torch_fidelity  # it takes seconds to import

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars of downloads
            if file is None and name == INCEPTION:
                file = _downloaded_inception()
            return getattr(torch_fidelity, kind)(
                name, layers, feature_extractor_weights_path=None if file is None else str(file), verbose=False
            )
    except Exception as error:  # downloaders and loaders may raise any exception
        why = " ".join(str(error).split())[:200] or type(error).__name__
        if file:
            raise ValueError(f"feature_extractor={name}: {file} cannot be loaded: {why}") from error
        own = "" if name.startswith("dinov2") else "give feature_extractor.weights=FILE, or "
        raise ValueError(
            f"feature_extractor={name}: its weights cannot be downloaded ({why}); {own}choose another "
            "(gan-lab list feature_extractors)"
        ) from error


@feature_extractors.register(INCEPTION)
class Inception(FidelityExtractor):
    """Inception v3 of 2015, converted from TensorFlow: the extractor of FID (Heusel et al. 2017, arXiv 1706.08500).

    Raises ValueError for a layer other than 64, 192, 768, 2048.
    """

    def __init__(self, sample_shape: tuple[int, ...], *, weights: str | None = None, layer: int = 2048) -> None:
        if layer not in INCEPTION_LAYERS:
            raise unknown("feature_extractor.layer", layer, map(str, INCEPTION_LAYERS))
        layers = [str(layer), "logits_unbiased"]
        super().__init__("FeatureExtractorInceptionV3", INCEPTION, layers, sample_shape, weights)
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
    """DINOv2 (Oquab et al. 2023, arXiv 2304.07193); vit-l-14 is that of Stein et al. 2023, arXiv 2306.04675.

    It runs code from the network: torch.hub downloads the newest of github.com/facebookresearch/dinov2 and imports it,
    and no checksum is compared. A line on stderr says so.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        model: Literal["vit-s-14", "vit-b-14", "vit-l-14", "vit-g-14"] = "vit-l-14",
    ) -> None:
        print(
            "feature_extractor=dinov2: torch.hub downloads code of github.com/facebookresearch/dinov2 and runs it",
            file=sys.stderr,
        )
        super().__init__("FeatureExtractorDinoV2", f"dinov2-{model}", ["dinov2"], sample_shape, None)
