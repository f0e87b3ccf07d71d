"""The cache of stores: made once, whole or not at all."""

from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from gan_lab.datasets import cache as caching
from gan_lab.datasets import store as stores
from gan_lab.datasets.cache import Rows, cached, content_key
from gan_lab.datasets.store import Store

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(7, dtype=np.int64)


class Source:
    """Rows in two chunks, counting how often they were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, skipped: dict[str, str]) -> Rows:
        self.asked += 1
        skipped["bad.png"] = "it is cut"
        for part in (slice(0, 3), slice(3, None)):
            yield {"sample": IMAGES[part], "label": LABELS[part]}


def check(found: Store) -> None:
    assert np.array_equal(found.columns["sample"].numpy(), IMAGES)
    assert found.columns["sample"].dtype == torch.uint8
    assert np.array_equal(found.columns["label"].numpy(), LABELS)
    assert found.skipped == {"bad.png": "it is cut"}
    assert len(found) == 7


def test_a_store_is_made_once_and_then_read(cache: Path) -> None:
    source = Source()
    for _ in range(3):
        check(cached("toy", "key", source))
    assert source.asked == 1
    assert {path.name for path in cache.iterdir()} <= {"toy-key", "toy-key.lock"}


def test_another_key_is_another_store(cache: Path) -> None:
    source = Source()
    cached("toy", content_key((32, 32), "train"), source)
    cached("toy", content_key((32, 32), "test"), source)
    assert source.asked == 2


def test_a_key_depends_on_every_part() -> None:
    parts: list[tuple[object, ...]] = [("a", 1), ("a", 2), ("b", 1), ("a", 1, 1), (("a", 1),), ([["a", "x"]],), ("a1",)]
    assert len({content_key(*part) for part in parts}) == len(parts)


def _cut(folder: Path) -> None:
    (folder / "sample.bin").write_bytes((folder / "sample.bin").read_bytes()[:-1])


def _lengthen(folder: Path) -> None:
    (folder / "label.bin").write_bytes((folder / "label.bin").read_bytes() + b"x")


def _lose(folder: Path) -> None:
    (folder / "label.bin").unlink()


def _garble(folder: Path) -> None:
    (folder / "store.json").write_text('{"columns": {"sample":')


def _forget(folder: Path) -> None:
    (folder / "store.json").unlink()


@pytest.mark.parametrize("damage", [_cut, _lengthen, _lose, _garble, _forget])
def test_a_damaged_store_is_made_again(damage: Callable[[Path], None], cache: Path) -> None:
    source = Source()
    cached("toy", "key", source)
    damage(cache / "toy-key")
    check(cached("toy", "key", source))
    assert source.asked == 2
    check(cached("toy", "key", source))
    assert source.asked == 2


def test_an_interrupted_build_leaves_nothing_that_is_taken_for_a_store(cache: Path) -> None:
    def broken(skipped: dict[str, str]) -> Rows:
        yield {"sample": IMAGES}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("toy", "key", broken)
    assert {path.name for path in cache.iterdir()} <= {"toy-key.lock"}
    check(cached("toy", "key", Source()))


def test_a_source_without_rows_is_refused_with_the_reasons(cache: Path) -> None:
    def nothing(skipped: dict[str, str]) -> Iterator[dict[str, np.ndarray]]:
        skipped["bad.png"] = "it is cut"
        yield from ()

    with pytest.raises(ValueError, match=r"no picture could be read \(bad.png: it is cut\)"):
        cached("toy", "key", nothing)
    assert not (cache / "toy-key").exists()


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="GAN_LAB_CACHE"):
        check(cached("toy", "key", Source()))


def test_a_disk_that_fills_up_while_caching_is_a_warning(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.warns(UserWarning, match="No space left"):
        check(cached("toy", "key", Source()))


def test_a_source_that_cannot_be_read_is_not_taken_for_a_bad_cache(cache: Path) -> None:
    def unreadable(skipped: dict[str, str]) -> Rows:
        raise FileNotFoundError(2, "No such file or directory", "picture.png")
        yield {}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FileNotFoundError, match=r"picture\.png"):
            cached("toy", "key", unreadable)


@pytest.fixture
def mappings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of files that are mapped from now on."""
    sizes: list[int] = []
    mapping = mmap.mmap

    def noted(number: int, *more: Any, **settings: Any) -> mmap.mmap:
        sizes.append(os.fstat(number).st_size)
        return mapping(number, *more, **settings)

    monkeypatch.setattr(caching.mmap, "mmap", noted)
    return sizes


