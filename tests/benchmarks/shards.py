"""Memory of training on shards: peak anonymous memory does not grow with the number of pictures.

`python -m tests.benchmarks.shards [PICTURES ...]` (100,000 and 1,000,000) makes archives of 10,000 pictures of 32 px
each in a temporary folder (2.1 kB a picture, its class included), decodes them and trains a small network, all in
fresh processes. It prints seconds, and the peaks of anonymous memory (what no file backs) and of all that is resident,
mapped pages of files included, which the system may drop at any time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from tests.datasets.packing import encoded, write_tar

SIDE, OF_A_SHARD, DISTINCT = 32, 10_000, 500
STATUS = Path("/proc/self/status")
POLL = 0.02  # seconds


def make(folder: Path, pictures: int) -> None:
    """Archives of smooth grey pictures with classes: waves of `DISTINCT` kinds."""
    folder.mkdir()
    random, grid = np.random.default_rng(0), np.mgrid[:SIDE, :SIDE] / SIDE
    waves = random.uniform(0, 6, (DISTINCT, 2, 1, 1))
    pixels = (127 + 60 * np.sin(waves * grid).sum(1)).astype(np.uint8)[..., None]
    content = [encoded(picture) for picture in pixels]
    for first in range(0, pictures, OF_A_SHARD):
        numbers = range(first, min(first + OF_A_SHARD, pictures))
        members = ((f"{i:08}.{end}", content[i % DISTINCT] if end == "png" else b"%d" % (i % 10))
                   for i in numbers for end in ("png", "cls"))  # fmt: skip
        write_tar(folder / f"{first // OF_A_SHARD:05}.tar", members)


class Peak:
    """A context that watches the memory of this process: `peaks` has the largest of each kind in MB."""

    def __init__(self) -> None:
        self.peaks = {"RssAnon": 0.0, "VmRSS": 0.0}
        self._done = threading.Event()

    def __enter__(self) -> Peak:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(POLL):
            for line in STATUS.read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in self.peaks:
                    self.peaks[name] = max(self.peaks[name], int(rest.split()[0]) / 1000)


def decode(folder: str) -> None:
    """In a fresh process: decode all into the cache."""
    import torch

    from gan_lab.datasets.shards import Shards

    torch.set_num_threads(1)
    with Peak() as peak:
        begin = time.perf_counter()
        store = Shards(path=folder, image_size=SIDE, image_channels=1, num_classes=10).load()
        seconds = time.perf_counter() - begin
    print(json.dumps({"pictures": len(store), "seconds": seconds, **peak.peaks}))


def train(folder: str, steps: str) -> None:
    """In a fresh process: assemble a run, and train over the end of an epoch, where two orders are in memory."""
    from gan_lab.core.loop import train
    from gan_lab.run.assembly import assemble
    from tests.helpers import compose

    config = compose(
        "experiment=none", "dataset=shards", f"dataset.path={folder}", f"dataset.image_size={SIDE}",
        "dataset.image_channels=1", "dataset.num_classes=10", "generator.width=4", "discriminator.width=4",
        "evaluation.metrics=[]", "evaluation.every=0", "trainer.threads=1",
    )  # fmt: skip
    with Peak() as peak:
        begin = time.perf_counter()
        game = assemble(config).game
        ready = time.perf_counter() - begin
        half = int(steps) // 2
        game.images = len(game.data) // game.batch_size * game.batch_size - half * game.batch_size
        begin = time.perf_counter()
        train(game, game.images + int(steps) * game.batch_size)
        seconds = (time.perf_counter() - begin) / int(steps)
    print(json.dumps({"pictures": len(game.data), "ready": ready, "seconds": seconds, **peak.peaks}))


def fresh(what: str, *arguments: str, environment: dict[str, str]) -> dict[str, float]:
    """What a function of this module prints in a process of its own."""
    code = f"import sys; from tests.benchmarks.shards import {what}; {what}(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(pictures: int, steps: int = 200) -> dict[str, dict[str, float]]:
    """Make so many pictures, decode them and train on them, each in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="gan-lab-shards-"))
    try:
        make(folder / "packed", pictures)
        environment = {**os.environ, "GAN_LAB_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        packed = str(folder / "packed")
        decoded = fresh("decode", packed, environment=environment)
        return {"decode": decoded, "train": fresh("train", packed, str(steps), environment=environment)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    for pictures in map(int, sys.argv[1:] or ("100000", "1000000")):
        begin = time.perf_counter()
        found = measure(pictures)
        for what, of in found.items():
            print(
                f"{pictures:,} pictures, {what}: {of['seconds']:.4g} s{' a step' if what == 'train' else ''}, "
                f"{of['RssAnon']:.0f} MB anonymous at most, {of['VmRSS']:.0f} MB resident"
            )
        print(f"  in all {time.perf_counter() - begin:.0f} s; load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
