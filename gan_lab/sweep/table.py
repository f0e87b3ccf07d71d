"""The table that a sweep ends with, read from the jobs' folders: launchers in other processes tell nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from gan_lab.config import unhashed
from gan_lab.tracking.console import terminal
from gan_lab.tracking.run_directory import RunDirectory


@dataclass
class Job:
    """A job's folder: its overrides by key, and its summary."""

    path: Path
    overrides: dict[str, str]
    directory: RunDirectory

    @property
    def status(self) -> str:
        status = self.directory.summary.get("status", "killed")
        return "killed" if status == "running" and not self.directory.locked() else str(status)

    @property
    def error(self) -> str:
        return self.directory.summary.get("error") or "it left no reason; see its folder"


def jobs_since(sweep_dir: Path, start: float) -> list[Job]:
    """The jobs that Hydra has started, or skipped as finished, since a time: it writes each one's overrides anew."""
    found = []
    for path in sorted(sweep_dir.glob("*/.hydra/overrides.yaml"), key=lambda path: path.stat().st_mtime_ns):
        if path.stat().st_mtime >= start:
            overrides = dict(override.split("=", 1) for override in yaml.safe_load(path.read_text()) if "=" in override)
            folder = path.parent.parent
            found.append(Job(folder, {k: v for k, v in overrides.items() if not unhashed(k)}, RunDirectory(folder)))
    return found


def report(jobs: Sequence[Job], seconds: float) -> int:
    """Print the table and every failed job. Returns how many did not finish."""
    output = terminal()
    failed = [job for job in jobs if job.status != "finished"]
    output.print(_table(jobs), soft_wrap=False)
    output.print(f"{len(jobs) - len(failed)} of {len(jobs)} jobs finished, {seconds:,.0f} s in all", markup=False)
    if jobs:
        output.print(f"in {jobs[0].path.parent}; offline runs: wandb sync {jobs[0].path.parent}/*/wandb/offline-run-*")
    for job in failed:
        output.print(f"{job.status}  {job.path}", markup=False, style="bold red")
        output.print(f"  {' '.join(f'{key}={value}' for key, value in job.overrides.items())}", markup=False)
        output.print(f"  {job.error}", markup=False)
    return len(failed)


def _table(jobs: Sequence[Job]) -> Table:
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    differing = [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]
    metrics = list(dict.fromkeys(name for job in jobs for name in job.directory.summary.get("metrics", {})))
    losses = [] if metrics else ["D loss", "G loss"]
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for key in differing:
        table.add_column(key.removeprefix("trainer."), overflow="fold")
    table.add_column("status", no_wrap=True)
    for name in ("seconds", *metrics, *losses):
        table.add_column(name, justify="right")
    table.add_column("run", overflow="fold")
    for job in jobs:
        summary = job.directory.summary
        scores = [_number(summary.get("metrics", {}).get(name, {}).get("value")) for name in metrics]
        if losses:
            last = job.directory.read_metrics()[-1:] or [{}]
            scores = [_number(last[0].get(f"{player}/adversarial")) for player in ("discriminator", "generator")]
        style = None if job.status == "finished" else "red"
        link = summary.get("wandb") or ""
        table.add_row(
            *(job.overrides.get(key, "") for key in differing),
            job.status,
            _number(summary.get("seconds"), 1),
            *scores,
            link if link.startswith("http") else job.path.name,
            style=style,
        )
    return table


def _number(value: Any, digits: int | None = None) -> str:
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:.{digits}f}" if digits is not None else f"{value:.4g}"
