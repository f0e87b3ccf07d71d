"""What several sources share: downloads one at a time, and nothing heavy before data are needed."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_lab.datasets import sources
from gan_lab.datasets.sources import downloading, given_folder, held_out, refuse_shared, resized, resized_28
from gan_lab.datasets.store import resize
from tests.datasets.idx import write

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28, 1), dtype=np.uint8)


@pytest.mark.parametrize("labels", [None, np.arange(7, dtype=np.uint8)])
def test_rows_in_chunks_are_the_rows_at_once(labels: np.ndarray | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CHUNK", 3)
    rows = list(resized(IMAGES, labels, (16, 20)))
    assert [len(chunk["sample"]) for chunk in rows] == [3, 3, 1]
    assert np.array_equal(np.concatenate([chunk["sample"] for chunk in rows]), resize(IMAGES, (16, 20)))
    if labels is None:
        assert all(chunk.keys() == {"sample"} for chunk in rows)
    else:
        found = np.concatenate([chunk["label"] for chunk in rows])
        assert found.dtype == np.int64
        assert np.array_equal(found, labels)


@pytest.mark.parametrize(("size", "border"), [((28, 28), 0), ((32, 32), 2)])
def test_28_pixels_stay_as_they_are_inside_a_border(size: tuple[int, int], border: int) -> None:
    (rows,) = resized_28(IMAGES, np.arange(7), size)
    inside = slice(border, size[0] - border)
    assert rows["sample"].shape == (7, *size, 1)
    assert np.array_equal(rows["sample"][:, inside, inside], IMAGES)
    assert rows["sample"].sum(dtype=np.int64) == IMAGES.sum(dtype=np.int64), "the border is not black"


def test_a_folder_of_the_home_directory_may_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert given_folder("~/data") == tmp_path / "data"
    assert given_folder(None) is None
    with pytest.raises(ValueError, match=r"dataset\.path=~/nowhere: there is no such folder"):
        given_folder("~/nowhere")


@pytest.mark.parametrize(
    ("count", "share", "test"), [(10, 0.1, 1), (10, 0.26, 3), (10, 0.001, 1), (10, 1, 9), (10, 0, 0), (1, 0.5, 0)]
)
def test_the_last_by_name_are_held_out_and_something_is_left_to_train_on(count: int, share: float, test: int) -> None:
    names = [f"{i:02}" for i in range(count)]
    assert held_out(names, share) == (names[: count - test], names[count - test :])


def test_folders_of_which_one_lies_in_the_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    refuse_shared(tmp_path / "a", tmp_path / "ab")
    for other in ("a", "a/b", ".", "a/b/../../a"):
        with pytest.raises(ValueError, match=r"dataset\.test_path=.* and dataset\.path=.* share pictures"):
            refuse_shared(tmp_path / "a", tmp_path / other)


def _fetch(log: Path) -> None:
    with downloading("toy", "do without"):
        for word in ("begins", "ends"):
            with log.open("a") as lines:
                lines.write(f"{word}\n")
            time.sleep(0.1)


def test_processes_download_one_after_another(cache: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # a fresh process would import torch for seconds
    jobs: list[Any] = [context.Process(target=_fetch, args=(tmp_path / "log",), daemon=True) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert (tmp_path / "log").read_text().split() == ["begins", "ends"] * 3


@pytest.mark.parametrize("error", [OSError("no\nroute"), RuntimeError("no\nroute"), ImportError("no\nroute")])
def test_a_download_that_fails_is_one_line_with_the_remedy(error: Exception, cache: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"^toy cannot be downloaded \(no route\); do without$"),
        downloading("toy", "do without"),
    ):
        raise error


def test_building_a_data_set_neither_imports_what_is_heavy_nor_reads_a_picture(tmp_path: Path) -> None:
    write(tmp_path / "fashion")
    for i in range(2):
        (tmp_path / "pictures" / str(i)).mkdir(parents=True)
        Image.fromarray(IMAGES[i, ..., 0]).save(tmp_path / "pictures" / str(i) / "a.png")
    code = f"""
import os, sys
from gan_lab.registry import datasets, load
from omegaconf import OmegaConf
load()
for config in (
    dict(name="fashion_mnist", path={str(tmp_path / "fashion")!r}), dict(name="fashion_mnist"), dict(name="cifar10"),
    dict(name="stl10", part="train"), dict(name="celeba", attribute="Smiling"), dict(name="mixture"),
    dict(name="image_folder", path={str(tmp_path / "pictures")!r}),
    dict(name="photographs", path={str(tmp_path / "pictures")!r}),
    dict(name="stacked", source="fashion_mnist", path={str(tmp_path / "fashion")!r}),
):
    datasets.build(OmegaConf.create(config))
heavy = {{"torchvision", "PIL", "scipy", "sklearn", "skimage", "tifffile", "mlxtend", "pandas", "gdown"}}
heavy &= set(sys.modules)
assert not heavy, heavy
assert not os.path.exists({str(tmp_path / "cache")!r})
"""
    environment = {"GAN_LAB_CACHE": str(tmp_path / "cache"), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
