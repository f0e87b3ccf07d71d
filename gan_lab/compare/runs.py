"""Runs as they lie on the disk: what each was told, what became of it, and its numbers with their provenance."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from gan_lab.config.identity import ADDED, UNHASHED_TRAINER, flat
from gan_lab.tracking.run_directory import SELECTION, RunDirectory

SEED = "trainer.seed"
MARKS = ("summary.json", "metrics.jsonl", ".hydra")  # a folder with one of these is a run, or a sweep's job
FASTEST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Settings that do not change what is trained: where a run lies, how it is watched and scored, on what it runs.
# Scores of runs that were scored otherwise are told apart by their provenance.
APART = {"run_dir", "sweep_dir", "sweep_name", "resume", "experiment", "search", SEED}
APART |= {f"trainer.{name}" for name in (*UNHASHED_TRAINER, "threads", "checkpoint_every", "keep_checkpoints")}
APART -= {"trainer.images"}  # how long it was meant to train is a setting
SECTIONS_APART = ("tracking.", "evaluation.", "feature_extractor.", "hydra.")
TRAINED_ON = "evaluation.validation"  # but this does: what is held out is not trained on
LATER = flat(ADDED)


@dataclass(frozen=True)
class Reading:
    """A score of a run: its value, what must be equal for it to be comparable, and after how much training."""

    value: float | None
    provenance: Mapping[str, Any]
    images: int
    seconds: float


class Run:
    """A run directory, read only; what is missing or half written is empty.

    `scores`, as `gan-lab evaluate` writes them, stand in for those of its own end.
    """

    def __init__(self, path: Path, scores: Mapping[str, Any] | None = None) -> None:
        self.path, self._directory = path, RunDirectory(path)
        self.summary = self._directory.summary
        self.scored_again = scores is not None
        if scores is not None:
            self.summary = self.summary | {"metrics": scores}
        self.status = self._directory.status()
        self.error: str | None = self.summary.get("error")

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its settings by dotted keys; of a job that could not be built, what Hydra composed for it."""
        for file in (self.path / "config.yaml", self.path / ".hydra" / "config.yaml"):
            try:
                content = yaml.load(file.read_text(), Loader=FASTEST)
            except (OSError, yaml.YAMLError, UnicodeDecodeError):
                continue
            if isinstance(content, dict):
                return flat(content)
        return {}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Those that decide what is trained, but for the seed."""
        told = {k: v for k, v in self.config.items() if k not in APART and not k.startswith(SECTIONS_APART)}
        if TRAINED_ON in self.config:
            told[TRAINED_ON] = self.config[TRAINED_ON]
        return {k: v for k, v in told.items() if k not in LATER or v != LATER[k]}

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """metrics.jsonl, less lines that are half written."""
        return self._directory.read_metrics()

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
        """What the health monitor warned of."""
        warnings = self.summary.get("health")
        return [dict(w) for w in warnings if isinstance(w, Mapping)] if isinstance(warnings, list) else []

    @cached_property
    def finals(self) -> dict[str, Reading]:
        """The scores of its end, with fresh noise, by name."""
        return {
            name: Reading(
                number(entry.get("value")), entry, int(number(entry.get("images")) or self.images), self.seconds
            )
            for name, entry in self._entries("metrics").items()
        }

    def _entries(self, name: str) -> dict[str, Mapping[str, Any]]:
        """Scores of the summary, less what somebody has mangled."""
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
        """The scores seen while it trained, by name, in the order of images."""
        told = self._entries("selection")
        curves: dict[str, list[Reading]] = {}
        for record in self.records:
            for key, value in record.items():
                if key.startswith(SELECTION):
                    name = key.removeprefix(SELECTION)
                    seconds = number(record.get("seconds")) or 0.0
                    reading = Reading(number(value), told.get(name, {}), int(record["images"]), seconds)
                    curves.setdefault(name, []).append(reading)
        return curves


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def find(paths: Sequence[Path]) -> list[Run]:
    """Every run in these folders, each once, and those that files of `gan-lab evaluate RUN --json` tell of.

    Raises ValueError for a path that does not exist or holds none.
    """
    found: dict[Path, Run] = {}
    for path in sorted(paths, key=lambda path: not path.is_file()):  # files first: their scores are asked for
        if not path.exists():
            raise ValueError(f"{path}: there is neither a run nor a folder of runs")
        if path.is_file():
            scored = _evaluated(path)
            if scored.path.resolve() in found:
                raise ValueError(f"{path}: another of these files tells of {scored.path}, too; give one of them")
            found[scored.path.resolve()] = scored
            continue
        runs = list(_runs_under(path))
        if not runs:
            raise ValueError(f"{path}: there is no run in it; a run is a folder that gan-lab train has made")
        for run in runs:
            found.setdefault(run.resolve(), Run(run))
    return list(found.values())


def _evaluated(file: Path) -> Run:
    try:
        content = json.loads(file.read_text())
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


def differing(runs: Iterable[Run]) -> dict[str, list[Any]]:
    """The settings in which runs differ, with their values in the order in which they come."""
    known = [run.settings for run in runs if run.settings]
    keys = dict.fromkeys(key for settings in known for key in settings)
    values = {key: list(dict.fromkeys(settings.get(key) for settings in known)) for key in keys}
    return {key: found for key, found in values.items() if len(found) > 1}
