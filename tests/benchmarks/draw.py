"""Draw what --json has written: ratios beside their goals, and curves of cost against size."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tests.benchmarks.measure import short

MET, MISSED, INK, FAINT = "#2a7f8e", "#d9822b", "#333333", "#dddddd"
KINDS = {"at least": "larger is better", "at most": "smaller is better"}
COLUMNS, BAR, PANEL = 3, 0.36, 3.1  # panels of curves in a row, inches of a bar, and of a panel's height
Row = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.draw", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--out", type=Path, default=Path("speed.png"), metavar="FILE.png", help="(speed.png)")
    given = parser.parse_args(argv)
    draw({str(path.with_suffix("")): json.loads(path.read_text()) for path in given.files}).savefig(given.out, dpi=150)


def draw(contents: Mapping[str, Row]) -> Figure:
    """A figure of all benchmarks, then all curves, of some files. Raises ValueError where there are none."""
    mpl.use("agg")
    results = [row for row in _rows(contents, "benchmarks") if row["ratios"]]
    curves = _rows(contents, "curves")
    kinds = {kind: [row for row in results if row["kind"] == kind] for kind in KINDS}
    shown = {kind: rows for kind, rows in kinds.items() if rows}
    heights = [len(rows) * BAR + 1.1 for rows in shown.values()]
    heights += [PANEL] * math.ceil(len(curves) / COLUMNS)
    if not heights:
        raise ValueError(f"nothing was measured in {', '.join(contents)}")
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.5, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, (kind, rows) in zip(parts, shown.items(), strict=False):
            _bars(part.subplots(), kind, rows)
        for part, start in zip(parts[len(shown) :], range(0, len(curves), COLUMNS), strict=True):
            axes = part.subplots(1, COLUMNS, squeeze=False)[0]
            for axis, curve in zip(axes, curves[start : start + COLUMNS], strict=False):
                _curve(axis, curve)
            for axis in axes[len(curves) - start :]:
                axis.axis("off")
    return figure


def _rows(contents: Mapping[str, Row], kind: str) -> list[Row]:
    """What the files hold of a kind; names that stand in several files with the files'."""
    found = [(file, row) for file, content in contents.items() for row in content.get(kind, ())]
    times = Counter(row["name"] for _, row in found)
    return [row | ({"name": f"{row['name']}, {file}"} if times[row["name"]] > 1 else {}) for file, row in found]


def _bars(axis: Axes, kind: str, rows: Sequence[Row]) -> None:
    """Bars from 1, where both sides are alike, with the rounds' spread and the goal."""
    places = range(len(rows))
    spreads = _spread([(row["ratio"], min(row["ratios"]), max(row["ratios"])) for row in rows])
    colors = [MET if row["met"] else MISSED for row in rows]
    lengths = [row["ratio"] - 1 for row in rows]
    axis.barh(places, lengths, 0.62, left=1, color=colors, xerr=spreads, error_kw={"ecolor": INK, "elinewidth": 1})
    for place, row in zip(places, rows, strict=True):
        axis.plot([row["bound"]] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=2.2, solid_capstyle="butt")
        furthest = max(*row["ratios"], row["bound"], 1)
        axis.annotate(short(row["ratio"]), (furthest, place), (5, 0), textcoords="offset points", va="center")
    axis.set_xscale("log")
    axis.set_yticks(places, [row["name"] for row in rows])
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.margins(x=0.08)
    axis.axvline(1, color=INK, linewidth=0.8)
    _plain(axis.xaxis)
    axis.grid(axis="x", color=FAINT, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.set_title(f"Ratios of which {KINDS[kind]}", loc="left", weight="bold")
    _legend(axis, {row["met"] for row in rows})


def _legend(axis: Axes, outcomes: set[bool]) -> None:
    handles: dict[str, Artist] = {
        "goal": Line2D([], [], color=INK, linestyle="", marker="|", markersize=11, markeredgewidth=2.2),
        "lowest to highest": Line2D([], [], color=INK, linewidth=1),
    }
    for outcome, label, color in ((True, "met", MET), (False, "missed", MISSED)):
        if outcome in outcomes:
            handles[label] = Patch(color=color)
    axis.legend(
        list(handles.values()), list(handles), loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False
    )  # fmt: skip


def _curve(axis: Axes, curve: Row) -> None:
    """One curve, with a dotted line that starts with it and grows as the work does."""
    sizes, medians, lows, highs = zip(*curve["points"], strict=True)
    unit, amounts = list(curve["work"].items())[-1] if curve["work"] else (None, [1.0] * len(sizes))
    ideal = [medians[0] * amount / amounts[0] for amount in amounts]
    axis.plot(sizes, ideal, ":", color=INK, linewidth=1.4, label=f"linear in {unit}s" if unit else "flat")
    spread = _spread(list(zip(medians, lows, highs, strict=True)))
    exponent = list(curve["exponents"].values())[-1]
    label = "measured" if exponent is None else f"exponent {exponent:.2f}"
    style: dict[str, Any] = {"color": MET, "marker": "o", "markersize": 4, "linewidth": 1.6, "capsize": 2}
    axis.errorbar(sizes, medians, spread, label=label, **style)
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{size:,g}" for size in sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    if curve["negligible"]:
        bound = 1.5 * curve["negligible"]
        axis.axhspan(0, curve["negligible"], color=FAINT, alpha=0.5, linewidth=0, label="negligible")
        axis.set_ylim(min(*lows, -bound / 3), max(*highs, bound))
    else:
        axis.set_yscale("log")
        if unit is None:  # or noise would fill the panel
            axis.set_ylim(min(lows) / 3, max(highs) * 3)
        _plain(axis.yaxis)
    axis.set_xlabel(curve["size_of"])
    axis.set_ylabel(curve["cost_of"])
    axis.grid(color=FAINT, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, loc="upper left")
    axis.set_title(curve["name"], loc="left", weight="bold")


def _spread(figures: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    """Lengths of whiskers for medians, lowest and highest."""
    return [[median - low for median, low, _ in figures], [high - median for median, _, high in figures]]


def _plain(axis: Axis) -> None:
    """Numbers as people write them, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


if __name__ == "__main__":
    main()
