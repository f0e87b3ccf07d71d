"""What a person sees while a run trains: a live line in a terminal, plain lines elsewhere, few beside other jobs."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gan_lab.tracking.run_directory import SELECTION, SPEED

LONG = 10  # characters of a number
PLAIN_SECONDS = 20.0  # between two lines without a terminal


@dataclass(frozen=True)
class Speaker:
    """A job that shares the terminal with others at work, each in a process of its own."""

    name: str
    others: int = 0  # how many speak at the same time


_speaker: Speaker | None = None  # None: this process has the terminal for itself


class _Signed(io.TextIOBase):
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
def speaking(speaker: Speaker) -> Iterator[None]:
    """Sign everything that this process prints, and print less."""
    global _speaker
    _speaker = speaker
    try:
        with (
            contextlib.redirect_stdout(_Signed(sys.stdout, speaker.name)) as out,
            contextlib.redirect_stderr(_Signed(sys.stderr, speaker.name)) as err,
        ):
            yield
            for stream in (out, err):
                if stream._rest:
                    stream.write("\n")
    finally:
        _speaker = None


class _Terminal(Terminal):
    def on_broken_pipe(self) -> None:
        """Whoever reads is gone: say nothing more, and leave the run alone, which rich would end."""
        self.quiet = True


def terminal() -> Terminal:
    return _Terminal(highlight=False, soft_wrap=True)


def wide_terminal() -> Terminal:
    """For tables: as wide as the terminal; elsewhere as wide as they need to be, unless COLUMNS says how wide."""
    output = terminal()
    if not output.is_terminal and "COLUMNS" not in os.environ:
        output.width = 10_000
    return output


class Console:
    """Progress with rate, time left and last losses, then where the pictures are and what to type next."""

    def __init__(self, total: int, done: int, description: list[str]) -> None:
        self.terminal = terminal()
        self.total, self._printed = total, time.monotonic()
        self._pause = PLAIN_SECONDS * (1 + _speaker.others if _speaker else 1)
        self._progress: Progress | None = None
        for line in description if _speaker is None else description[:1]:  # the rest is the same for all jobs
            self.say(line)
        if self.terminal.is_terminal and _speaker is None:
            columns = (
                BarColumn(bar_width=24),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} images"),
                TextColumn("{task.fields[speed]:>5,.0f}/s"),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                TextColumn("{task.fields[losses]}", style="dim"),
            )
            progress = Progress(*columns, console=self.terminal, refresh_per_second=4)
            self._task = progress.add_task("", total=total, completed=done, speed=0.0, losses="")
            progress.start()
            self._progress = progress

    def record(self, record: Mapping[str, Any]) -> None:
        if SPEED not in record:  # scores
            scores = {k.removeprefix(SELECTION): v for k, v in record.items() if k.startswith(SELECTION)}
            if scores and _speaker is None:
                self.say(f"  {record['images']:,} images: {_words(scores)}")
            return
        losses = "  ".join(
            f"{name.split('/')[0][0].upper()} {_short(value)}"
            for name, value in record.items()
            if name in ("discriminator/adversarial", "generator/adversarial")
        )
        images, speed = record["images"], record[SPEED]
        if self._progress:
            self._progress.update(self._task, completed=images, speed=speed, losses=losses)
        elif time.monotonic() - self._printed > self._pause or (images >= self.total and _speaker is None):
            self._printed = time.monotonic()
            left = max(self.total - images, 0) / speed if speed else 0.0
            self.say(f"  {images:,} of {self.total:,} images  {speed:,.0f}/s  {left:,.0f} s left  {losses}")

    def picture(self, path: Path, images: int, name: str = "samples") -> None: ...

    def warn(self, warning: Mapping[str, Any]) -> None:
        """One line when a warning of the health monitor begins or becomes critical."""
        level = "critical: " if warning["level"] == "critical" else ""
        what = f"{level}{warning['title']} ({warning['found']})"
        line = f"  health: {warning['last']:,} images: {what}: {warning['advice']}"
        self.say(line, style="yellow")

    def say(self, line: str, style: str | None = None) -> None:
        """Print it. Whoever reads may be gone, and a log file's disk full: the run goes on unheard."""
        with contextlib.suppress(OSError):
            self.terminal.print(line, markup=False, style=style)

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._progress:
            self._progress.stop()


def shown(value: str) -> str:
    """A value as a person wants to read it: of the many digits that a sampler draws, four."""
    if len(value) > LONG and re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", value):
        return f"{float(value):.4g}"
    return value


def _short(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "-"
    whole = value == int(value) if math.isfinite(value) else False  # a count: 1000 modes are not 1e+03
    return f"{value:.0f}" if whole and abs(value) < 1e6 else f"{value:.3g}"


def _words(scores: Mapping[str, Any]) -> str:
    """The scores that there is room for: `fd 1.2  coverage 0.8`."""
    from gan_lab.metrics.base import is_headline, short_names

    shown = {name: value for name, value in scores.items() if is_headline(name)}
    return "  ".join(f"{short} {_short(shown[name])}" for name, short in short_names(shown).items())


def last_words(summary: Mapping[str, Any], path: Path, picture: Path | None, *, short: bool) -> list[str]:
    """How a run ended, and, unless a sweep's table follows, where its pictures are and what to type next."""
    speed = f", {summary['images_per_second']:,.0f} images/s" if summary.get("images_per_second") else ""
    lines = [f"{summary['status']}: {summary['images']:,} images in {summary['seconds']:,.1f} s{speed}"]
    if scores := summary.get("metrics"):
        words = _words({name: entry["value"] for name, entry in scores.items()})
        lines = [f"{lines[0]}  {words}"] if short else [*lines, f"scores    {words}"]
    if short:
        return lines
    if best := summary.get("best"):
        where = "the last" if best["images"] == summary["images"] else f"that of {best['images']:,} images"
        lines.append(f"best      {where}, by {best['metric']} {_short(best['value'])} while training")
    for back in summary.get("rollbacks") or ():
        told = f"at {back['from']:,} images, to {back['to']:,}, learning rates x {back['learning_rate']:g}"
        lines.append(f"went back {told}")
    for warning in summary.get("health") or ():
        since = "" if warning["images"] == warning["last"] else f"{warning['images']:,} to "
        lines.append(f"health    {warning['title']}, {since}{warning['last']:,} images")
    if picture:
        lines.append(f"pictures  {picture}")
    if link := summary.get("wandb"):
        lines.append(f"W&B       {link}" if link.startswith("http") else f"W&B       wandb sync {link}")
    if summary["status"] == "interrupted":
        lines.append(f"go on     repeat the command with run_dir={path}")
    elif summary["status"] == "finished":
        lines.append(f"next      gan-lab sample {path} --num 64 --out samples.png")
    return lines
