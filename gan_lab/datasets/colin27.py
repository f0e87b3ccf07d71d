"""A head and its brain by magnetic resonance: real data for segmentation that Debian packs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gan_lab.datasets.masks import Labelled
from gan_lab.datasets.medical import Volume, read_volume
from gan_lab.datasets.slices import Axis, Case, Slices, View
from gan_lab.datasets.sources import given_folder
from gan_lab.datasets.store import height_width
from gan_lab.registry import Positive, datasets

FOLDER = Path("/usr/share/mricron/templates")
HEAD, BRAIN = "ch2.nii.gz", "ch2bet.nii.gz"


@datasets.register("colin27")
class Colin27(Slices):
    """Slices of Colin27, the mean of 27 T1-weighted scans of one head (Holmes et al. 1998), and masks of its brain.

    Of Debian's mricron-data: the whole head `ch2`, 181 x 217 x 181 voxels of 1 mm with values 0 to 255, and `ch2bet`,
    the same without what is not brain, which makes the mask. Blocks of `block` slices are tested, one of five. See
    `slices.Slices`. `labelled` is the share of training slices whose masks are used, each n-th. Raises ValueError
    where the package is not installed.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        axis: Axis = "axial",
        spacing: float | None = 2.0,
        image_size: Positive | tuple[Positive, Positive] = (112, 96),
        block: Positive = 12,
        labelled: Labelled = 1.0,
    ) -> None:
        folder = given_folder(path) or FOLDER
        files = (folder / HEAD, folder / BRAIN)
        if not all(file.is_file() for file in files):
            raise ValueError(f"dataset=colin27 needs {HEAD} and {BRAIN} in {folder}: apt-get install mricron-data")
        view = View(height_width(image_size), (0.0, 255.0), axis, spacing)
        case = Case("colin27", files, lambda: read_with_mask(*files))
        super().__init__(
            "colin27", {"train": [case]}, view, spacing=(1.0, 1.0), block=block, classes=2, labelled=labelled
        )


def read_with_mask(picture: Path, mask: Path) -> tuple[Volume, np.ndarray]:
    """A volume, and another of the same shape as classes: what is not 0 there is 1."""
    volume, other = read_volume(picture), read_volume(mask)
    return volume, other.values > 0
