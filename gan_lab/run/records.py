"""Sends a run's records to its directory, the console and W&B. A failure of the disk does not stop training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gan_lab.display.pictures import Sheet, save_sheet
from gan_lab.run.failures import RetryLater
from gan_lab.run.health import Health, HealthWarning
from gan_lab.tracking import Tracker
from gan_lab.tracking.console import Console
from gan_lab.tracking.run_directory import RunDirectory
from gan_lab.tracking.wandb import WandbTracker


class Records:
    """The trackers of a run. All of them receive each record; a file that cannot be written is tried again later."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.trackers: list[Tracker] = [directory]  # the directory is always the first
        self.console: Console | None = None  # None until the run has begun
        self.wandb: WandbTracker | None = None
        self.retry_later = RetryLater(self.say)
        self.sheet: Path | None = None  # the newest one

    def say(self, line: str) -> None:
        if self.console:
            self.console.say(line)

    def add(self, record: dict[str, Any]) -> None:
        with self.retry_later("metrics.jsonl", "its records are kept"):
            self.directory.record(record)
        for tracker in self.trackers[1:]:
            tracker.record(record)

    def summary(self, **values: Any) -> None:
        with self.retry_later("summary.json"):
            self.directory.update_summary(**values)

    def health(self, health: Health | None) -> None:
        """Write the warnings so far to the summary."""
        if health:
            self.summary(health=[asdict(warned) for warned in health.warned.values()])

    def warn(self, warned: HealthWarning) -> None:
        for tracker in self.trackers:
            tracker.warn(asdict(warned))

    def show(self, sheet: Sheet, images: int) -> None:
        """Save a sheet of examples, once for each number of images."""
        path = self.directory.samples / f"{images}{sheet.suffix}"
        if path == self.sheet:  # a period ended at the end of the run
            return
        save_sheet(sheet, path)
        self.sheet = path
        if sheet.caption and self.directory.summary.get("caption") != sheet.caption:
            self.summary(caption=sheet.caption)
        for tracker in self.trackers:
            tracker.picture(path, images)

    def finish(self) -> None:
        for tracker in self.trackers:
            tracker.finish(self.directory.summary)
