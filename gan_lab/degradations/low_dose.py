"""Low-dose computed tomography: pictures with the noise of few X-ray photons."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import pad

from gan_lab.degradations import Degradation, Draw
from gan_lab.degradations.tomography import back_projection, radon
from gan_lab.registry import Bounds, Positive, degradations

PHOTONS = "degradation/photons"
WATER = 0.0193  # attenuation of water in 1/mm at 70 keV (Hubbell and Seltzer 1995, NIST)
LIMIT = 1e9  # photons


@degradations.register("low_dose")
class LowDose(Degradation):
    """The source is the target plus the noise that `photons` for each ray leave in its reconstruction.

    The target, in Hounsfield units, gives the attenuation of a slice and so the mean number of photons behind it, for
    `angles` directions of a parallel beam (scikit-image's geometry). Counts are Poisson, by their normal approximation,
    at least one; below some 20 photons that is rough. The logarithm's error is reconstructed by filtered
    back-projection and added: noise insertion, so the source has the target's own sharpness. It may leave [-1, 1].
    The trivial solution is a median filter of 3 x 3 px. Raises ValueError for data that are not in Hounsfield units, or
    do not say how large their pixels are, and for pictures that are not grey squares.
    """

    bar = "median filter"
    streams = (PHOTONS,)

    def __init__(
        self, pictures: Any, *, photons: Annotated[float, Bounds(1.0, LIMIT)] = 10_000.0, angles: Positive = 180
    ) -> None:
        if pictures.unit != "HU" or not pictures.window or not pictures.spacing:
            raise ValueError(
                "degradation=low_dose wants tomographic pictures in Hounsfield units: choose dataset=head_ct, or "
                "dataset=volumes with DICOM series"
            )
        channels, height, width = pictures.shape
        if channels != 1 or height != width:
            raise ValueError(f"degradation=low_dose wants grey squares, not {channels} x {height} x {width}")
        self.photons, self.angles = photons, angles
        self.window, self.pixel = pictures.window, pictures.spacing[0]

    def __call__(self, target: Tensor, draw: Draw) -> Tensor:
        low, high = self.window
        hounsfield = (target[:, 0].float() + 1) * ((high - low) / 2) + low
        attenuation = (1 + hounsfield / 1000).clamp(min=0) * (WATER * self.pixel)  # of a pixel
        mean = self.photons * (-radon(attenuation, self.angles)).exp()
        counts = (mean + mean.sqrt() * draw(PHOTONS, *mean.shape[1:])).clamp(min=1)
        noise = back_projection((mean / counts).log()) * (1000 / (WATER * self.pixel))  # in Hounsfield units
        return target + (noise * (2 / (high - low)))[:, None]

    def solve(self, source: Tensor) -> Tensor:
        around = pad(source, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
        filtered: Tensor = around.flatten(4).median(4).values
        return filtered.clamp(-1, 1)
