"""Where a run's records go: its directory, the console, and W&B. A disk that refuses does not stop the training."""

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
    """The trackers of a run, told everything at once. Whatever the disk refuses is tried again later."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.trackers: list[Tracker] = [directory]  # it stays the first
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
        """Note the warnings so far."""
        if health:
            self.summary(health=[asdict(warned) for warned in health.warned.values()])

    def warn(self, warned: HealthWarning) -> None:
        for tracker in self.trackers:
            tracker.warn(asdict(warned))

    def show(self, sheet: Sheet, images: int) -> None:
        """Save what people look at, once for as many images."""
        path = self.directory.samples / f"{images}{sheet.suffix}"
        if path == self.sheet:  # the last period ended with the run
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
