"""Lines, tables and numbers in a terminal, and jobs that share one."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gan_lab.core.files import CONTROL, printable
from gan_lab.display.notebook import in_notebook

LONG = 10  # characters: a longer number is rounded


@dataclass(frozen=True)
class OutputLabel:
    """The label before each line of a job, where several jobs, each in its own process, share a terminal."""

    name: str
    others: int = 0  # how many other jobs print at the same time


_label: OutputLabel | None = None  # None: this process has the terminal for itself


def current_label() -> OutputLabel | None:
    """The label before this process's lines; None where the process has the terminal for itself."""
    return _label


class _LabelledStream(io.TextIOBase):
    """A stream that puts a label before every line. It writes whole lines, so that lines of two jobs do not mix."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name, self._rest = stream, name, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._stream.write("".join(f"[{self._name}] {line}\n" for line in lines))
            self._stream.flush()
        return len(text)


@contextlib.contextmanager
def labelled_output(label: OutputLabel) -> Iterator[None]:
    """Put the label before every line that this process prints, and print less."""
    global _label
    _label = label
    try:
        with (
            contextlib.redirect_stdout(_LabelledStream(sys.stdout, label.name)) as out,
            contextlib.redirect_stderr(_LabelledStream(sys.stderr, label.name)) as err,
        ):
            yield
            for stream in (out, err):
                if stream._rest:
                    stream.write("\n")
    finally:
        _label = None


class _Terminal(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            dirty = not segment.control and CONTROL.search(segment.text)
            yield Segment(printable(segment.text), segment.style) if dirty else segment

    def on_broken_pipe(self) -> None:
        """The reader of the output has gone: print nothing more. rich's own method would end the run."""
        self.quiet = True


def console(**options: Any) -> Console:
    """A console that prints control characters as text. In a notebook it prints lines, as to a file."""
    if in_notebook():
        options = {"force_terminal": False} | options
    return _Terminal(highlight=False, soft_wrap=True, force_jupyter=False, **options)


def terminal() -> Console:
    return console()


def wide_terminal() -> Console:
    """A console for tables: as wide as the terminal. In a pipe or a file, as wide as COLUMNS, or without a limit."""
    output = terminal()
    if not output.is_terminal and "COLUMNS" not in os.environ:
        output.width = 10_000
    return output


def shortened(value: str) -> str:
    """A value for display: a long decimal number, such as a sampler draws, is rounded to four digits."""
    if len(value) > LONG and re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", value):
        return f"{float(value):.4g}"
    return value


def duration(seconds: float) -> str:
    """A time for display: `42 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def short_number(value: Any) -> str:
    """A number with three digits, a count as it is, and a dash for anything that is not a number."""
    if not isinstance(value, (int, float)):
        return "-"
    whole = value == int(value) if math.isfinite(value) else False  # a count: 1000 modes are not 1e+03
    return f"{value:.0f}" if whole and abs(value) < 1e6 else f"{value:.3g}"