def test_a_large_store_is_mapped_and_a_small_one_read_with_equal_contents(
    cache: Path, monkeypatch: pytest.MonkeyPatch, mappings: list[int]
) -> None:
    check(cached("toy", "key", Source()))
    mappings.clear()  # of the digests, when it was made
    check(cached("toy", "key", Source()))
    assert not mappings
    monkeypatch.setattr(caching, "MEMORY_SHARE", 0.0)
    mapped = cached("toy", "key", Source())
    assert sorted(mappings) == [LABELS.nbytes, IMAGES.nbytes]
    check(mapped)
    assert mapped.fetch("sample", torch.tensor([2])).shape == (1, 3, 5, 6)


def test_a_source_may_ask_for_a_mapped_store_of_any_size(cache: Path, mappings: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = cached("toy", "key", Source(), mapped=True)
    check(store)
    assert store.mapped
    assert len(mappings) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise memory by other rules")
def test_a_store_may_be_larger_than_the_machines_memory(cache: Path) -> None:
    """A sparse file of so many bytes takes no room on the disk. Linux maps it, as long as nobody may write to it."""
    rows = 2 * caching.memory() // 3000
    cached("toy", "key", Source())
    about = json.loads((cache / "toy-key/store.json").read_text())
    about["columns"] = {"sample": {"dtype": "uint8", "shape": [rows, 10, 100, 3], "digest": "0"}}
    (cache / "toy-key/store.json").write_text(json.dumps(about))
    os.truncate(cache / "toy-key/sample.bin", rows * 3000)
    source = Source()
    store = cached("toy", "key", source)
    assert not source.asked
    assert len(store) == rows
    assert torch.equal(store.fetch("sample", torch.tensor([rows - 1])), torch.full((1, 3, 10, 100), -1.0))


def test_the_digest_of_a_stored_column_is_read_and_not_computed_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cached("toy", "key", Source())
    expected = Store({"sample": torch.from_numpy(IMAGES)}).digest
    monkeypatch.setattr(stores, "digest", lambda column: pytest.fail("it was read again"))
    assert made.digest == cached("toy", "key", Source()).digest == expected


# -- several processes -------------------------------------------------------------------------------------------------

FORK = multiprocessing.get_context("fork")  # a fresh process would import torch for seconds


def _build(log: Path, ready: Any, results: Any, wait: float) -> None:
    def rows(skipped: dict[str, str]) -> Rows:
        with log.open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        for part in (slice(0, 3), slice(3, None)):
            time.sleep(wait)
            yield {"sample": IMAGES[part], "label": LABELS[part]}

    ready.wait(timeout=60)
    found = cached("toy", "shared", rows).columns
    results.put([found[name].numpy().tobytes() for name in ("sample", "label")])


def _start(count: int, log: Path, wait: float = 0.2) -> tuple[list[Any], Any]:
    ready, results = FORK.Barrier(count), FORK.Queue()
    jobs = [FORK.Process(target=_build, args=(log, ready, results, wait), daemon=True) for _ in range(count)]
    for job in jobs:
        job.start()
    return jobs, results


def test_four_processes_that_ask_at_once_decode_once_and_get_equal_stores(cache: Path, tmp_path: Path) -> None:
    jobs, results = _start(4, tmp_path / "log")
    assert [results.get(timeout=60) for _ in jobs] == [[IMAGES.tobytes(), LABELS.tobytes()]] * 4
    assert len((tmp_path / "log").read_text().split()) == 1
    assert {path.name for path in cache.iterdir()} == {"toy-shared", "toy-shared.lock"}


def test_a_writer_that_is_killed_leaves_a_cache_in_which_others_go_on(cache: Path, tmp_path: Path) -> None:
    (writer,), _ = _start(1, tmp_path / "log", wait=600)
    deadline = time.monotonic() + 60
    while not list(cache.glob(".toy-shared-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiting, results = _start(3, tmp_path / "log")  # these wait for the lock
    time.sleep(0.3)
    assert results.empty()
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(60)
    assert [results.get(timeout=60) for _ in waiting] == [[IMAGES.tobytes(), LABELS.tobytes()]] * 3
    assert len((tmp_path / "log").read_text().split()) == 2, "the one that was killed, and one of the others"
    assert {path.name for path in cache.iterdir()} == {"toy-shared", "toy-shared.lock"}


def test_what_killed_writers_left_is_removed_but_nothing_of_other_stores(cache: Path) -> None:
    for name in (".toy-key-abcd1234", ".toy-key-wxyz5678", ".toy-key2-abcd1234", ".other-key-abcd1234"):
        (cache / name).mkdir(parents=True)
        (cache / name / "sample.bin").write_bytes(b"half a store")
    check(cached("toy", "key", Source()))
    left = {path.name for path in cache.iterdir()}
    assert left == {"toy-key", "toy-key.lock", ".toy-key2-abcd1234", ".other-key-abcd1234"}


def test_reading_a_cached_store_does_not_wait_for_a_writer(cache: Path) -> None:
    cached("toy", "key", Source())
    with FileLock(cache / "toy-key.lock"):
        check(cached("toy", "key", Source()))
