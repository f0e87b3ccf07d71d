"""Low-dose tomography against scikit-image's projections, and its noise against the Poisson law."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gan_lab.datasets.columns import Column
from gan_lab.degradations.low_dose import WATER, LowDose
from gan_lab.degradations.tomography import back_projection, in_circle, radon
from tests.degradations.draws import RowDraw, pictures

WINDOW = (-1000.0, 2000.0)


def column(size: int = 32, **changes: object) -> Column:
    facts = {"window": WINDOW, "unit": "HU", "spacing": (2.0, 2.0), "range": (-1.0, 1.0)} | changes
    return Column("picture", (1, size, size), "float32", **facts)  # type: ignore[arg-type]


def smooth(size: int) -> torch.Tensor:
    picture = torch.nn.functional.interpolate(torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(0)), size)
    return picture[0] * in_circle(size, picture.device)


@pytest.mark.parametrize(("size", "angles"), [(32, 24), (33, 40)])
def test_projections_and_reconstructions_are_scikit_images(size: int, angles: int) -> None:
    transform = pytest.importorskip("skimage.transform", reason="the extra images is not installed")
    picture, degrees = smooth(size), np.arange(angles) * 180 / angles
    theirs = transform.radon(picture[0].double().numpy(), degrees, circle=True)
    assert np.allclose(radon(picture, angles)[0].T.numpy(), theirs, atol=1e-4)
    reconstructed = transform.iradon(theirs, degrees, circle=True)
    ours = back_projection(torch.from_numpy(theirs.T.copy())[None].float())[0].numpy()
    inside = in_circle(size - 4, picture.device).numpy() > 0  # the last ray is half a pixel outside
    assert np.allclose(ours[2:-2, 2:-2][inside], reconstructed[2:-2, 2:-2][inside], atol=2e-3)


def test_a_rays_noise_has_the_variance_of_poisson_counts() -> None:
    """The logarithm of a count of mean m has a variance of 1 / m for large m (delta method)."""
    degradation = LowDose(column(16), photons=1e5, angles=8)
    seen: list[torch.Tensor] = []
    air = torch.full((400, 1, 16, 16), -1.0)  # of no attenuation: as many photons arrive as left
    draw = RowDraw(range(400))

    def watched(stream: str, *shape: int, **kind: str) -> torch.Tensor:
        seen.append(draw(stream, *shape, **kind))  # type: ignore[arg-type]
        return seen[-1]

    noise = degradation(air, watched) - air  # type: ignore[arg-type]
    counts = 1e5 + math.sqrt(1e5) * seen[0]
    expected = back_projection((1e5 / counts).log()) * 1000 / (WATER * 2) * 2 / 3000
    torch.testing.assert_close(noise[:, 0], expected)
    assert float((1e5 / counts).log().var()) == pytest.approx(1e-5, rel=0.05)


def test_fewer_photons_make_more_noise_and_water_takes_some_away() -> None:
    water = torch.full((8, 1, 32, 32), (0 + 1000) / 1500 - 1)
    air = torch.full((8, 1, 32, 32), -1.0)
    middle = slice(12, 20)

    def noise(target: torch.Tensor, photons: float) -> float:
        made = LowDose(column(), photons=photons)(target, RowDraw(range(8))) - target
        return float(made[:, 0, middle, middle].std())

    assert noise(water, 1e4) == pytest.approx(noise(water, 4e4) * 2, rel=0.05)
    through = math.exp(-WATER * 2 * 32)  # the mean count behind 64 mm of water in the middle of the circle
    assert 1 < noise(water, 1e4) / noise(air, 1e4) < 1 / math.sqrt(through)


def test_a_row_has_the_same_noise_in_any_batch_and_a_median_takes_it_away() -> None:
    target = (pictures(3, 1, 32, 32) * 0.05 - 0.3).float()
    degradation = LowDose(column(), photons=1e4)
    together = degradation(target, RowDraw(range(3)))
    alone = degradation(target[2:], RowDraw([2]))
    torch.testing.assert_close(together[2:], alone, rtol=0, atol=1e-6)
    flat = torch.full((2, 1, 32, 32), -0.3)
    noisy = degradation(flat, RowDraw(range(2)))
    assert (degradation.solve(noisy) - flat)[..., 4:-4, 4:-4].std() < 0.7 * (noisy - flat)[..., 4:-4, 4:-4].std()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"unit": ""}, "wants tomographic pictures in Hounsfield units: choose dataset=head_ct"),
        ({"spacing": ()}, "wants tomographic pictures"),
        ({"shape": (1, 32, 40)}, "grey squares, not 1 x 32 x 40"),
        ({"shape": (3, 32, 32)}, "grey squares, not 3 x 32 x 32"),
    ],
)
def test_what_it_refuses(changes: dict[str, object], why: str) -> None:
    import dataclasses

    with pytest.raises(ValueError, match=why):
        LowDose(dataclasses.replace(column(), **changes))  # type: ignore[arg-type]
