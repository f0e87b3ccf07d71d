"""Reads runs from the disk: their settings, their status, and their scores with provenance."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gan_lab.config.identity import ADDED, UNHASHED_TRAINER, flat
from gan_lab.config.reading import read_yaml
from gan_lab.core.files import BadFile, read_object
from gan_lab.tracking.run_directory import SELECTION, RunDirectory

SEED = "trainer.seed"
MARKS = ("summary.json", "metrics.jsonl", ".hydra")  # a folder with one of these is a run, or a sweep's job

# Settings that do not change what is trained: the run's folder, tracking, scoring and device.
# Where runs were scored in different ways, the provenance of their scores shows it.
APART = {"run_dir", "sweep_dir", "sweep_name", "resume", "experiment", "search", SEED}
APART |= {f"trainer.{name}" for name in (*UNHASHED_TRAINER, "threads", "checkpoint_every", "keep_checkpoints")}
APART -= {"trainer.images"}  # the planned duration is a setting
SECTIONS_APART = ("tracking.", "evaluation.", "feature_extractor.", "hydra.")
TRAINED_ON = "evaluation.validation"  # the exception in "evaluation.": held-out pictures are not trained on
LATER = flat(ADDED)


@dataclass(frozen=True)
class Reading:
    """A score of a run: its value, its provenance, and the images and seconds of training before it."""

    value: float | None
    provenance: Mapping[str, Any]
    images: int
    seconds: float


class Run:
    """A run directory, read only. Missing or incomplete files count as empty.

    `scores`, as `gan-lab evaluate` writes them, replace the run's own final scores.
    """

    def __init__(self, path: Path, scores: Mapping[str, Any] | None = None) -> None:
        self.path, self._directory = path, RunDirectory(path)
        self.summary = self._directory.summary
        self.scored_again = scores is not None
        if scores is not None:
            self.summary = self.summary | {"metrics": scores}
        self.status = self._directory.status()
        self.error: str | None = self._directory.damage or self.summary.get("error")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's settings by dotted keys. For a job that could not start, those that Hydra composed."""
        for file in (self.path / "config.yaml", self.path / ".hydra" / "config.yaml"):
            try:
                content = read_yaml(file)
            except (OSError, BadFile):
                continue
            if isinstance(content, dict):
                return flat(content)
        return {}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that decide what is trained, without the seed."""
        kept = {k: v for k, v in self.config.items() if k not in APART and not k.startswith(SECTIONS_APART)}
        if TRAINED_ON in self.config:
            kept[TRAINED_ON] = self.config[TRAINED_ON]
        return {k: v for k, v in kept.items() if k not in LATER or v != LATER[k]}

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, without incomplete lines."""
        try:
            return self._directory.read_metrics()
        except BadFile:
            return []

    @property
    def seed(self) -> Any:
        return self.config.get(SEED)

    @property
    def images(self) -> int:
        return int(number(self.summary.get("images")) or 0)

    @property
    def seconds(self) -> float:
        return number(self.summary.get("seconds")) or 0.0

    @property
    def health(self) -> list[dict[str, Any]]:
        """The warnings of the health monitor."""
        warnings = self.summary.get("health")
        return [dict(w) for w in warnings if isinstance(w, Mapping)] if isinstance(warnings, list) else []

    @cached_property
    def finals(self) -> dict[str, Reading]:
        """The final scores, with fresh noise, by name."""
        return {
            name: Reading(
                number(entry.get("value")), entry, int(number(entry.get("images")) or self.images), self.seconds
            )
            for name, entry in self._entries("metrics").items()
        }

    def _entries(self, name: str) -> dict[str, Mapping[str, Any]]:
        """Scores of the summary, without damaged entries."""
        entries = self.summary.get(name)
        entries = entries if isinstance(entries, Mapping) else {}
        return {str(score): entry for score, entry in entries.items() if isinstance(entry, Mapping)}

    @property
    def selected_by(self) -> str | None:
        """The score that chose its best checkpoint."""
        best = self.summary.get("best")
        return str(best["metric"]) if isinstance(best, Mapping) and "metric" in best else None

    @cached_property
    def curves(self) -> dict[str, list[Reading]]:
        """The scores during training, by name, in the order of images."""
        provenance = self._entries("selection")
        curves: dict[str, list[Reading]] = {}
        for record in self.records:
            for key, value in record.items():
                if key.startswith(SELECTION):
                    name = key.removeprefix(SELECTION)
                    seconds = number(record.get("seconds")) or 0.0
                    reading = Reading(number(value), provenance.get(name, {}), int(record["images"]), seconds)
                    curves.setdefault(name, []).append(reading)
        return curves


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def find(paths: Sequence[Path]) -> list[Run]:
    """All runs in these folders, each once, and the runs of files that `gan-lab evaluate RUN --json` wrote.

    Raises ValueError for a path that does not exist or contains no run.
    """
    runs_by_path: dict[Path, Run] = {}
    for path in sorted(paths, key=lambda path: not path.is_file()):  # files first: their scores replace the run's own
        if not path.exists():
            raise ValueError(f"{path}: there is neither a run nor a folder of runs")
        if path.is_file():
            scored = _evaluated(path)
            if scored.path.resolve() in runs_by_path:
                raise ValueError(f"{path}: another of these files tells of {scored.path}, too; give one of them")
            runs_by_path[scored.path.resolve()] = scored
            continue
        runs = list(_runs_under(path))
        if not runs:
            raise ValueError(f"{path}: there is no run in it; a run is a folder that gan-lab train has made")
        for run in runs:
            runs_by_path.setdefault(run.resolve(), Run(run))
    return list(runs_by_path.values())


def _evaluated(file: Path) -> Run:
    try:
        content = read_object(file)
        run, scores = Path(content["what"]), content["metrics"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: this is no file of gan-lab evaluate RUN --json FILE") from error
    if not (run / "summary.json").is_file():
        raise ValueError(f"{file}: it tells of {run}, where there is no run (seen from this folder)")
    return Run(run, scores)


def _runs_under(path: Path) -> Iterator[Path]:
    for folder, inside, files in os.walk(path):
        if any(mark in files or mark in inside for mark in MARKS):
            inside.clear()  # a run's own folders hold no runs
            yield Path(folder)
        else:
            inside[:] = sorted(name for name in inside if not name.startswith("."))


def differing_settings(runs: Iterable[Run]) -> dict[str, list[Any]]:
    """The settings in which runs differ, with their values in the order of the runs."""
    known = [run.settings for run in runs if run.settings]
    keys = dict.fromkeys(key for settings in known for key in settings)
    values = {key: list(dict.fromkeys(settings.get(key) for settings in known)) for key in keys}
    return {key: different for key, different in values.items() if len(different) > 1}
