"""Packed files whose content is far larger than they are: refused by what they claim, before anything is unpacked."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets as torchvision_datasets

from gan_lab.datasets import exact, packed, parquet_rows, shards
from gan_lab.datasets.cifar10 import CIFAR10
from gan_lab.datasets.decoding import read_exactly
from gan_lab.datasets.exact import Unreadable, read_array
from gan_lab.datasets.fashion_mnist import FashionMNIST, read_idx
from tests.datasets.idx import idx, write
from tests.hostile.conftest import Bounded

pytestmark = pytest.mark.usefixtures("cache")

SMALL = 20_000_000  # bytes that a refusal may take


def header(descr: object, shape: tuple[int, ...]) -> bytes:
    """The head of an array in numpy's format."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue()


def npz(path: Path, *parts: bytes, key: str = "images", kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive, archive.open(f"{key}.npy", "w") as member:
        for part in parts:
            member.write(part)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=r"is no \.npz with the key images") as caught:
        read_exactly(path, force=False)
    return str(caught.value)


# -- .npz --------------------------------------------------------------------------------------------------------------


def test_an_npz_that_unpacks_to_more_than_a_hundred_times_its_size_is_refused(
    tmp_path: Path, memory_below: Bounded
) -> None:
    file = npz(tmp_path / "a.npz", header("|u1", (15_000, 200, 200, 3)), *[bytes(10_000_000)] * 10)
    with memory_below(SMALL):
        assert "to 1,800,000,000; at most 1,073,741,824 are read" in refused(file)


def test_an_npz_larger_than_half_of_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_below: Bounded
) -> None:
    monkeypatch.setattr(packed, "memory", lambda: 100_000_000)
    file = npz(tmp_path / "a.npz", header("|u1", (60, 1000, 1000, 1)), bytes(60_000_000))
    with memory_below(SMALL):
        assert "would take 60,000,000 bytes of memory; at most 50,000,000 are read" in refused(file)


