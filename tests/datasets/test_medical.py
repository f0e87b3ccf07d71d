"""Medical files in their units: NIfTI and DICOM that other libraries wrote, volumes as slices, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_lab.cli import main
from gan_lab.datasets.colin27 import Colin27
from gan_lab.datasets.exact import Unreadable, read_array
from gan_lab.datasets.head_ct import FILE, HeadCT
from gan_lab.datasets.medical import read_volume
from gan_lab.datasets.slices import View, for_tests
from gan_lab.datasets.volumes import Volumes
from tests.tasks.toys import PATCHES, QUICK, UNET

nibabel = pytest.importorskip("nibabel", reason="the extra medical is not installed")
pydicom = pytest.importorskip("pydicom", reason="the extra medical is not installed")
WINDOW = "dataset.window=[-1000,1000]"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))


def write_nifti(file: Path, values: np.ndarray, zooms: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Path:
    """A volume [x, y, z] with x to the patient's right, y to the front, z up."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, np.diag([*zooms, 1.0]))
    nibabel.save(image, file)
    return file


def write_dicom(file: Path, pixels: np.ndarray, *, z: float = 0.0, **changes: Any) -> Path:
    """One slice of CT, stored as uint16 with slope 2 and intercept -1024."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID, header.Modality = CTImageStorage, meta.MediaStorageSOPInstanceUID, "CT"
    header.SeriesInstanceUID = "1.2.3"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.PixelSpacing, header.SliceThickness = [0.5, 0.75], 3.0
    header.ImageOrientationPatient, header.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
    header.RescaleSlope, header.RescaleIntercept = 2, -1024
    header.PixelData = pixels.astype("<u2").tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    file.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(file, enforce_file_format=True)
    return file


# -- units -------------------------------------------------------------------------------------------------------------


def test_a_nifti_volume_keeps_its_units_and_is_seen_as_radiologists_do(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    found = read_volume(write_nifti(tmp_path / "a.nii.gz", values, (1.0, 2.0, 5.0)))
    assert found.spacing == (5.0, 2.0, 1.0)
    assert found.values.shape == (4, 3, 2)
    for z in range(4):
        for y in range(3):
            for x in range(2):  # rows from the front back, columns from the patient's right
                assert found.values[z, y, x] == values[1 - x, 2 - y, z]


def test_stored_integers_become_what_their_slope_says(tmp_path: Path) -> None:
    stored = np.arange(-4, 4, dtype=np.int16).reshape(2, 2, 2)
    image = nibabel.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    file = tmp_path / "a.nii"
    nibabel.save(image, file)
    expected = np.asarray(nibabel.load(file).dataobj)
    assert expected.min() != stored.min()
    assert sorted(read_volume(file).values.flatten().tolist()) == pytest.approx(sorted(expected.flatten().tolist()))


def test_a_dicom_series_is_in_hounsfield_units_and_in_the_order_of_its_positions(tmp_path: Path) -> None:
    slices = [np.full((4, 6), k, np.uint16) + np.arange(6, dtype=np.uint16) for k in (100, 200, 300)]
    for name, z, pixels in (("c.dcm", 0.0, slices[0]), ("a.dcm", 2.5, slices[1]), ("b.dcm", 5.0, slices[2])):
        write_dicom(tmp_path / "series" / name, pixels, z=z)
    found = read_volume(tmp_path / "series")
    assert found.unit == "HU"
    assert found.spacing == (2.5, 0.5, 0.75)
    assert np.array_equal(found.values, np.stack(slices).astype(np.float32) * 2 - 1024)
    assert np.array_equal(read_array(tmp_path / "series" / "a.dcm")[..., 0], slices[1].astype(np.float32) * 2 - 1024)


def test_a_window_is_what_minus_one_and_one_stand_for(tmp_path: Path) -> None:
    values = np.array([-2000.0, -1000.0, 0.0, 500.0, 1000.0, 9000.0], dtype=np.float32)
    volume = np.tile(values, (6, 6, 1))  # brighter slices upwards
    volume[0, 0] = 250  # nothing would be seen on a slice of one value
    write_nifti(tmp_path / "in" / "a.nii.gz", volume)
    data = Volumes(path=str(tmp_path / "in"), window=(-1000.0, 1000.0), image_size=6, block=1)
    assert data.columns["sample"].window == (-1000.0, 1000.0)
    assert data.columns["sample"].spacing == (1.0, 1.0)
    seen = {round(float(x), 6) for split in data.splits for x in data.load(split).columns["sample"][:, 3, 3, 0]}
    assert seen == {-1.0, 0.0, 0.5, 1.0}


def test_unequal_volumes_are_resized_to_one_spacing_and_padded_with_the_lowest_value(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 100, 8, dtype=np.float32)[:, None, None], (1, 8, 5))
    write_nifti(tmp_path / "in" / "a.nii.gz", ramp, (1.0, 1.0, 1.0))
    write_nifti(tmp_path / "in" / "b.nii.gz", ramp, (2.0, 2.0, 1.0))
    with pytest.raises(ValueError, match=r"a has pixels of 1 x 1 mm and b has pixels of 2 x 2 mm: set dataset.spacing"):
        Volumes(path=str(tmp_path / "in"), window=(0.0, 100.0), image_size=16, test_share=0.0).load()
    data = Volumes(path=str(tmp_path / "in"), window=(0.0, 100.0), image_size=16, spacing=1.0, test_share=0.0)
    pictures = data.load().columns["sample"]
    assert pictures.shape == (10, 16, 16, 1)
    assert data.columns["sample"].spacing == (1.0, 1.0)
    small, large = pictures[0, :, :, 0], pictures[-1, :, :, 0]
    assert torch.equal(small[:4], torch.full((4, 16), -1.0))
    assert (large[8] > -1).sum() >= 15


def test_masks_follow_their_pictures_whatever_is_done_to_them(tmp_path: Path) -> None:
    picture = np.zeros((10, 12, 6), np.float32)
    picture[2:7, 3:10] = 100
    picture[2:4, 3:5] = 60
    write_nifti(tmp_path / "in" / "a.nii.gz", picture, (1.0, 1.0, 2.0))
    write_nifti(tmp_path / "masks" / "a.nii.gz", (picture > 0).astype(np.uint8) * 7, (1.0, 1.0, 2.0))
    given = {"path": str(tmp_path / "in"), "masks": str(tmp_path / "masks"), "window": (0.0, 100.0), "block": 1}
    for axis, spacing, size in (("axial", None, 16), ("axial", 0.5, 24), ("sagittal", 1.0, (12, 14))):
        store = Volumes(**given, axis=axis, spacing=spacing, image_size=size).load()  # type: ignore[arg-type]
        bright, mask = store.columns["sample"][..., 0] > -0.2, store.columns["mask"]
        assert set(mask.unique().tolist()) == {0, 1}
        assert (bright == mask.bool()).double().mean() > 0.97, axis
        if spacing is None:
            assert torch.equal(bright, mask.bool())


def test_the_head_is_up_in_coronal_and_sagittal_slices() -> None:
    values = np.zeros((4, 5, 6), np.float32)
    values[3] = 1  # the top
    for axis in ("coronal", "sagittal"):
        view = View((4, 6 if axis == "coronal" else 5), (0.0, 1.0), axis)  # type: ignore[arg-type]
        volume = type("V", (), {"values": values, "spacing": (1.0, 1.0, 1.0)})()
        pictures = view.pictures(volume)
        assert (pictures[:, 0] == 1).all()
        assert (pictures[:, 1:] == -1).all()


def test_a_single_volume_is_divided_in_blocks() -> None:
    chosen = for_tests(100, 5)
    assert chosen.sum() == 20
    starts = np.flatnonzero(np.diff(chosen.astype(int)) == 1) + 1
    assert all(chosen[start : start + 5].all() and not chosen[start + 5] for start in starts)


# -- real data ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not FILE.is_file(), reason="Debian's package invesalius-examples is not installed")
def test_the_head_is_in_hounsfield_units() -> None:
    data = HeadCT()
    train, test = data.load("train").columns["sample"], data.load("test").columns["sample"]
    assert (len(train), len(test), train.shape[1:]) == (90, 18, (128, 128, 1))
    units = (test + 1) * 1500 - 1000
    assert float(units[:, 0].median()) < -950, "air"
    middle = units[9:, 54:74, 54:74]
    assert 0 < float(middle.median()) < 60, "brain"
    assert data.columns["sample"].unit == "HU"


@pytest.mark.skipif(not Path("/usr/share/mricron").is_dir(), reason="Debian's package mricron-data is not installed")
def test_the_brain_lies_in_the_head() -> None:
    store = Colin27().load("test")
    pictures, masks = store.columns["sample"][..., 0], store.columns["mask"].bool()
    assert pictures.shape == masks.shape == (36, 112, 96)
    assert 0.1 < float(masks.double().mean()) < 0.5
    assert float((pictures[masks] > -0.9).double().mean()) > 0.95
    assert not masks[:, :4].any()


# -- refusals ----------------------------------------------------------------------------------------------------------


def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a run of these data is refused."""
    own = [*QUICK, "task=segmentation", *UNET, *PATCHES, "dataset=volumes", f"run_dir={tmp_path}/run", *words]
    capfd.readouterr()
    assert main(["train", *own]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    assert not (tmp_path / "run").exists()
    return error


def test_what_volumes_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cube = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    folder, masks = tmp_path / "in", tmp_path / "masks"
    write_nifti(folder / "a.nii.gz", cube)
    masks.mkdir()
    given = [f"dataset.path={folder}", WINDOW]
    assert "needs dataset.path=FOLDER" in refused(tmp_path, capfd)
    assert "needs dataset.window=[LOW,HIGH]" in refused(tmp_path, capfd, given[0])
    assert "the lowest value comes first" in refused(tmp_path, capfd, given[0], "dataset.window=[5,5]")
    assert "wants pictures with masks" in refused(tmp_path, capfd, *given)
    assert "has no mask of a.nii.gz: give a.nii.gz" in refused(tmp_path, capfd, *given, f"dataset.masks={masks}")
    write_nifti(masks / "a.nii.gz", np.ones((8, 8, 4), np.uint8))
    error = refused(tmp_path, capfd, *given, f"dataset.masks={masks}", "dataset.image_size=8")
    assert "8 x 8 x 8 and 4 x 8 x 8 voxels: make them equal" in error
    write_nifti(masks / "a.nii.gz", np.full((8, 8, 8), 5, np.uint8))
    words = [*given, f"dataset.masks={masks}", "dataset.image_size=8"]
    assert "classes are 0 to 2: set dataset.mask_classes" in refused(tmp_path, capfd, *words, "dataset.mask_classes=3")
    (folder / "b.nii").write_bytes(b"not a volume")
    write_nifti(masks / "a.nii.gz", np.ones((8, 8, 8), np.uint8))
    write_nifti(masks / "b.nii.gz", np.ones((8, 8, 8), np.uint8))
    assert "b.nii: " in refused(tmp_path, capfd, *words, "dataset.test_share=0")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no volume in it; these are read: .nii" in refused(tmp_path, capfd, f"dataset.path={empty}", WINDOW)


def test_what_series_are_refused(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6), np.uint16)
    folder = tmp_path / "s"
    for k in range(4):
        write_dicom(folder / f"{k}.dcm", pixels, z=2.0 * k)
    assert read_volume(folder).values.shape == (4, 4, 6)
    for changes, why in (
        ({"z": 9.0}, "its slices are 2 to 5 mm apart: one is missing, or two series"),
        ({"z": 6.0, "PixelSpacing": [1, 1]}, "0.dcm has PixelSpacing"),
        ({"z": 6.0, "SeriesInstanceUID": "9.9"}, "keep each series in a folder of its own"),
        ({"z": 6.0, "PixelData": None}, "3.dcm: it holds no picture (CT Image Storage)"),
        ({"z": 6.0, "ImagePositionPatient": None}, "3.dcm: it does not say its ImagePositionPatient"),
        ({"z": 6.0, "NumberOfFrames": 2}, "it holds 2 frames of 1 channels, not one grey picture"),
        ({"z": 6.0, "PixelData": b"\0" * 10}, "its pixels cannot be decoded"),
    ):
        write_dicom(folder / "3.dcm", pixels, **changes)  # type: ignore[arg-type]
        with pytest.raises(Unreadable, match=why.replace("(", r"\(").replace(")", r"\)")):
            read_volume(folder)
    (folder / "3.dcm").write_bytes(b"hello")
    with pytest.raises(Unreadable, match=r"3.dcm: it is no DICOM file"):
        read_volume(folder)


