"""The measurements of the scale study: batch, image size, width, stored images, and runs of a sweep."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np
from torch import Tensor

from gan_lab.core.loop import Game, Order, step, train
from gan_lab.datasets import cache
from gan_lab.datasets.cache import Rows
from gan_lab.datasets.store import Store
from tests.benchmarks.curves import Curve, points
from tests.benchmarks.limits import operations
from tests.benchmarks.measure import build, seconds
from tests.benchmarks.processes import python

BATCHES, IMAGE_SIZES, WIDTHS = (16, 32, 64, 128, 256), (32, 64, 128), (16, 32, 64, 128)
STORED, SIDE, FETCHES, CHUNK = (1_000, 10_000, 100_000), 64, 50, 1_000  # images, pixels, batches, images at once
RUNS = (1, 10, 50, 200)
STATUS = Path("/proc/self/status")
SHOWN = 256  # images that a game trains on in a round, at least


# -- steps -------------------------------------------------------------------------------------------------------------


def batch(rounds: int) -> list[Curve]:
    """The default's networks, with batches of every size."""
    games = {size: _game(f"trainer.batch_size={size}") for size in BATCHES}
    found = _steps(games, rounds)
    return [Curve("batch", "batch size", "seconds a step", points(found), {"image": list(map(float, BATCHES))})]


def image_size(rounds: int) -> list[Curve]:
    """The default's width; DCGAN has one more layer for every doubling, and so grows a little faster than pixels do."""
    size_of = "dataset.image_size={}", "dataset.image_channels=3", "trainer.batch_size=32"
    games = {size: _game(*(word.format(size) for word in size_of)) for size in IMAGE_SIZES}
    found = {size: [took / 32 for took in costs] for size, costs in _steps(games, rounds).items()}
    work = {
        "pixel": [float(size**2) for size in IMAGE_SIZES],
        "GFLOP": [gigaflops / 32 for gigaflops in _gigaflops(games)],
    }
    return [Curve("image_size", "pixels a side", "seconds an image", points(found), work)]


def width(rounds: int) -> list[Curve]:
    """The default at other widths of both networks."""
    games = {size: _game(f"generator.width={size}", f"discriminator.width={size}") for size in WIDTHS}
    found = _steps(games, rounds)
    return [Curve("width", "width", "seconds a step", points(found), {"GFLOP": _gigaflops(games)})]


def _game(*overrides: str) -> Game:
    words = ("experiment=dcgan_mnist5k", "regularizer=[]", "dataset=toy_pictures", "dataset.num=640")
    return build(*words, *overrides, log_every=6_400).game


def _gigaflops(games: Mapping[int, Game]) -> list[float]:
    return [operations(lambda game=game: step(game)) / 1e9 for game in games.values()]  # type: ignore[misc]


def _steps(games: Mapping[int, Game], rounds: int) -> dict[int, list[float]]:
    """Seconds a step of each game, the games in turns."""
    found: dict[int, list[float]] = {size: [] for size in games}
    for game in games.values():
        step(game)
    for _ in range(rounds):
        for size, game in games.items():
            steps = max(SHOWN // game.batch_size, 1)
            took = seconds(lambda game=game, steps=steps: train(game, game.images + steps * game.batch_size))  # type: ignore[misc]
            found[size].append(took / steps)
    return found


# -- stored images -----------------------------------------------------------------------------------------------------


def data(rounds: int) -> list[Curve]:
    """Stores that are mapped from the disk: seconds a batch, and the memory that an epoch takes for good."""
    # Mapped whatever the machine's memory is, from a cache that goes afterwards.
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, GAN_LAB_CACHE=folder),
        patch.object(cache, "MEMORY_SHARE", 0),
    ):
        stores = {size: pictures(size) for size in STORED}
        found: dict[int, list[float]] = {size: [] for size in STORED}
        for _ in range(rounds):
            for size, kept in stores.items():
                took = seconds(lambda kept=kept: [None for _ in batches(kept, FETCHES, seed=0)])  # type: ignore[misc]
                found[size].append(took / FETCHES)
        where = f"{SIDE} px in colour, {STORED[-1] * SIDE**2 * 3 / 1e9:.1f} GB at most, mapped and in the page cache"
        curves = [Curve("data", "stored images", "seconds a batch of 64", points(found), notes=[where])]
        if STATUS.exists():
            code = "from tests.benchmarks.growth import memory; print(memory({}))"
            grown = {size: [float(python("-c", code.format(size))) for _ in range(rounds)] for size in STORED}
            note = "anonymous memory: what is mapped, the system can drop; up to 16 MB, a few batches, are none"
            curves.append(Curve("data_memory", "stored images", "MB that an epoch adds", points(grown), {}, [note], 16))
    return curves


def pictures(size: int) -> Store:
    """A store of random pictures in the cache."""

    def rows(skipped: dict[str, str]) -> Rows:
        random = np.random.default_rng(0)
        for _ in range(size // CHUNK):
            yield {"sample": random.integers(0, 256, (CHUNK, SIDE, SIDE, 3), dtype=np.uint8)}

    return cache.cached("pictures", str(size), rows)


def batches(kept: Store, count: int, seed: int) -> Iterator[Tensor]:
    """Shuffled batches of 64 from a store."""
    order = Order(len(kept), seed)
    for i in range(count):
        yield kept.fetch("sample", order.rows(i * 64, 64))


def memory(size: int) -> float:
    """MB by which the most anonymous memory grows in an epoch, after batches that fill what allocators keep."""
    with patch.object(cache, "MEMORY_SHARE", 0):
        kept = pictures(size)
    before, during = (max(anonymous() for _ in batches(kept, *way)) for way in ((200, 0), (size // 64, 1)))
    return (during - before) / 1e6


def anonymous() -> int:
    """Bytes in memory of this process that no file backs. Linux says so."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


# -- runs --------------------------------------------------------------------------------------------------------------


def sweep(rounds: int) -> list[Curve]:
    """Tiny runs in one command: what it takes beside training them."""
    found = {runs: [beyond_training(runs) for _ in range(rounds)] for runs in RUNS}
    note = "starting, composing, pictures, scores, saves and the table included"
    work = {"run": list(map(float, RUNS))}
    return [Curve("sweep", "runs", "seconds beyond training", points(found), work, [note])]


def beyond_training(runs: int, images: int = 1_280) -> float:
    """Seconds of a sweep over seeds, less those in which its runs trained."""
    with tempfile.TemporaryDirectory() as name:
        words = ("experiment=ring", f"trainer.images={images}", f"trainer.seed=range(0,{runs})")
        command = ("train", "-m", *words, "tracking.wandb.mode=disabled", "sweep_dir=sweep")
        took = seconds(lambda: python("-m", "gan_lab", *command, folder=Path(name)))
        found = [json.loads(path.read_text()) for path in Path(name).glob("sweep/*/summary.json")]
    assert [run["status"] for run in found] == ["finished"] * runs
    return took - sum(run["images"] / run["images_per_second"] for run in found)
