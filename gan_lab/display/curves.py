"""Curves for a terminal, drawn with the eight dots of Braille characters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

from gan_lab.display.terminal import short_number

COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red")
BLANK = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a character (Unicode U+2800)
MARGIN = 9  # characters for the numbers of the vertical axis

Series = Sequence[tuple[float, float]]


def curves(series: Mapping[str, Series], width: int, height: int) -> Text:
    """Curves by name over a common axis, `width` characters wide and `height` lines high, with a legend below.

    Points are connected; those that are not finite are left out. Where there are none, a line says so.
    """
    series = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()}
    points = [point for of in series.values() for point in of]
    if not points:
        return Text("nothing was recorded yet", style="dim")
    canvas = _Canvas(points, max(width - MARGIN, 8), height)
    for colour, of in zip(COLOURS, series.values(), strict=False):
        canvas.draw(of, colour)
    lines = [Text.assemble((f"{label:>{MARGIN - 1}} ", "dim"), line) for label, line in canvas.lines()]
    low, high = f"{canvas.left:,.0f}", f"{canvas.right:,.0f} images"
    gap = " " * max(canvas.width - len(low) - len(high), 1)
    named = [(f"━ {name} {short_number(of[-1][1])}", colour)
             for colour, (name, of) in zip(COLOURS, series.items(), strict=False) if of]  # fmt: skip
    legend = Text(" " * MARGIN) + Text("   ").join(Text(name, colour) for name, colour in named)
    legend.truncate(width, overflow="ellipsis")
    return Text("\n").join([*lines, Text(f"{'':{MARGIN}}{low}{gap}{high}", style="dim"), legend])


class _Canvas:
    """Dots, two for each character across and four for each line down, and a colour for each character."""

    def __init__(self, points: Series, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.left, self.right = min(x for x, _ in points), max(x for x, _ in points)
        self.low, self.high = self._range(sorted(y for _, y in points))
        self.flat = self.low == self.high
        if self.flat:
            self.low, self.high = self.low - 1, self.high + 1
        self.dots = [[0] * width for _ in range(height)]
        self.colours = [[""] * width for _ in range(height)]

    @staticmethod
    def _range(values: Sequence[float]) -> tuple[float, float]:
        """The range without the outermost hundredth on each side: a single jump would flatten all else."""
        cut = len(values) // 100
        return values[cut], values[-1 - cut]

    def draw(self, points: Series, colour: str) -> None:
        across, down = 2 * self.width - 1, 4 * self.height - 1
        wide = (self.right - self.left) or 1.0
        high = self.high - self.low
        clipped = ((x, min(max(y, self.low), self.high)) for x, y in points)
        places = [((x - self.left) / wide * across, (self.high - y) / high * down) for x, y in clipped]
        for (x0, y0), (x1, y1) in zip(places, [*places[1:], places[-1]], strict=True):
            steps = max(math.ceil(max(abs(x1 - x0), abs(y1 - y0))), 1)
            for i in range(steps + 1):
                self._dot(round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps), colour)

    def _dot(self, x: int, y: int, colour: str) -> None:
        self.dots[y // 4][x // 2] |= DOTS[y % 4][x % 2]
        self.colours[y // 4][x // 2] = colour

    def lines(self) -> list[tuple[str, Text]]:
        """Each line, with a number beside the highest and the lowest, or in the middle where they are one."""
        made = []
        ends = {0: self.high, self.height - 1: self.low}
        numbers = {self.height // 2: self.high - 1} if self.flat else ends
        for row, (dots, colours) in enumerate(zip(self.dots, self.colours, strict=True)):
            value = numbers.get(row)
            text = Text()
            for dot, colour in zip(dots, colours, strict=True):
                text.append(chr(BLANK + dot), style=colour)
            made.append(("" if value is None else short_number(value), text))
        return made
