"""`gan-lab watch`: a live table of a sweep's jobs."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gan_lab.commands.show import STYLES
from gan_lab.config.reading import read_config
from gan_lab.core.files import BadFile
from gan_lab.display.terminal import duration, short_number, shortened, wide_terminal
from gan_lab.metrics.base import is_headline, short_names
from gan_lab.sweeping.table import DONE, Outcome, jobs_in, labels_of, planned_jobs
from gan_lab.tracking.run_directory import SELECTION, SPEED, RunDirectory

PAUSE = 1.0  # seconds between two looks at the jobs
PATIENCE = 20.0  # seconds without a running job, after which a sweep has ended
ORDER = (
    "running",
    "failed",
    "diverged",
    "refused",
    "killed",
    "damaged",
    "interrupted",
    "finished",
    "pruned",
    "not started",
)
BAR = 10  # characters


@dataclass(frozen=True)
class Progress:
    """A job with what its last records say."""

    outcome: Outcome
    images: int = 0
    total: int = 0
    speed: float = 0.0
    scores: Mapping[str, Any] | None = None  # as seen while training

    @property
    def share(self) -> float:
        return min(self.images / self.total, 1.0) if self.total else 0.0


def watch(sweep: Path, pause: float = PAUSE, patience: float = PATIENCE) -> None:
    """Show the jobs of a sweep until none has run for `patience` seconds. Without a terminal, print one table.

    Raises ValueError where the folder holds no jobs.
    """
    if not sweep.is_dir() or not jobs_in(sweep):
        raise ValueError(f"{sweep} is no sweep: it holds no jobs of gan-lab train -m")
    output = wide_terminal()
    read = Reader(sweep)
    if not output.is_terminal:
        output.print(table(read(), sweep, 10_000, 10_000), soft_wrap=False)
        return
    seen = time.monotonic()
    with Live(console=output, auto_refresh=False) as live:
        while True:
            jobs = read()
            live.update(table(jobs, sweep, output.width, output.height), refresh=True)
            if any(job.outcome.status == "running" for job in jobs):
                seen = time.monotonic()
            if time.monotonic() - seen > (patience if _unfinished(jobs) else 0):
                return
            time.sleep(pause)


def _unfinished(jobs: Sequence[Progress]) -> bool:
    return any(job.outcome.status not in DONE for job in jobs)


class Reader:
    """Reads a sweep's jobs; a job whose files have not changed is not read again."""

    def __init__(self, sweep: Path) -> None:
        self.sweep = sweep
        self.known: dict[Path, tuple[Any, Progress]] = {}

    def __call__(self) -> list[Progress]:
        jobs = {job.path: job for job in (*jobs_in(self.sweep), *planned_jobs(self.sweep))}
        return [self._read(job) for job in jobs.values()]

    def _read(self, job: Any) -> Progress:
        directory = RunDirectory(job.path)
        locked = directory.locked()
        state = locked, *(_changed(file) for file in (directory.metrics_file, directory.summary_file))
        if job.path not in self.known or self.known[job.path][0] != state:
            self.known[job.path] = state, _progress(job.read(begun=False), directory)
        return self.known[job.path][1]


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _progress(outcome: Outcome, directory: RunDirectory) -> Progress:
    try:
        records = directory.read_metrics()
        total = int(read_config(directory.path / "config.yaml").trainer.images)
    except (OSError, BadFile):
        return Progress(outcome)
    images = max([int(directory.summary.get("images") or 0), *(int(record["images"]) for record in records[-1:])])
    speeds = [record[SPEED] for record in records if record.get(SPEED)]
    scores: dict[str, Any] = {}
    for record in records:
        scores |= {name.removeprefix(SELECTION): value for name, value in record.items() if name.startswith(SELECTION)}
    return Progress(outcome, images, total, speeds[-1] if speeds else 0.0, scores)


# -- the table ---------------------------------------------------------------------------------------------------------


def table(jobs: Sequence[Progress], sweep: Path, width: int, height: int) -> Group:
    """The jobs, running ones first, as many as fit, with as many scores as fit; a line that counts them."""
    order = {status: place for place, status in enumerate(ORDER)}
    jobs = sorted(jobs, key=lambda job: order.get(job.outcome.status, len(ORDER)))
    rows = jobs[: max(height - 6, 1)]
    counts = Counter(job.outcome.status for job in jobs)
    counted = "  ".join(f"{count} {status}" for status, count in counts.items())
    done = sum(job.outcome.status in DONE for job in jobs)
    lines: list[Any] = [Text(f"{sweep}: {done} of {len(jobs)} jobs done", style="bold")]
    names = [*dict.fromkeys(name for job in jobs for name in _scores(job) if is_headline(name))]
    while True:
        made = _table(rows, labels_of([job.outcome for job in jobs]), names)
        if not names or _width(made) <= width:
            break
        names.pop()
    lines += [made, Text(f"and {len(jobs) - len(rows)} more", style="dim")] if len(rows) < len(jobs) else [made]
    return Group(*lines, Text(counted + _left(jobs)))


def _scores(job: Progress) -> Mapping[str, Any]:
    """The final scores of a finished job, of another one those seen while training."""
    return job.outcome.scores if job.outcome.status == "finished" else job.scores or {}


def _left(jobs: Sequence[Progress]) -> str:
    """How long the running jobs take, and then those that have not begun, if they are as long and as many at a time."""
    running = [job for job in jobs if job.outcome.status == "running" and job.speed]
    if not running:
        return ""
    waiting = sum(job.outcome.status == "not started" for job in jobs)
    whole = max(job.total / job.speed for job in running)
    left = max((job.total - job.images) / job.speed for job in running) + whole * math.ceil(waiting / len(running))
    return f"  about {duration(left)} left"


def _width(made: Table) -> int:
    from rich.console import Console
    from rich.measure import Measurement

    wide = Console(width=10_000)
    return Measurement.get(wide, wide.options, made).maximum


def _table(jobs: Sequence[Progress], labels: Mapping[str, str], names: Sequence[str]) -> Table:
    made = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for label in labels.values():
        made.add_column(Text(label), overflow="fold", max_width=30)
    for head in ("status", "", "images", "/s", "left"):
        made.add_column(head, no_wrap=True, justify="left" if head in ("status", "") else "right")
    for word in short_names(dict.fromkeys(names)).values():
        made.add_column(Text(word), justify="right", no_wrap=True)
    for job in jobs:
        status = job.outcome.status
        going = status == "running" and job.speed
        full = round(job.share * BAR)
        made.add_row(
            *(Text(shortened(job.outcome.job.overrides.get(key, ""))) for key in labels),
            Text(status, style=STYLES.get(status, "red")),
            Text.assemble(("━" * full, STYLES.get(status, "red")), ("━" * (BAR - full), "bright_black")),
            f"{job.images:,}" if job.total else "-",
            f"{job.speed:,.0f}" if job.speed else "-",
            duration((job.total - job.images) / job.speed) if going else "",
            *(short_number(_scores(job).get(name)) for name in names),
        )
    return made
