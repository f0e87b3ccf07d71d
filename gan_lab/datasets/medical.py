"""Medical pictures in their own units: volumes of NIfTI files and of DICOM series, and single DICOM pictures.

Values are what the file says they mean: stored ones times its slope plus its intercept, which of CT are Hounsfield
units. nibabel and pydicom are the extra `medical`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.datasets.exact import DICOM, PackageMissing, Unreadable
from gan_lab.datasets.sources import one_line
from gan_lab.datasets.trusted_files import check_regular

EXTRA = 'pip install "hydra-gan-lab[medical]"'
NIFTI = (".nii", ".nii.gz")
MOST = 1 << 28  # values of a volume: 512 x 512 x 1,024
ALIKE = 1e-3  # relative difference of two distances that are taken for equal


@dataclass(frozen=True)
class Volume:
    """A scalar volume [Z, Y, X]: from the feet up, from the front back, and from the patient's right to the left.

    `spacing` is the distance of neighbours along each axis in mm.
    """

    values: np.ndarray
    spacing: tuple[float, float, float]
    unit: str = ""


def is_nifti(file: Path) -> bool:
    return file.name.lower().endswith(NIFTI)


def is_dicom(file: Path) -> bool:
    return file.suffix.lower() in DICOM


def read_volume(path: Path) -> Volume:
    """The volume of a NIfTI file, or of a folder with the DICOM files of one series.

    Raises Unreadable where it is none, is not whole, or is larger than this program reads, and PackageMissing.
    """
    try:
        return _of_series(path) if path.is_dir() else _of_nifti(path)
    except (Unreadable, PackageMissing):
        raise
    except FileNotFoundError as error:
        raise Unreadable("there is no such file") from error
    except Exception as error:  # decoders raise whatever they like
        raise Unreadable(one_line(error)) from error


def _refuse_large(shape: Sequence[int]) -> None:
    if int(np.prod([int(side) for side in shape], dtype=object)) > MOST:
        raise Unreadable(f"{' x '.join(map(str, shape))} values are too many")


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise Unreadable("it holds values that are not finite")
    return values


# -- NIfTI -------------------------------------------------------------------------------------------------------------


def _of_nifti(file: Path) -> Volume:
    try:
        import nibabel
    except ImportError as error:
        raise PackageMissing(f"{file} takes nibabel: {EXTRA}") from error
    check_regular(file)
    image: Any = nibabel.load(file)
    shape = tuple(side for side in image.shape if side != 1) if len(image.shape) > 3 else tuple(image.shape)
    if len(shape) != 3 or 0 in shape:
        raise Unreadable(f"it holds {' x '.join(map(str, image.shape))} values, not those of one volume")
    _refuse_large(image.shape)
    image = nibabel.as_closest_canonical(image)  # axes to the right, to the front, and up
    right, front, up = (float(size) for size in image.header.get_zooms()[:3])
    values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    return Volume(_finite(values.transpose(2, 1, 0)[:, ::-1, ::-1]), (up, front, right))


# -- DICOM -------------------------------------------------------------------------------------------------------------


def read_dicom(file: Path) -> np.ndarray:
    """One grey picture in its units, float32 [H, W]. Raises Unreadable and PackageMissing."""
    return _pixels(_header(file))


def _header(file: Path) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise PackageMissing(f"{file} takes pydicom: {EXTRA}") from error
    check_regular(file)
    try:
        found = pydicom.dcmread(file)
    except pydicom.errors.InvalidDicomError as error:
        raise Unreadable("it is no DICOM file") from error
    if "PixelData" not in found:
        kind = getattr(getattr(found, "SOPClassUID", None), "name", "") or "DICOM file"
        raise Unreadable(f"it holds no picture ({kind})")
    return found


def _pixels(header: Any) -> np.ndarray:
    frames = int(getattr(header, "NumberOfFrames", 1) or 1)
    if frames != 1 or int(getattr(header, "SamplesPerPixel", 1)) != 1:
        raise Unreadable(f"it holds {frames} frames of {header.SamplesPerPixel} channels, not one grey picture")
    _refuse_large((header.Rows, header.Columns))
    slope, intercept = float(getattr(header, "RescaleSlope", 1)), float(getattr(header, "RescaleIntercept", 0))
    try:
        stored = header.pixel_array
    except Exception as error:  # of a compression that needs a package, or of a file that was cut
        raise Unreadable(f"its pixels cannot be decoded: {one_line(error)}") from error
    return _finite((stored.astype(np.float64) * slope + intercept).astype(np.float32))


def _of_series(folder: Path) -> Volume:
    files = sorted(file for file in folder.iterdir() if is_dicom(file) and file.is_file())
    headers = []
    for file in files:
        try:
            headers.append(_header(file))
        except Unreadable as error:
            raise Unreadable(f"{file.name}: {error}") from error
    if not headers:
        raise Unreadable(f"it holds no DICOM files ({' '.join(sorted(DICOM))})")
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        _check_alike(file, header, files[0], first)
    _refuse_large((len(headers), first.Rows, first.Columns))
    normal = np.cross(*np.reshape([float(x) for x in first.ImageOrientationPatient], (2, 3)))
    heights = np.array([float(normal @ [float(x) for x in header.ImagePositionPatient]) for header in headers])
    order = np.argsort(heights)
    gaps = np.diff(heights[order])
    if len(gaps) and not np.allclose(gaps, gaps.mean(), rtol=0.05, atol=1e-3):
        raise Unreadable(f"its slices are {gaps.min():.3g} to {gaps.max():.3g} mm apart: one is missing, or two series")
    down, across = (float(size) for size in first.PixelSpacing)
    apart = float(gaps.mean()) if len(gaps) else float(getattr(first, "SliceThickness", 1) or 1)
    values = np.stack([_pixels(headers[i]) for i in order])
    return Volume(values, (apart, down, across), "HU" if first.get("Modality") == "CT" else "")


def _check_alike(file: Path, header: Any, other: Path, first: Any) -> None:
    """Raises Unreadable for a file that cannot belong to the first one's series."""
    for name in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"):
        if name not in header:
            raise Unreadable(f"{file.name}: it does not say its {name}")
    for name in ("SeriesInstanceUID", "Rows", "Columns", "PixelSpacing"):
        if header.get(name) != first.get(name):
            raise Unreadable(
                f"{other.name} has {name} {first.get(name)} and {file.name} {header.get(name)}: keep each series in a "
                "folder of its own"
            )