def test_a_dicom_file_that_is_no_picture_is_named_and_the_others_are_scored(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`gan-lab apply` of a run on tomographic data."""
    rng = np.random.default_rng(0)
    for k in range(10):
        write_dicom(tmp_path / "in" / "s" / f"{k}.dcm", rng.integers(0, 900, (16, 16)).astype(np.uint16), z=3.0 * k)
    words = [
        *QUICK, "task=translation", *UNET, "generator.residual=true", *PATCHES,
        "degradation=denoising", "dataset=volumes",
        f"dataset.path={tmp_path}/in", WINDOW, "dataset.image_size=16", "dataset.block=1", "evaluation.metrics=[psnr]",
        "trainer.images=8", f"run_dir={tmp_path}/run",
    ]  # fmt: skip
    assert main(["train", *words]) == 0
    files = tmp_path / "files"
    pixels = rng.integers(100, 900, (16, 24)).astype(np.uint16)
    write_dicom(files / "good.dcm", pixels)
    write_dicom(files / "none.dcm", np.zeros((16, 16), np.uint16), PixelData=None)
    write_dicom(files / "bright.dcm", np.full((16, 16), 60_000, np.uint16))
    capfd.readouterr()
    assert main(["apply", f"{tmp_path}/run", str(files), "--out", f"{tmp_path}/out"]) == 2
    error = capfd.readouterr().err
    assert "none.dcm: it holds no picture" in error
    assert "1 of 3 pictures could not be done" in error
    made = np.load(tmp_path / "out" / "good.npy")
    assert made.shape == (16, 24)
    assert made.dtype == np.float32
    assert np.abs(made - (pixels * 2.0 - 1024)).max() < 100, "in Hounsfield units: it starts at its source"
