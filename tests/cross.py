"""Every generator against every discriminator under every loss, a few steps each: what runs, and what is refused.

    python -m tests.cross            # pictures of 32 px; minutes on one core
    python -m tests.cross points     # or "grey 28", "colour 32"

A cell is the number of losses under which all numbers stayed finite and every weight moved; below the table stands each
reason why a pair was refused. test_pairs.py holds the same, pair by pair.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from tests.pairs import DATA, LOSSES, NETWORKS, build, chosen, train_watched


def tried(generator: str, discriminator: str, data: str) -> tuple[int, set[str]]:
    """How many losses train a pair, and why the others do not."""
    run, reasons = 0, set()
    for loss in LOSSES:
        try:
            train_watched(build(*chosen(generator, discriminator), *DATA[data], loss=loss))
            run += 1
        except ValueError as error:
            reasons.add(str(error))
    return run, reasons


def main(data: str = "colour 32") -> None:
    torch.set_num_threads(1)
    generators, discriminators = NETWORKS["generator"], NETWORKS["discriminator"]
    table = Table("", *discriminators, box=box.SIMPLE_HEAD)
    refused: dict[str, list[str]] = defaultdict(list)
    total = 0
    for generator in generators:
        cells = []
        for discriminator in discriminators:
            run, reasons = tried(generator, discriminator, data)
            total += run
            cells.append(str(run))
            for reason in reasons:
                refused[reason].append(f"{generator} x {discriminator}")
        table.add_row(generator, *cells)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    number = len(generators) * len(discriminators) * len(LOSSES)
    console.print(
        f"{len(generators)} generators x {len(discriminators)} discriminators x {len(LOSSES)} losses on {data}: "
        f"{total} of {number} run"
    )
    for reason, pairs in refused.items():
        console.print(f"refused, {pairs[0]} first, {len(pairs)} in all: {reason}", highlight=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
