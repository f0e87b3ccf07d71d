"""A cache in a folder that others can write to: what they put there is not read, and what is ours they cannot see."""

from __future__ import annotations

import json
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_lab.datasets.cache import Rows, cache_folder, cached
from gan_lab.datasets.sources import downloading

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
STRANGER = 65_534


class Source:
    """Rows, counting how often they were asked for."""

    asked = 0

    def __call__(self, skipped: dict[str, str]) -> Rows:
        self.asked += 1
        yield {"sample": IMAGES, "label": np.arange(7)}


@pytest.fixture
def source(cache: Path) -> Source:
    source = Source()
    cached("toy", "key", source)
    return source


def rebuilt(source: Source) -> bool:
    """Whether the store is made again, with the right pictures, and then kept."""
    before = source.asked
    for _ in range(2):
        found = cached("toy", "key", source)
        assert np.array_equal(found.columns["sample"].numpy(), IMAGES)
        assert found.columns["label"].tolist() == list(range(7))
    assert source.asked <= before + 1
    return source.asked == before + 1


def give_away(path: Path) -> None:
    """Make another user the owner."""
    if os.geteuid() != 0:
        pytest.skip("only root may give a file away")
    os.lchown(path, STRANGER, STRANGER)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- planted stores ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the cached")
@pytest.mark.parametrize("name", [".", "store.json", "sample.bin", "label.bin"])
def test_a_store_with_a_file_of_another_user_is_made_again(name: str, cache: Path, source: Source) -> None:
    give_away(cache / "toy-key" / name)
    assert rebuilt(source)
    assert not rebuilt(source)


def _replace(name: str) -> Callable[[Path], None]:
    def by_link(folder: Path) -> None:
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")

    return by_link


def _pipe(folder: Path) -> None:
    (folder / "store.json").unlink()
    os.mkfifo(folder / "store.json")


def _pipe_of_pixels(folder: Path) -> None:
    (folder / "sample.bin").unlink()
    os.mkfifo(folder / "sample.bin")


def _link_of_the_store(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to("elsewhere")


def _file_for_the_store(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.write_text("no store")


def _writable(folder: Path) -> None:
    folder.chmod(0o777)


PLANTED = [
    _replace("store.json"), _replace("sample.bin"), _pipe, _pipe_of_pixels, _link_of_the_store, _file_for_the_store,
    _writable,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:the cached")
@pytest.mark.parametrize("plant", PLANTED)
def test_what_is_no_folder_of_regular_files_of_ours_is_made_again(
    plant: Callable[[Path], None], cache: Path, source: Source
) -> None:
    plant(cache / "toy-key")
    assert rebuilt(source)


def _changed(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda about: about["columns"]["sample"].update(changes)


CONTENT: dict[str, Callable[[dict[str, Any]], object]] = {
    "dtype of objects": _changed(dtype="O", shape=[7]),
    "structure as dtype": _changed(dtype="u1,u1"),
    "no dtype": _changed(dtype=5),
    "negative shape": _changed(shape=[-7, -5, 6, 3]),
    "fraction as shape": _changed(shape=[7.0, 5, 6, 3]),
    "text as shape": _changed(shape="7563"),
    "huge shape": _changed(shape=[10**30, 5, 6, 3]),
    "further setting": _changed(path="/etc/passwd"),
    "path as name": lambda about: about["columns"].update({"../../outside": about["columns"]["sample"]}),
    "columns as list": lambda about: about.update(columns=["sample"]),
    "columns missing": lambda about: about.pop("columns"),
    "skipped as list": lambda about: about.update(skipped=[["a", "b"]]),
    "skipped of numbers": lambda about: about.update(skipped={"a": 5}),
    "domains of nothing": lambda about: about.update(domains={"b": ["other"]}),
    "deep": lambda about: about.update(skipped=json.loads("[" * 500 + "]" * 500)),
}


@pytest.mark.filterwarnings("ignore:the cached")
@pytest.mark.parametrize("what", CONTENT)
def test_a_description_that_no_writer_wrote_is_made_again(what: str, cache: Path, source: Source) -> None:
    file = cache / "toy-key" / "store.json"
    (cache.parent / "outside.bin").write_bytes(IMAGES.tobytes())
    about = json.loads(file.read_text())
    CONTENT[what](about)
    file.write_text(json.dumps(about))
    assert rebuilt(source)


@pytest.mark.filterwarnings("ignore:the cached")
@pytest.mark.parametrize("name", ["store.json", "sample.bin"])
def test_a_pickle_in_a_cache_is_never_loaded(name: str, cache: Path, source: Source, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "marker"),)

    (cache / "toy-key" / name).write_bytes(pickle.dumps(Touch()))
    assert rebuilt(source)
    assert not (tmp_path / "marker").exists()


# -- shared folders ----------------------------------------------------------------------------------------------------


def test_nobody_else_can_look_into_the_cache(cache: Path, source: Source) -> None:
    with downloading("toy", "do without"):
        pass
    assert mode(cache) == mode(cache / "toy-key") == mode(cache / "downloads") == 0o700


def test_in_a_folder_that_others_can_write_to_everybody_has_one_of_their_own(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o1777)
    source = Source()
    for _ in range(2):
        cached("toy", "key", source)
    assert source.asked == 1
    own = cache / f"user-{os.geteuid()}"
    assert cache_folder() == own
    assert [path.name for path in cache.iterdir()] == [own.name]
    assert mode(own) == 0o700
    assert (own / "toy-key/store.json").is_file()


def test_a_folder_that_another_user_made_in_our_name_is_not_used(cache: Path) -> None:
    own = cache / f"user-{os.geteuid()}"
    own.mkdir(parents=True)
    give_away(own)
    cache.chmod(0o1777)
    with pytest.warns(UserWarning, match=r"cannot cache data \(.*is not of this user alone\); set GAN_LAB_CACHE"):
        found = cached("toy", "key", Source())
    assert np.array_equal(found.columns["sample"].numpy(), IMAGES)
    assert not list(own.iterdir())
    with pytest.raises(ValueError, match="is not of this user alone"), downloading("toy", "do without"):
        pass
