"""A folder of pictures: cropped, resized and decoded as PIL would, and nothing skipped in silence."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_lab.cli import main
from gan_lab.datasets import decoding
from gan_lab.datasets.image_folder import ImageFolder

NOISE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def load(folder: Path, size: int | tuple[int, int] = 8, channels: int = 3) -> np.ndarray:
    dataset = ImageFolder(path=str(folder), image_size=size, image_channels=channels)
    pixels: np.ndarray = dataset.load().columns["sample"].numpy()
    assert dataset.sample_shape == (channels, *pixels.shape[1:3])
    return pixels


def png(path: Path, pixels: np.ndarray, mode: str = "RGB") -> None:
    Image.fromarray(pixels).convert(mode).save(path)


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_a_picture_of_the_wanted_size_is_kept_pixel_by_pixel(folder: Path) -> None:
    png(folder / "a.png", NOISE[:, :24])
    assert np.array_equal(load(folder, 24), NOISE[None, :, :24])


@pytest.mark.parametrize(("size", "crop"), [(8, (slice(0, 24), slice(8, 32))), ((8, 4), (slice(0, 24), slice(14, 26)))])
def test_a_picture_is_cropped_at_its_center_and_resized_once(
    size: int | tuple[int, int], crop: tuple[slice, slice], folder: Path
) -> None:
    png(folder / "a.png", NOISE)
    height, width = (size, size) if isinstance(size, int) else size
    expected = Image.fromarray(NOISE[crop]).resize((width, height), Image.Resampling.LANCZOS)
    assert np.abs(load(folder, size)[0].astype(int) - np.asarray(expected, dtype=int)).max() <= 1


def test_only_the_center_of_a_wide_picture_is_seen(folder: Path) -> None:
    colours = np.zeros((30, 90, 3), dtype=np.uint8)
    for i in range(3):
        colours[:, 30 * i : 30 * (i + 1), i] = 255
    png(folder / "a.png", colours)
    pixels = load(folder, 10)
    assert (pixels[..., 1] == 255).all()
    assert (pixels[..., [0, 2]] == 0).all()


def test_shrinking_averages_instead_of_picking_pixels(folder: Path) -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    png(folder / "a.png", board)
    assert np.abs(load(folder, 8).astype(int) - 127.5).max() < 6


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_kind_of_picture_becomes_colour_or_grey(mode: str, folder: Path) -> None:
    image = Image.fromarray(NOISE[:, :24]).convert(mode)
    image.save(folder / ("a.tif" if mode == "CMYK" else "a.png"))
    assert np.array_equal(load(folder, 24)[0], np.asarray(image.convert("RGB")))
    grey = load(folder, 24, channels=1)
    assert grey.shape == (1, 24, 24, 1)
    assert np.array_equal(grey[0, ..., 0], np.asarray(image.convert("L")))


def test_sixteen_bits_of_grey_are_scaled_and_not_cut(folder: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(folder / "a.png")
    assert np.abs(load(folder, 8, channels=1)[0, ..., 0].astype(float) - ramp / 257).max() <= 1


def test_a_picture_is_turned_as_its_camera_says(folder: Path) -> None:
    upright = np.zeros((8, 8, 3), dtype=np.uint8)
    upright[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(np.rot90(upright).copy()).save(folder / "a.png", exif=exif)
    assert np.array_equal(load(folder, 8)[0], upright)


# -- which files -------------------------------------------------------------------------------------------------------


def test_folders_in_folders_are_searched_and_other_files_left_alone(folder: Path) -> None:
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "d.png").mkdir()
    for i, name in enumerate(["a.png", "b/z.PNG", "b/c/y.bmp"]):
        png(folder / name, np.full((4, 4, 3), i, dtype=np.uint8))
    (folder / "readme.txt").write_text("no picture")
    assert load(folder, 4)[:, 0, 0, 0].tolist() == [0, 2, 1]  # by name: a.png, b/c/y.bmp, b/z.PNG


def broken_pictures(folder: Path) -> None:
    Image.fromarray(NOISE).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-200])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)  # 81 megapixels in a few bytes
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(b)) + name + b + struct.pack(">I", zlib.crc32(name + b)) for name, b in parts]
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def test_pictures_that_cannot_be_read_are_skipped_and_named_with_the_reason(folder: Path) -> None:
    broken_pictures(folder)
    png(folder / "good.png", NOISE)
    for _ in range(2):  # made, then from the cache
        found = ImageFolder(path=str(folder), image_size=8).load()
        assert len(found) == 1
        assert found.skipped.keys() == {"cut.jpg", "empty.png", "text.png", "bomb.png"}
        assert "truncated" in found.skipped["cut.jpg"]
        assert "9000 x 9000" in found.skipped["bomb.png"]


def test_a_run_says_how_many_pictures_it_skipped(
    folder: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_pictures(folder)
    png(folder / "good.png", NOISE)
    words = (
        "train experiment=none dataset=image_folder dataset.path=pictures dataset.image_size=8 generator=mlp "
        "discriminator=mlp generator.width=4 discriminator.width=4 trainer.images=4 trainer.batch_size=4 run_dir=out"
    )
    assert main(words.split()) == 0
    shown = capsys.readouterr().out
    assert "skipped 4 pictures" in shown
    assert "cut.jpg" in shown


def test_a_folder_without_a_readable_picture_is_refused(folder: Path) -> None:
    broken_pictures(folder)
    with pytest.raises(ValueError, match="no picture could be read"):
        ImageFolder(path=str(folder), image_size=8).load()


@pytest.mark.parametrize("text", ["nowhere", "pictures"])
def test_a_folder_that_is_missing_or_empty_is_refused(text: str, folder: Path, workdir: Path) -> None:
    with pytest.raises(ValueError, match=f"dataset.path={text}"):
        ImageFolder(path=text)


def test_two_channels_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="1, grey, or 3, colour"):
        ImageFolder(path=str(folder), image_channels=2)


# -- the cache's key ---------------------------------------------------------------------------------------------------


def stores(cache: Path) -> set[str]:
    return {path.parent.name for path in cache.glob("image_folder-*/store.json")}


def test_the_same_pictures_at_another_place_are_decoded_once(folder: Path, tmp_path: Path, cache: Path) -> None:
    png(folder / "a.png", NOISE)
    first = load(folder)
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert np.array_equal(load(tmp_path / "elsewhere"), first)
    assert len(stores(cache)) == 1


def test_other_bytes_another_size_and_another_picture_are_decoded_anew(folder: Path, cache: Path) -> None:
    png(folder / "a.png", NOISE)
    before = load(folder)
    seen = [stores(cache)]
    png(folder / "a.png", 255 - NOISE)
    assert not np.array_equal(load(folder), before)
    seen.append(stores(cache))
    load(folder, 16)
    seen.append(stores(cache))
    load(folder, 16, channels=1)
    seen.append(stores(cache))
    png(folder / "b.png", NOISE)
    assert len(load(folder)) == 2
    seen.append(stores(cache))
    assert [len(names) for names in seen] == [1, 2, 3, 4, 5]


# -- classes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def classes(folder: Path) -> Path:
    """Three classes of pictures that are all different; "b" has a folder in it."""
    for i, name in enumerate(["b/1.png", "a/2.png", "c/1.png", "b/deep/9.png", "a/1.png", "B/1.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        png(folder / name, np.roll(NOISE, 5 * i, axis=1))
    return folder


def test_sub_folders_are_classes_as_torchvision_counts_them(classes: Path) -> None:
    from torchvision.datasets import ImageFolder as Theirs

    dataset, theirs = ImageFolder(path=str(classes), image_size=(24, 40)), Theirs(str(classes))
    found = dataset.load().columns
    assert dataset.class_names == ("B", "a", "b", "c") == tuple(theirs.classes)
    assert dataset.num_classes == 4
    assert found["label"].tolist() == theirs.targets
    assert found["sample"].shape == (6, 24, 40, 3)
    for pixels, (image, _) in zip(found["sample"].numpy(), theirs, strict=True):
        assert np.array_equal(pixels, np.asarray(image))


@pytest.mark.parametrize("size", [(8, 16), (16, 8)])
def test_classes_do_not_depend_on_the_shape(size: tuple[int, int], classes: Path) -> None:
    dataset = ImageFolder(path=str(classes), image_size=size)
    found = dataset.load().columns
    assert dataset.sample_shape == (3, *size)
    assert found["sample"].shape == (6, *size, 3)
    assert found["label"].tolist() == [0, 1, 1, 2, 2, 3]


def shape(dataset: ImageFolder) -> tuple[int | None, tuple[str, ...] | None, bool]:
    return dataset.num_classes, dataset.class_names, "label" in dataset.load()


def test_a_picture_beside_the_sub_folders_means_that_there_are_no_classes(classes: Path) -> None:
    png(classes / "loose.png", NOISE)
    assert shape(ImageFolder(path=str(classes), image_size=8)) == (None, None, False)
    with pytest.raises(ValueError, match=r"dataset\.class_folders=true: .*loose\.png lies in no sub-folder") as error:
        ImageFolder(path=str(classes), image_size=8, class_folders=True)
    assert "\n" not in str(error.value)


def test_one_sub_folder_is_no_class(folder: Path) -> None:
    (folder / "only" / "deep").mkdir(parents=True)
    png(folder / "only" / "deep" / "1.png", NOISE)
    png(folder / "only" / "2.png", NOISE)
    assert shape(ImageFolder(path=str(folder), image_size=8)) == (None, None, False)
    with pytest.raises(ValueError, match=r"dataset\.class_folders=true: .*the one sub-folder only"):
        ImageFolder(path=str(folder), image_size=8, class_folders=True)


def test_other_files_and_folders_without_pictures_change_nothing(classes: Path) -> None:
    (classes / "readme.txt").write_text("no picture")
    (classes / "0_notes").mkdir()
    (classes / "0_notes" / "list.csv").write_text("no picture")
    assert shape(ImageFolder(path=str(classes), image_size=8, class_folders=True)) == (4, ("B", "a", "b", "c"), True)


def test_classes_can_be_left_aside_and_have_a_store_of_their_own(classes: Path, cache: Path) -> None:
    for _ in range(2):
        assert shape(ImageFolder(path=str(classes), image_size=8)) == (4, ("B", "a", "b", "c"), True)
        assert shape(ImageFolder(path=str(classes), image_size=8, class_folders=False)) == (None, None, False)
    assert len(stores(cache)) == 2
    ImageFolder(path=str(classes), image_size=8, class_folders=True).load()
    assert len(stores(cache)) == 2


def test_a_picture_that_moves_to_another_class_is_labelled_anew(classes: Path) -> None:
    ImageFolder(path=str(classes), image_size=8).load()
    (classes / "b" / "1.png").rename(classes / "c" / "0.png")
    assert ImageFolder(path=str(classes), image_size=8).load().columns["label"].tolist() == [0, 1, 1, 2, 3, 3]


def test_skipped_pictures_take_their_labels_with_them_and_their_class_keeps_its_number(
    classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 2)  # a chunk without a good picture, too
    whole = ImageFolder(path=str(classes), image_size=8).load().columns["sample"]
    for name in ("B/1.png", "a/1.png", "a/2.png"):
        (classes / name).write_bytes((classes / name).read_bytes()[:100])
    dataset = ImageFolder(path=str(classes), image_size=8)
    found = dataset.load()
    assert found.skipped.keys() == {"B/1.png", "a/1.png", "a/2.png"}
    assert found.columns["label"].tolist() == [2, 2, 3]
    assert np.array_equal(found.columns["sample"].numpy(), whole[3:].numpy())
    assert (dataset.num_classes, dataset.class_names) == (4, ("B", "a", "b", "c"))


def test_a_run_learns_classes_from_a_folder(classes: Path, workdir: Path) -> None:
    words = (
        "train experiment=none dataset=image_folder dataset.path=pictures dataset.image_size=[8,12] generator=mlp "
        "discriminator=mlp generator.width=4 discriminator.width=4 trainer.images=8 trainer.batch_size=4 run_dir=out "
        "dataset.class_folders=true generator.conditioning=concat discriminator.conditioning=projection"
    )
    assert main(words.split()) == 0


# -- held-out pictures -------------------------------------------------------------------------------------------------


def test_held_out_pictures_lie_in_a_folder_of_their_own(folder: Path, tmp_path: Path) -> None:
    png(folder / "a.png", NOISE)
    assert ImageFolder(path=str(folder)).splits == ("train",)
    with pytest.raises(ValueError, match=r"held-out pictures: dataset\.test_path"):
        ImageFolder(path=str(folder)).load("test")
    (tmp_path / "held_out").mkdir()
    for name in ("b", "c"):
        png(tmp_path / f"held_out/{name}.png", NOISE[::-1])
    dataset = ImageFolder(path=str(folder), image_size=8, test_path=str(tmp_path / "held_out"))
    assert dataset.splits == ("train", "test")
    assert (len(dataset.load("train")), len(dataset.load("test"))) == (1, 2)
    assert dataset.load("train").digest != dataset.load("test").digest


@pytest.mark.parametrize("test_path", ["pictures", "pictures/inside", ".", "nowhere", "classes"])
def test_held_out_pictures_that_are_trained_on_or_of_other_classes_are_refused(
    test_path: str, folder: Path, tmp_path: Path
) -> None:
    for name in ("pictures/inside", "classes/one", "classes/two"):
        (tmp_path / name).mkdir(parents=True)
        png(tmp_path / name / "a.png", NOISE)
    png(folder / "b.png", NOISE)
    with pytest.raises(ValueError, match=r"dataset\.test_path="):
        ImageFolder(path=str(folder), test_path=str(tmp_path / test_path))
