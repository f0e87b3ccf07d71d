"""Progress of a run: a live line in a terminal or a notebook, plain lines elsewhere, fewer beside other jobs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gan_lab.display.notebook import NotebookBar, in_notebook
from gan_lab.display.terminal import current_label, short_number, terminal
from gan_lab.tracking.run_directory import SELECTION, SPEED

PLAIN_SECONDS = 20.0  # between two lines without a terminal


class Console:
    """Prints progress with the rate, the time left and the last losses."""

    def __init__(self, total: int, done: int, description: list[str], losses: Sequence[str]) -> None:
        """`losses` are the names in the records whose values are printed, such as `generator/adversarial`."""
        self.terminal, self.losses = terminal(), losses
        self.total, self._printed = total, time.monotonic()
        label = current_label()
        self._alone = label is None
        self._pause = PLAIN_SECONDS * (1 + (label.others if label else 0))
        self._progress: Progress | None = None
        for line in description if self._alone else description[:1]:  # the rest is the same for all jobs
            self.say(line)
        if self.terminal.is_terminal and self._alone:
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
        self._bar = NotebookBar(total) if self._alone and in_notebook() else None

    def record(self, record: Mapping[str, Any]) -> None:
        if SPEED not in record:  # scores
            scores = {k.removeprefix(SELECTION): v for k, v in record.items() if k.startswith(SELECTION)}
            if scores and self._alone:
                self.say(f"  {record['images']:,} images: {_words(scores)}")
            return
        kept = {name: value for name, value in record.items() if name in self.losses}
        losses = "  ".join(f"{name.split('/')[0][0].upper()} {short_number(value)}" for name, value in kept.items())
        images, speed = record["images"], record[SPEED]
        if self._progress:
            self._progress.update(self._task, completed=images, speed=speed, losses=losses)
        elif self._bar:
            self._bar.update(images, f"{speed:,.0f}/s  {losses}")
        elif time.monotonic() - self._printed > self._pause or (images >= self.total and self._alone):
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
        """Print it. A closed pipe and a full disk are ignored."""
        with contextlib.suppress(OSError):
            self.terminal.print(line, markup=False, style=style)

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._progress:
            self._progress.stop()


def _words(scores: Mapping[str, Any]) -> str:
    """The headline scores in a line: `fd 1.2  coverage 0.8`."""
    from gan_lab.metrics.base import is_headline, short_names

    kept = {name: value for name, value in scores.items() if is_headline(name)}
    return "  ".join(f"{short} {short_number(kept[name])}" for name, short in short_names(kept).items())


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
        lines.append(f"best      {where}, by {best['metric']} {short_number(best['value'])} while training")
    for back in summary.get("rollbacks") or ():
        rates = f"learning rates x {back['learning_rate']:g}"
        lines.append(f"went back at {back['from']:,} images, to {back['to']:,}, {rates}")
    for warning in summary.get("health") or ():
        since = "" if warning["images"] == warning["last"] else f"{warning['images']:,} to "
        lines.append(f"health    {warning['title']}, {since}{warning['last']:,} images")
    if picture:
        caption = f"  ({summary['caption']})" if summary.get("caption") else ""
        lines.append(f"pictures  {picture}{caption}")
    if link := summary.get("wandb"):
        lines.append(f"W&B       {link}" if link.startswith("http") else f"W&B       wandb sync {link}")
    if summary["status"] == "interrupted":
        lines.append(f"go on     repeat the command with run_dir={path}")
    elif summary["status"] == "finished":
        out = "" if picture and picture.suffix == ".txt" else " --out samples.png"  # lines are printed
        lines.append(f"next      gan-lab sample {path} --num 64{out}")
    return lines
