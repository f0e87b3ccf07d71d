"""The table at the end of a sweep, read from the jobs' folders, because jobs may run in other processes."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gan_lab.config.identity import job_name
from gan_lab.core.files import BadFile, read_json, write_atomically
from gan_lab.display.terminal import shortened, wide_terminal
from gan_lab.metrics.base import is_headline, short_names
from gan_lab.sweeping import plan
from gan_lab.sweeping.job import REFUSED
from gan_lab.tracking.run_directory import RunDirectory

SEED = "trainer.seed"
DONE = ("finished", "pruned")
REASONS = 10  # failed jobs whose reasons are printed below the table


@dataclass
class Job:
    """A job's folder and its overrides by key. `read` gets its result from the folder."""

    path: Path
    overrides: dict[str, str]

    @classmethod
    def planned(cls, sweep_dir: Path, overrides: Sequence[str]) -> Job:
        return cls(sweep_dir / job_name(overrides), plan.values(overrides))

    def seen_since(self, start: float) -> bool:
        """Whether Hydra has started the job since a time, also where it was then skipped as finished."""
        overrides = self.path / ".hydra" / "overrides.yaml"
        return overrides.exists() and overrides.stat().st_mtime >= start

    def read(self, begun: bool) -> Outcome:
        """The job's result. `begun`: whether this sweep has started it and was not interrupted."""
        directory = RunDirectory(self.path)
        summary, status = directory.summary, directory.status()
        error = summary.get("error")
        if status == "killed" or (status == "not started" and begun):
            since = "from its last checkpoint" if summary else "with it: it had not begun"
            status, error = "killed", f"its process was killed; the same command goes on {since}"
        refused = self.path / REFUSED
        if refused.exists():
            status, error = "failed" if status == "failed" else "refused", refused.read_text()
        scores = {name: entry.get("value") for name, entry in summary.get("metrics", {}).items() if is_headline(name)}
        if not scores and status == "finished":
            scores = _last_losses(directory)
        return Outcome(self, status, error, summary.get("seconds"), scores, summary.get("wandb") or "")


def _last_losses(directory: RunDirectory) -> dict[str, Any]:
    """The players' last losses by the letters of their names; none where the records cannot be read."""
    try:
        last = (directory.read_metrics()[-1:] or [{}])[0]
    except BadFile:
        return {}
    return {f"{key[0].upper()} loss": last[key] for key in sorted(last) if key.endswith("/adversarial")}


@dataclass
class Outcome:
    """The result of a job: its status, time and scores."""

    job: Job
    status: str
    error: str | None
    seconds: float | None
    scores: dict[str, float | None]
    wandb: str


PLANNED = "jobs.json"  # in a sweep's folder: the overrides of each of its jobs, for who watches it


def note_planned(folder: Path, jobs: Sequence[Sequence[str]]) -> None:
    """Write which jobs a sweep will have. A disk that refuses it refuses the jobs' files, too, which they report."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PLANNED, json.dumps([list(job) for job in jobs]) + "\n")


def planned_jobs(folder: Path) -> list[Job]:
    """The jobs of the newest sweep in the folder, also those that have not begun; empty where that is not known."""
    try:
        jobs = read_json(folder / PLANNED)
    except (OSError, BadFile):
        return []
    known = isinstance(jobs, list) and all(
        isinstance(job, list) and all(isinstance(w, str) for w in job) for job in jobs
    )
    return [Job.planned(folder, overrides) for overrides in jobs] if known else []


def jobs_since(sweep_dir: Path, start: float) -> list[Job]:
    """The jobs that Hydra has started since a time, in that order, by the time of their overrides.yaml."""
    files = sorted(sweep_dir.glob("*/.hydra/overrides.yaml"), key=lambda path: path.stat().st_mtime_ns)
    jobs = [Job(path.parent.parent, plan.values(yaml.safe_load(path.read_text()))) for path in files]
    return [job for job in jobs if job.seen_since(start)]


def jobs_in(sweep_dir: Path) -> list[Job]:
    """All jobs that were ever started in the folder, in the order of their first start."""
    files = sorted(sweep_dir.glob("*/.hydra/overrides.yaml"), key=lambda path: path.parent.parent.stat().st_ctime_ns)
    return [Job(path.parent.parent, plan.values(yaml.safe_load(path.read_text()))) for path in files]


def report(jobs: Sequence[Job], start: float, *, interrupted: bool, findings: Sequence[str] = ()) -> int:
    """Print the table, a table over seeds, the results of a search, and why jobs failed.

    Returns how many did not finish.
    """
    output = wide_terminal()
    outcomes = [job.read(begun=job.seen_since(start) and not interrupted) for job in jobs]
    seconds = time.time() - start
    labels = labels_of(outcomes)
    not_done = unfinished(outcomes)
    print_jobs(output, outcomes)
    pruned = sum(outcome.status == "pruned" for outcome in outcomes)
    done = f"{len(jobs) - len(not_done) - pruned} of {len(jobs)} jobs finished"
    done += f", {pruned} pruned" if pruned else ""
    output.print(f"{done}, {seconds:,.0f} s in all", markup=False)
    folder = jobs[0].path.parent
    offline = f"; offline runs: wandb sync {folder}/*/wandb/offline-run-*" if _any_offline(outcomes) else ""
    output.print(f"in {folder}{offline}", markup=False)
    for link in dict.fromkeys(o.wandb.partition("/runs/")[0] for o in outcomes if o.wandb.startswith("http")):
        output.print(f"in {link}", markup=False)
    if SEED in labels and len(not_done) < len(outcomes):
        output.print("\nover the seeds that finished: median (lowest to highest)", markup=False)
        _print(output, outcomes, {key: label for key, label in labels.items() if key != SEED}, _seed_rows)
    for line in findings:
        output.print(line, markup=False)
    print_reasons(output, [outcome for outcome in not_done if not (interrupted and outcome.status == "interrupted")])
    if len(not_done) < len(outcomes) > 1:
        output.print(f"\nnext      gan-lab compare {folder} --html page.html", markup=False)
    return len(not_done)


def labels_of(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The settings in which jobs differ, each with the head of its column."""
    return plan.differing_keys([outcome.job.overrides for outcome in outcomes])


