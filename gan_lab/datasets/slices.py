"""Slices of medical volumes as pictures: in one spacing and one size, by a window of their units, with masks or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import interpolate

from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.columns import Column
from gan_lab.datasets.masks import masked_columns, partly_labelled, with_masks
from gan_lab.datasets.medical import ALIKE, Volume
from gan_lab.datasets.sources import file_digest
from gan_lab.datasets.store import Store
from gan_lab.registry import unknown

Axis = Literal["axial", "coronal", "sagittal"]
AXES = {"axial": 0, "coronal": 1, "sagittal": 2}


@dataclass(frozen=True)
class Case:
    """One volume by its name, with a mask of its shape or none. `read` reads both; `files` decide what they hold."""

    name: str
    files: tuple[Path, ...]
    read: Callable[[], tuple[Volume, np.ndarray | None]]


@dataclass(frozen=True)
class View:
    """How a volume becomes pictures [C=1, H, W] in [-1, 1].

    `window` is what -1 and 1 stand for; values outside are clipped to it. Slices are resized to `spacing` mm a pixel
    (null: as they are), then their centre is cut or padded with the window's lowest value to `size`.
    """

    size: tuple[int, int]
    window: tuple[float, float]
    axis: Axis = "axial"
    spacing: float | None = None

    def pixel(self, volume: Volume) -> tuple[float, float]:
        """Height and width in mm of a pixel of the slices, before they are resized."""
        down, across = (size for i, size in enumerate(volume.spacing) if i != AXES[self.axis])
        return down, across

    def pictures(self, volume: Volume) -> np.ndarray:
        """float32 [N, H, W, 1], one for each slice."""
        low, high = self.window
        slices = self._slices(volume.values.astype(np.float32))
        scaled = (self._resized(slices, volume, "bilinear").clamp(low, high) - low) * (2 / (high - low)) - 1
        return self._fitted(scaled, -1.0)[..., None]

    def masks(self, mask: np.ndarray, volume: Volume) -> np.ndarray:
        """uint8 [N, H, W]."""
        slices = self._slices(mask.astype(np.float32))
        return self._fitted(self._resized(slices, volume, "nearest-exact"), 0).astype(np.uint8)

    def _slices(self, values: np.ndarray) -> torch.Tensor:
        slices = np.moveaxis(values, AXES[self.axis], 0)
        if self.axis != "axial":  # the head at the top
            slices = slices[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(slices))

    def _resized(self, slices: torch.Tensor, volume: Volume, mode: str) -> torch.Tensor:
        if self.spacing is None:
            return slices
        sizes = [
            max(round(side * pixel / self.spacing), 1)
            for side, pixel in zip(slices.shape[1:], self.pixel(volume), strict=True)
        ]
        more = {"antialias": True, "align_corners": False} if mode == "bilinear" else {}
        return interpolate(slices[:, None], sizes, mode=mode, **more)[:, 0]

    def _fitted(self, slices: torch.Tensor, empty: float) -> np.ndarray:
        """The centre [N, H, W], where there is less, padded with `empty`."""
        out = torch.full((len(slices), *self.size), empty)
        here, there = [slice(None)], [slice(None)]
        for has, wanted in zip(slices.shape[1:], self.size, strict=True):
            both = min(has, wanted)
            here.append(slice((has - both) // 2, (has - both) // 2 + both))
            there.append(slice((wanted - both) // 2, (wanted - both) // 2 + both))
        out[tuple(there)] = slices[tuple(here)]
        return out.numpy()


class Slices:
    """The base of data sets of slices. Column `sample`, float32; with masks, `mask`, and what `masked_columns` says.

    Several volumes are divided between the splits as they are given. A single one is divided into blocks of
    neighbouring slices, of which every fifth is tested: neighbours look nearly the same. Slices on which nothing
    is to be seen, of a single value, are left out.
    """

    num_classes = None

    def __init__(
        self,
        name: str,
        cases: Mapping[str, Sequence[Case]],
        view: View,
        *,
        unit: str = "",
        spacing: tuple[float, float] = (),  # type: ignore[assignment]
        block: int = 12,
        classes: int | None = None,
        labelled: float = 1.0,
    ) -> None:
        low, high = view.window
        if not low < high:
            raise ValueError(f"dataset.window={[low, high]}: the lowest value comes first, then the highest")
        self.name, self.cases, self.view, self.block = name, cases, view, block
        self.classes, self.labelled = classes, labelled
        self.divided = "test" not in cases and len(cases["train"]) == 1
        self.splits = ("train", "test") if self.divided or "test" in cases else ("train",)
        self.sample_shape = (1, *view.size)
        spacing = (view.spacing, view.spacing) if view.spacing is not None else spacing
        picture = Column(
            "picture", self.sample_shape, "float32", (-1.0, 1.0), window=view.window, unit=unit, spacing=spacing
        )
        self.columns = {"sample": picture} if classes is None else masked_columns(picture, classes, labelled)

    def load(self, split: str = "train") -> Store:
        """Columns `sample` float32 [N, H, W, 1] and, with masks, `mask` uint8 [N, H, W], from a cache of the files."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        cases = self.cases.get(split) or self.cases["train"]
        contents = [(case.name, *map(file_digest, case.files)) for case in cases]
        key = content_key(contents, vars(self.view), self.block, self.classes, split, 1)
        store = cached(self.name, key, lambda skipped: self._rows(split, cases))
        learned = self.classes is not None and split == "train"
        return partly_labelled(store, self.labelled, self.classes or 2, spread=True) if learned else store

    def _rows(self, split: str, cases: Sequence[Case]) -> Rows:
        pixel: tuple[str, tuple[float, float]] | None = None
        for case in cases:
            volume, mask = case.read()
            own = self.view.pixel(volume)
            if pixel is not None and self.view.spacing is None and not np.allclose(pixel[1], own, rtol=ALIKE):
                said = " and ".join(
                    f"{name} has pixels of {h:g} x {w:g} mm" for name, (h, w) in (pixel, (case.name, own))
                )
                raise ValueError(f"{said}: set dataset.spacing to the mm that all are to have, such as {max(own):g}")
            pixel = pixel or (case.name, own)
            pictures = self.view.pictures(volume)
            kept = pictures.min((1, 2, 3)) < pictures.max((1, 2, 3))
            if self.divided:
                kept &= for_tests(len(pictures), self.block) == (split == "test")
            yield from self._chunks(pictures[kept], None if mask is None else self.view.masks(mask, volume)[kept])

    def _chunks(self, pictures: np.ndarray, masks: np.ndarray | None) -> Iterator[Mapping[str, np.ndarray]]:
        if masks is not None:
            return with_masks(pictures, masks)
        return ({"sample": pictures[start : start + 256]} for start in range(0, len(pictures), 256))


EVERY = 5  # of so many blocks of a single volume, the middle one is tested


def for_tests(slices: int, block: int) -> np.ndarray:
    """Which of the slices of a single volume are for tests, bool [slices].

    >>> for_tests(12, 2).astype(int).tolist()
    [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    """
    found: np.ndarray = np.arange(slices) // block % EVERY == EVERY // 2
    return found
