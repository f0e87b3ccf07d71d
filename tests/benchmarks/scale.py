"""Measure how costs grow: curves of cost against size, each with the exponent of a power law fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich import box
from rich.table import Table

from tests.benchmarks import growth
from tests.benchmarks.curves import Curve
from tests.benchmarks.measure import arguments, in_words, measured, say, short, surroundings, write_json

CURVES: dict[str, Callable[[int], list[Curve]]] = {
    "batch": growth.batch,
    "image_size": growth.image_size,
    "width": growth.width,
    "data": growth.data,
    "sweep": growth.sweep,
}


def main(argv: Sequence[str] | None = None) -> None:
    given = arguments("tests.benchmarks.scale", __doc__, CURVES, 3, argv)
    curves, about = [], surroundings(given)
    say(in_words(about), "")
    for found in measured(given, CURVES):
        for curve in found:
            say(table(curve), summary(curve), "")
        curves += found
    write_json(given.json, {"surroundings": about, "curves": [curve.row() for curve in curves]})


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