def print_jobs(output: Console, outcomes: Sequence[Outcome]) -> None:
    """Print a table with a row for each job."""
    _print(output, outcomes, labels_of(outcomes), _rows)


def _any_offline(outcomes: Iterable[Outcome]) -> bool:
    return any(outcome.wandb and not outcome.wandb.startswith("http") for outcome in outcomes)


def unfinished(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.status not in DONE]


def print_reasons(output: Console, unfinished: Sequence[Outcome]) -> None:
    """Print why these jobs did not finish."""
    begun = [outcome for outcome in unfinished if outcome.status != "not started"]
    for outcome in begun[:REASONS]:
        output.print(f"{outcome.status}  {outcome.job.path}", markup=False, style="bold red")
        output.print(f"  {' '.join(f'{key}={value}' for key, value in outcome.job.overrides.items())}", markup=False)
        output.print(f"  {outcome.error or 'it left no reason; see its folder'}", markup=False)
    if len(begun) > REASONS:
        output.print(f"and {len(begun) - REASONS} more; each one's reason is in its summary.json", markup=False)
    if len(begun) < len(unfinished):
        output.print(f"not started: {len(unfinished) - len(begun)}", markup=False, style="bold red")


# -- tables ------------------------------------------------------------------------------------------------------------

NARROW = 12  # characters of a line in a head, where the terminal is narrow


def _print(output: Console, outcomes: Sequence[Outcome], labels: Mapping[str, str], rows: Any) -> None:
    """Print the table so that it fits: first long heads take several lines, then the folders are left out.

    The folders of failed jobs are printed below the table.
    """
    scores = list(dict.fromkeys(name for outcome in outcomes for name in outcome.scores))
    for narrow, folders in ((False, True), (True, True), (True, False)):
        table = rows(outcomes, labels, scores, narrow=narrow, folders=folders)
        width = Measurement.get(output, output.options.update(max_width=10_000), table).maximum
        if width <= output.width:
            break
    output.width = max(output.width, width)  # the terminal then wraps the lines; rich would cut them
    output.print(table, soft_wrap=False)


def _table(
    outcomes: Sequence[Outcome], labels: Mapping[str, str], names: Iterable[str], scores: Iterable[str], narrow: bool
) -> Table:
    """An empty table with columns for the differing settings, for other names, and for scores."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for key, label in labels.items():
        values = (shortened(outcome.job.overrides.get(key, "")) for outcome in outcomes)
        longest = max(len(label), *map(len, values))
        table.add_column(Text(label), overflow="fold", min_width=min(longest, NARROW), max_width=40)
    for name in names:
        table.add_column(name, no_wrap=True, justify="left" if name == "status" else "right")
    for name in short_names(dict.fromkeys(scores)).values():
        table.add_column(Text(_broken(name) if narrow else name), justify="right", no_wrap=True)
    return table


def _broken(name: str) -> str:
    """A score's name in short lines, broken after the characters / _ and -."""
    lines = [""]
    for word in re.findall(r"[^/_-]+[/_-]?", name):
        if lines[-1] and len(lines[-1] + word) > NARROW:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _rows(
    outcomes: Sequence[Outcome], labels: Mapping[str, str], scores: Sequence[str], narrow: bool, folders: bool
) -> Table:
    table = _table(outcomes, labels, ("status", "seconds"), scores, narrow)
    if folders:
        table.add_column("run", no_wrap=True)
    for outcome in outcomes:
        link = outcome.wandb if outcome.wandb.startswith("http") else None
        table.add_row(
            *(Text(shortened(outcome.job.overrides.get(key, ""))) for key in labels),
            outcome.status,
            _number(outcome.seconds, 1),
            *(_number(outcome.scores.get(score)) for score in scores),
            *([Text(outcome.job.path.name, style=f"link {link}" if link else "")] if folders else ()),
            style={"finished": None, "pruned": "dim"}.get(outcome.status, "red"),
        )
    return table


def _seed_rows(
    outcomes: Sequence[Outcome], labels: Mapping[str, str], scores: Sequence[str], narrow: bool, folders: bool
) -> Table:
    """A table with one row for all jobs that differ only in their seeds."""
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(tuple(outcome.job.overrides.get(key, "") for key in labels), []).append(outcome)
    table = _table(outcomes, labels, ("finished",), scores, narrow)
    for key, group in groups.items():
        finished = [outcome for outcome in group if outcome.status == "finished"]
        row = [_spread([outcome.scores.get(score) for outcome in finished], narrow) for score in scores]
        table.add_row(*map(Text, key), f"{len(finished)} of {len(group)}", *row)
    return table


def _spread(values: Iterable[float | None], narrow: bool) -> str:
    known = [value for value in values if isinstance(value, (int, float))]
    if not known:
        return "-"
    middle, low, high = _number(statistics.median(known)), _number(min(known)), _number(max(known))
    return middle if low == high else f"{middle}{chr(10) if narrow else ' '}({low} to {high})"


def _number(value: Any, digits: int | None = None) -> str:
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:.{digits}f}" if digits is not None else f"{value:.4g}"