def test_what_else_lies_in_an_npz_is_not_unpacked(tmp_path: Path, memory_below: Bounded) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header("|u1", pictures.shape) + pictures.tobytes())
        archive.writestr("other.npy", bytes(100_000_000))
    with memory_below(SMALL):
        assert np.array_equal(read_exactly(tmp_path / "a.npz", force=False).numpy(), pictures)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saves_is_read(order: Any, save: Any, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    save(tmp_path / "a.npz", images=np.asarray(pictures, order=order))
    assert np.array_equal(read_exactly(tmp_path / "a.npz", force=False).numpy(), pictures)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    values = np.array([[Touch(tmp_path / "marker")]], dtype=object)
    np.savez(tmp_path / "a.npz", images=values, allow_pickle=True)
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    assert "Python objects" in refused(tmp_path / "a.npz")
    with pytest.raises(Unreadable, match="Python objects"):
        read_array(tmp_path / "a.npy")
    assert not (tmp_path / "marker").exists()


def test_an_npz_that_is_not_as_its_header_says_is_refused(tmp_path: Path) -> None:
    head = header("|u1", (2, 4, 4, 1))
    assert "as many bytes as its header claims" in refused(npz(tmp_path / "short.npz", head, bytes(31)))
    assert "as many bytes as its header claims" in refused(npz(tmp_path / "long.npz", head, bytes(33)))
    assert "images.npy" in refused(npz(tmp_path / "other.npz", head, bytes(32), key="pictures"))
    assert "packed otherwise" in refused(npz(tmp_path / "lzma.npz", head, bytes(32), kind=zipfile.ZIP_LZMA))
    assert "negative" in refused(npz(tmp_path / "negative.npz", header("|u1", (2, -4, 4, 1)), bytes(32)))
    garbled = bytearray(npz(tmp_path / "a.npz", head, bytes(range(32)), kind=zipfile.ZIP_STORED).read_bytes())
    garbled[garbled.index(bytes(range(32)))] = 7
    (tmp_path / "a.npz").write_bytes(garbled)
    assert "CRC" in refused(tmp_path / "a.npz")


# -- .npy --------------------------------------------------------------------------------------------------------------


def sparse(path: Path, head: bytes, size: int) -> Path:
    """A file with a hole, which takes no place on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


def test_an_npy_of_too_many_values_is_refused(tmp_path: Path, memory_below: Bounded) -> None:
    file = sparse(tmp_path / "a.npy", header("|u1", (1000, 1000, 300)), 300_000_000)
    with memory_below(SMALL), pytest.raises(Unreadable, match="1000 x 1000 x 300 values are too many"):
        read_array(file)


def test_a_header_of_half_a_gigabyte_is_not_read(tmp_path: Path, memory_below: Bounded) -> None:
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", 500_000_000)
    file = sparse(tmp_path / "a.npy", head, 500_000_000)
    with memory_below(SMALL), pytest.raises(Unreadable, match=r"version 2\.0 of numpy's format"):
        read_array(file)


def test_an_npz_with_the_name_of_an_npy_is_no_array(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", header("|u1", (4, 4)), bytes(16)).rename(tmp_path / "a.npy")
    with pytest.raises(Unreadable):
        read_array(tmp_path / "a.npy")


def test_a_tiff_of_many_channels_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(exact, "MAX_VALUES", 200)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", lambda *_: pytest.fail("it was read"))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9, 3), dtype=np.uint16), photometric="rgb")
    with pytest.raises(Unreadable, match="9 x 9 x 3 values are too many"):
        read_array(tmp_path / "a.tif")


# -- .gz and .tar.gz ---------------------------------------------------------------------------------------------------


def test_no_more_of_a_gzip_is_unpacked_than_its_header_claims(tmp_path: Path, memory_below: Bounded) -> None:
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(idx(np.zeros((2, 28, 28), dtype=np.uint8)) + bytes(100_000_000)))
    with memory_below(SMALL), pytest.raises(ValueError, match="is cut: its header promises 2 x 28 x 28"):
        read_idx(file)


def test_an_idx_file_that_claims_gigabytes_is_refused(tmp_path: Path, memory_below: Bounded) -> None:
    write(tmp_path / "data")
    file = tmp_path / "data" / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 6_000_000, 28, 28) + bytes(10_000)))
    with memory_below(SMALL), pytest.raises(ValueError, match=r"ubyte\.gz cannot be read \(it would unpack \d+ bytes"):
        FashionMNIST(path=str(tmp_path / "data")).load()


def test_an_archive_with_another_checksum_is_not_opened(tmp_path: Path, memory_below: Bounded) -> None:
    """The headers of a tar may be as long as they say, and are read at once."""
    entry = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    head = tarfile.TarInfo("././@PaxHeader")
    head.type, head.size = tarfile.XHDTYPE, 300_000_000
    with gzip.open(tmp_path / "cifar-10-python.tar.gz", "wb", 1) as file:
        file.write(head.tobuf())
        for _ in range(30):
            file.write(bytes(10_000_000))
        file.write(entry.tobuf() + bytes(1024))
    with memory_below(SMALL), pytest.raises(ValueError, match="its checksum is not the published one"):
        CIFAR10(path=str(tmp_path)).load()


def test_no_more_of_a_file_is_read_at_once_than_a_published_one_has(tmp_path: Path, memory_below: Bounded) -> None:
    folder = tmp_path / torchvision_datasets.CIFAR10.base_folder
    folder.mkdir()
    sparse(folder / "data_batch_1", b"", 300_000_000)
    with memory_below(100_000_000), pytest.raises(ValueError, match="it has more than 67,108,864 bytes"):
        CIFAR10(path=str(tmp_path)).load()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"])
def test_no_data_set_waits_for_a_pipe(name: str, tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="no regular file"):
        read_idx(tmp_path / name)


# -- shards ------------------------------------------------------------------------------------------------------------


def test_a_parquet_whose_rows_share_one_large_value_takes_the_memory_of_few_rows(
    tmp_path: Path, memory_below: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored once, and would be unpacked for each of the 64 rows that are else read at once: 64 MB."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"image": [bytes(1_000_000)] * 64}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    for module in (shards, parquet_rows):
        monkeypatch.setattr(module, "LARGEST", 4_000_000)
    with memory_below(SMALL), pytest.raises(ValueError, match="cannot identify image file"):
        shards.Shards(path=str(tmp_path)).load()


def test_a_tar_member_that_is_sparse_unpacks_to_nothing(tmp_path: Path) -> None:
    """GNU's format lets a few bytes claim terabytes of zeros."""
    file = tmp_path / "a.tar"
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[386:410] = b"00000000000\x0000000000000\0"  # one piece, at 0, without bytes
    header[483:495] = b"77777777777\0"  # the size when unpacked
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    file.write_bytes(header + bytes(1024))
    with pytest.raises(ValueError, match=r"a\.png claims 8589934591 bytes"):
        shards.Shards(path=str(file)).load()
