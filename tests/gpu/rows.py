"""What a section finds, row by row, and the table of all rows. Imports nothing but the standard library."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

NOTE_WIDTH = 100  # characters of the last column


@dataclass
class Row:
    """`figures` by their units, such as {"ms/step": 8.1}. Without figures, the note says what was found, or why not."""

    what: str
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    state: Literal["ok", "FAILED", "error", "skipped"] = "ok"  # FAILED: what must hold does not
    section: str = ""
    seconds: float = 0.0  # that this row took


@dataclass(frozen=True)
class Setting:
    """What a section is given."""

    tiny: bool  # sizes that a CPU can do in seconds
    card: bool  # whether there is one
    left: Callable[[], float]  # seconds until the section is stopped
    found: Sequence[Row] = ()  # rows of the sections before
    data: str | None = None  # a folder with Fashion-MNIST's four files

    def figure(self, section: str, what: str, unit: str) -> float | None:
        """A figure of a section before, where it was measured."""
        rows = (row for row in self.found if (row.section, row.what) == (section, what))
        return next((row.figures[unit] for row in rows if unit in row.figures), None)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def in_words(row: Row) -> str:
    """The figures in one line, then the note."""
    figures = ", ".join(f"{number(value)} {unit}" for unit, value in row.figures.items())
    return "; ".join(filter(None, (figures, row.note)))


def table(rows: Sequence[Row]) -> str:
    """Columns: section, what, state, figures and note, seconds that it took."""
    heads = "section", "what", "state", "seconds", "figures and notes"
    lines = [(row.section, row.what, row.state, f"{row.seconds:.1f}", in_words(row)) for row in rows]
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(4)]
    margin = sum(widths) + 2 * len(widths)
    shown = []
    for line in (heads, ("-" * width for width in (*widths, NOTE_WIDTH)), *lines):
        *cells, note = line
        start = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + "  "
        parts = textwrap.wrap(note, NOTE_WIDTH) or [""]
        shown += [start + parts[0], *(" " * margin + part for part in parts[1:])]
    return "\n".join(line.rstrip() for line in shown)
