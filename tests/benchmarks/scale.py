"""Measure how costs grow: curves of cost against size, each with the exponent of a power law fitted to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks import growth
from tests.benchmarks.curves import Curve
from tests.benchmarks.measure import arguments, short, surroundings, write_json

CURVES: dict[str, Callable[[int], list[Curve]]] = {
    "batch": growth.batch,
    "image_size": growth.image_size,
    "width": growth.width,
    "data": growth.data,
    "sweep": growth.sweep,
}


def main(argv: Sequence[str] | None = None) -> None:
    given = arguments("tests.benchmarks.scale", __doc__, CURVES, 3, argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    about = surroundings(given)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()), "", sep="\n", highlight=False)
    measured: list[Curve] = []
    for name in given.names:
        torch.set_num_threads(given.threads)
        with console.status(f"{name} ..."):
            found = CURVES[name](given.rounds)
        for curve in found:
            console.print(table(curve), summary(curve), "", sep="\n", highlight=False)
        measured += found
    write_json(given.json, {"surroundings": about, "curves": [curve.row() for curve in measured]})


def table(curve: Curve) -> Table:
    """Cost by size, also for each unit of work."""
    shown = Table(box=box.SIMPLE, title=f"{curve.name}: {curve.cost_of}", title_justify="left", title_style="bold")
    for name in (curve.size_of, "median", "lowest", "highest", *(f"for each {unit}" for unit in curve.work)):
        shown.add_column(name, no_wrap=True, justify="right")
    for i, point in enumerate(curve.points):
        shares = (point.median / amounts[i] for amounts in curve.work.values())
        shown.add_row(f"{point.size:,g}", *map(short, point[1:]), *map(short, shares))
    return shown


def summary(curve: Curve) -> str:
    """The exponents in words."""
    found = [f"{exponent:.2f} against {name}" for name, exponent in curve.exponents.items() if exponent is not None]
    return "; ".join([curve.verdict, *([f"exponent {', '.join(found)}"] if found else []), *curve.notes])


if __name__ == "__main__":
    main()
