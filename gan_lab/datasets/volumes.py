"""A user's own medical volumes, as slices: NIfTI files and DICOM series, with masks or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gan_lab.datasets.exact import DICOM, Unreadable
from gan_lab.datasets.masks import Classes, Labelled
from gan_lab.datasets.medical import NIFTI, Volume, is_dicom, is_nifti, read_volume
from gan_lab.datasets.slices import Axis, Case, Slices, View
from gan_lab.datasets.sources import given_folder, held_out, refuse_shared
from gan_lab.datasets.store import height_width
from gan_lab.registry import Positive, Share, datasets


@datasets.register("volumes")
class Volumes(Slices):
    """Slices of the volumes in `path`: NIfTI files, and folders with the DICOM files of one series each.

    `window=[LOW,HIGH]` says which values, in the files' units (HU of CT), -1 and 1 stand for; values outside are
    clipped. Volumes of unequal pixels need `spacing`, in mm, to which all slices are resized; the centre is cut or
    padded to `image_size`. `masks` is a folder with a NIfTI file of each volume's name, in which, with two
    `mask_classes`, whatever is not 0 is the second class. Test volumes lie in `test_path` (their masks in the same
    `masks`), else they are the last `test_share` by name; of a single volume, one block of `block` slices of five.
    `labelled` is the share of training slices whose masks are used, each n-th. A file that cannot be read is refused by
    name, as one volume more or less would change what a run is. See `slices.Slices`.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        masks: str | None = None,
        mask_classes: Classes = 2,
        test_path: str | None = None,
        test_share: Share = 0.2,
        axis: Axis = "axial",
        window: tuple[float, float] | None = None,
        spacing: float | None = None,
        image_size: Positive | tuple[Positive, Positive] = 128,
        block: Positive = 12,
        labelled: Labelled = 1.0,
    ) -> None:
        if (folder := given_folder(path)) is None:
            raise ValueError("dataset=volumes needs dataset.path=FOLDER with NIfTI files or folders of DICOM files")
        if window is None:
            raise ValueError(
                "dataset=volumes needs dataset.window=[LOW,HIGH], the values that -1 and 1 stand for: of CT in HU, "
                "such as [-1000,2000] for all of a head, or [0,80] for its brain"
            )
        if spacing is not None and not spacing > 0:
            raise ValueError(f"dataset.spacing={spacing:g}: give the height and width of a pixel in mm, or null")
        self.mask_folder = given_folder(masks, "dataset.masks")
        self.mask_classes = mask_classes
        given = self._cases(folder, f"dataset.path={path}")
        train, test = held_out(given, test_share)
        if (other := given_folder(test_path, "dataset.test_path")) is not None:
            refuse_shared(folder, other)
            train, test = given, self._cases(other, f"dataset.test_path={test_path}")
        first, _ = train[0].read()
        view = View(height_width(image_size), window, axis, spacing)
        super().__init__(
            "volumes", {"train": train, "test": test} if test else {"train": train}, view, unit=first.unit,
            spacing=view.pixel(first), block=block, classes=None if masks is None else mask_classes, labelled=labelled,
        )  # fmt: skip

    def _cases(self, folder: Path, given: str) -> list[Case]:
        """Raises ValueError where there is no volume, or one has no mask."""
        own = self.mask_folder.resolve() if self.mask_folder else None
        found = [place for place in sorted(folder.iterdir()) if _is_volume(place) and place.resolve() != own]
        if not found:
            raise ValueError(
                f"{given}: no volume in it; these are read: {' '.join(NIFTI)}, and folders of {' '.join(sorted(DICOM))}"
            )
        return [self._case(place) for place in found]

    def _case(self, place: Path) -> Case:
        name = _name(place)
        files = tuple(sorted(f for f in place.iterdir() if is_dicom(f))) if place.is_dir() else (place,)
        if self.mask_folder is None:
            return Case(name, files, lambda: (_read(place), None))
        masks = [file for file in sorted(self.mask_folder.iterdir()) if is_nifti(file) and _name(file) == name]
        if not masks:
            raise ValueError(f"dataset.masks={self.mask_folder} has no mask of {place.name}: give {name}.nii.gz")
        return Case(name, (*files, masks[0]), lambda: self._with_mask(place, masks[0]))

    def _with_mask(self, place: Path, file: Path) -> tuple[Volume, np.ndarray]:
        volume, mask = _read(place), _read(file).values
        if volume.values.shape != mask.shape:
            sizes = " and ".join(" x ".join(map(str, shape)) for shape in (volume.values.shape, mask.shape))
            raise ValueError(f"{place} and its mask {file} have {sizes} voxels: make them equal")
        if self.mask_classes == 2:
            return volume, mask > 0
        if mask.min() < 0 or mask.max() >= self.mask_classes or (mask != mask.round()).any():
            raise ValueError(
                f"{file} holds values from {mask.min():g} to {mask.max():g}, and classes are 0 to "
                f"{self.mask_classes - 1}: set dataset.mask_classes"
            )
        return volume, mask


def _is_volume(place: Path) -> bool:
    return any(map(is_dicom, place.iterdir())) if place.is_dir() else is_nifti(place)


def _name(place: Path) -> str:
    """A volume's name: its file's without the suffixes, or its folder's."""
    suffix = next((suffix for suffix in reversed(NIFTI) if place.name.lower().endswith(suffix)), "")
    return place.name[: len(place.name) - len(suffix)]


def _read(place: Path) -> Volume:
    try:
        return read_volume(place)
    except Unreadable as error:
        raise ValueError(f"{place}: {error}") from error
