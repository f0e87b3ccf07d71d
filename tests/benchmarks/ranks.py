"""Seconds a step of one process and of two that share its batch, by gloo on this machine's cores.

`python -m tests.benchmarks.ranks [ROUNDS]` prints, for two networks, medians over interleaved rounds: the time of a
step, the share of it that is spent in exchanges with the other rank (waiting for a slower one included), and the bytes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import multiprocessing

from gan_lab.core import ranks as core_ranks
from gan_lab.core import runtime
from gan_lab.core.loop import step
from gan_lab.run.assembly import agreement, assemble
from gan_lab.run.place import place
from gan_lab.run.ranks import Ranks
from gan_lab.run.signals import Signals
from tests.helpers import compose

WARM, STEPS = 3, 15
RUNS = {
    "DCGAN, 28 px, 64 pictures": ("experiment=dcgan_mnist5k",),
    "the same, without batch norm": ("experiment=dcgan_mnist5k", "generator.normalization=none"),
    "two small MLPs, 2,048 points": ("experiment=ring", "trainer.batch_size=2048"),
}


def measure(rank: int, world: int, port: int, words: tuple[str, ...], out: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    spent = [0.0, 0]

    @contextlib.contextmanager
    def timed() -> Iterator[None]:
        begin = time.perf_counter()
        yield
        spent[0] += time.perf_counter() - begin

    from gan_lab.core import batch_norm

    batch_norm.contact = runtime.contact = timed
    config = compose(*words, "evaluation.metrics=[]", "evaluation.every=0", "tracking.health=false")
    assembly = assemble(config)
    with Ranks(place()) as ranks, Signals() as signals:
        ranks.join(agreement(config, assembly), torch.device("cpu"), {})
        game = assembly.game
        core_ranks.share(game)
        for i in range(WARM + STEPS):
            if i == WARM:
                spent[0], begin = 0.0, time.perf_counter()
            step(game)
            ranks.agree(game, signals)
        seconds = time.perf_counter() - begin
        if rank == 0:
            numbers = sum(p.numel() for parameters in game.parameters.values() for p in parameters)
            torch.save([seconds / STEPS, spent[0] / seconds, numbers * 4], out)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for name, words in RUNS.items():
        found: dict[int, list[list[float]]] = {1: [], 2: []}
        for _ in range(rounds):
            for world, results in found.items():
                with tempfile.TemporaryDirectory() as folder, socket.socket() as listener:
                    listener.bind(("127.0.0.1", 0))
                    port = listener.getsockname()[1]
                    listener.close()
                    out = str(Path(folder, "found"))
                    multiprocessing.spawn(measure, (world, port, words, out), nprocs=world)
                    results.append(torch.load(out))
        (one, _, size), (two, share, _) = ([statistics.median(v) for v in zip(*r, strict=True)] for r in found.values())
        print(
            f"{name}: {one * 1e3:.1f} ms a step, in two processes {two * 1e3:.1f} ms ({one / two:.2f} times as fast), "
            f"{share:.0%} of it in exchanges; {size / 1e6:.2f} MB of gradients; load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main()
