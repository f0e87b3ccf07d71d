"""Lines, tables and numbers in a terminal, and jobs that share one."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console

LONG = 10  # characters of a short_number


@dataclass(frozen=True)
class OutputLabel:
    """A job that shares the terminal with others at work, each in a process of its own."""

    name: str
    others: int = 0  # how many speak at the same time


_label: OutputLabel | None = None  # None: this process has the terminal for itself


def current_label() -> OutputLabel | None:
    """Who signs this process's lines; None where it has the terminal for itself."""
    return _label


class _LabelledStream(io.TextIOBase):
    """A stream whose every line says who speaks. A line is written at once, or another job's would break into it."""

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
    """Sign everything that this process prints, and print less."""
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
    def on_broken_pipe(self) -> None:
        """Whoever reads is gone: say nothing more, and leave the run alone, which rich would end."""
        self.quiet = True


def terminal() -> Console:
    return _Terminal(highlight=False, soft_wrap=True)


def wide_terminal() -> Console:
    """For tables: as wide as the terminal; elsewhere as wide as they need to be, unless COLUMNS says how wide."""
    output = terminal()
    if not output.is_terminal and "COLUMNS" not in os.environ:
        output.width = 10_000
    return output


def shortened(value: str) -> str:
    """A value as a person wants to read it: of the many digits that a sampler draws, four."""
    if len(value) > LONG and re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", value):
        return f"{float(value):.4g}"
    return value


def short_number(value: Any) -> str:
    """Three digits of a short_number, a count as it is, and a dash for what is no short_number."""
    if not isinstance(value, (int, float)):
        return "-"
    whole = value == int(value) if math.isfinite(value) else False  # a count: 1000 modes are not 1e+03
    return f"{value:.0f}" if whole and abs(value) < 1e6 else f"{value:.3g}"
