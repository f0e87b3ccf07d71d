"""A comparison as one HTML page that needs no network: tables, curves, parallel coordinates, samples, warnings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.comparing.comparison import Comparison
from gan_lab.comparing.runs import Run, number
from gan_lab.comparing.settings import Key, Setting, key_of, short, shorter
from gan_lab.comparing.sheets import samples
from gan_lab.comparing.statistics import interquartile_weights
from gan_lab.comparing.table import headline, health, verdict
from gan_lab.config.identity import short_keys
from gan_lab.display.style import STYLE
from gan_lab.display.terminal import shortened
from gan_lab.tracking.run_directory import SELECTION

WEB = Path(__file__).parent / "web"
POINTS = 48  # of a curve; more would not be visible
NUMBERS = 90_000  # in all curves together, to keep the page of a large sweep small

# Prefixes of the curves' names, in the order of the page. All other curves follow.
FIRST = ("selection/", "generator/adversarial", "discriminator/adversarial", "discriminator/real_accuracy",
         "discriminator/fake_accuracy", "discriminator/real_logits", "discriminator/fake_logits", "health/",
         "generator/gradient_norm", "discriminator/gradient_norm", "performance/")  # fmt: skip
NOT_CURVES = ("images", "step", "seconds")


def render(comparison: Comparison) -> str:
    """The page's HTML."""
    from plotly.offline import get_plotlyjs

    content = json.dumps(payload(comparison), separators=(",", ":"), default=str).replace("<", "\\u003c")
    parts = {
        "style": STYLE.read_text() + (WEB / "page.css").read_text(),
        "plotly": get_plotlyjs(),
        "data": content,
        "script": (WEB / "page.js").read_text(),
    }
    page = (WEB / "page.html").read_text()
    for name, text in parts.items():
        before, after = page.split(f"<!-- {name} -->")
        page = before + text + after
    return page


def payload(comparison: Comparison) -> dict[str, Any]:
    """The content of the page, as plain types."""
    others = comparison.others
    keys = list(dict.fromkeys(key for setting in comparison.settings for key in setting.labels))
    folder = _common_folder(comparison.runs)
    metric = short(comparison.metric) if comparison.metric else None
    drawn, missing = curves(comparison.settings, metric)
    no_room = [f"no room for {missing} further curves: compare fewer runs with --where"] if missing else []
    return {
        "folder": str(folder or ""),
        "headline": headline(comparison),
        "notes": [*verdict(comparison), *comparison.notes, *no_room],
        "metric": metric,
        "lower": comparison.lower,
        "keys": [shorter(key) for key in keys],
        "others": [short(key) for key in others],
        "settings": [
            {
                "name": setting.name,
                "labels": [_word(setting.labels.get(key)) for key in keys],
                "runs": len(setting.runs),
                "counted": len(setting.readings),
                "mean": _digits(setting.mean),
                "interval": [_digits(edge) for edge in setting.interval] if setting.interval else None,
                "others": [_digits(comparison.over_runs(setting, key)) for key in others],
                "verdict": setting.verdict,
            }
            for setting in comparison.settings
        ],
        "runs": [
            _run(comparison, place, run, others, folder)
            for place, setting in enumerate(comparison.settings)
            for run in sorted(setting.runs, key=lambda run: str(run.seed).zfill(12))
        ],
        "curves": drawn,
        "searches": [_search(content) for content in comparison.searches],
        "samples": samples(comparison),
        "differing": [
            {"key": key, "values": [_word(value) for value in values]} for key, values in comparison.differing.items()
        ],
        "health": health(comparison.runs),
        "provenance": _provenance(comparison),
    }


def _common_folder(runs: Sequence[Run]) -> Path | None:
    """The folder that contains all runs, or None where they are in several folders."""
    parents = {run.path.parent for run in runs}
    return parents.pop() if len(parents) == 1 else None


def _run(comparison: Comparison, place: int, run: Run, others: Sequence[Key], folder: Path | None) -> dict[str, Any]:
    reading = comparison.settings[place].readings.get(run)
    finals = [comparison.final(run, key) for key in others]
    return {
        "setting": place,
        "path": str(run.path.relative_to(folder) if folder else run.path),
        "seed": run.seed,
        "status": run.status,
        "error": run.error,
        "images": run.images,
        "seconds": round(run.seconds, 1),
        "speed": _digits(number(run.summary.get("images_per_second"))),
        "score": _digits(reading.value if reading else None),
        "others": [_digits(final.value if final else None) for final in finals],
        "health": [str(warning.get("signal")) for warning in run.health],
        "link": str(run.summary["wandb"]) if str(run.summary.get("wandb") or "").startswith("http") else None,
    }


def _provenance(comparison: Comparison) -> dict[str, str]:
    """The provenance that all ranked scores share."""
    if not comparison.readings:
        return {}
    own = ("value", "values", "deviation_over_noise", "versions", "noise_seeds", "images", "better")
    about = {name: value for name, value in comparison.readings[0].provenance.items() if name not in own}
    return {name: _word(value) for name, value in about.items() if value not in (None, {}, "")}


def _search(content: Mapping[str, Any]) -> dict[str, Any]:
    """The results of a search, with short names of settings."""
    keys = short_keys([*content["importances"], *(key for best in content["best"] for key in best["params"])])
    return {
        "told": content["told"],
        "importances": [[keys[key], share] for key, share in content["importances"].items()],
        "best": [
            {
                "trial": best["trial"],
                "values": " ".join(f"{word} {value:.4g}" for word, value in best["values"].items()),
                "settings": " ".join(f"{keys[key]}={shortened(str(value))}" for key, value in best["params"].items()),
            }
            for best in content["best"][:5]
        ],
    }


def _word(value: Any) -> str:
    if value is None:
        return "-"
    return " ".join(map(str, value)) if isinstance(value, tuple) else shortened(str(value))


def _digits(value: float | None, digits: int = 4) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


# -- curves ------------------------------------------------------------------------------------------------------------


def curves(settings: Sequence[Setting], metric: str | None) -> tuple[list[dict[str, Any]], int]:
    """Curves of each recorded value and setting: mean, lowest and highest over runs, against images and seconds.

    The score that ranks comes first. Returns the curves, and the number of recorded values that are left out to keep
    the page small.
    """
    names = sorted(_names(run for setting in settings for run in setting.runs), key=lambda n: _title(n) != metric)
    points = max(6, min(POINTS, NUMBERS // max(1, 5 * len(settings) * min(len(names), 8))))
    kept: list[dict[str, Any]] = []
    total = 0
    for name in names:
        lines = [_curve([run for run in setting.runs if run.records], name, points) for setting in settings]
        total += sum(5 * len(line["images"]) for line in lines if line)
        if kept and total > NUMBERS:
            break
        kept.append({"name": _title(name), "lines": lines})
    return kept, len(names) - len(kept)


def _title(name: str) -> str:
    """The short name of a score; any other name as it is in metrics.jsonl."""
    return short(key_of(name.removeprefix(SELECTION))) if name.startswith(SELECTION) else name


def _names(runs: Iterable[Run]) -> list[str]:
    names = dict.fromkeys(key for run in runs for record in run.records for key in record if key not in NOT_CURVES)
    place = {name: next((i for i, first in enumerate(FIRST) if name.startswith(first)), len(FIRST)) for name in names}
    return sorted((n for n in names if not n.endswith("_warning")), key=lambda name: place[name])


def _curve(runs: Sequence[Run], name: str, points: int) -> dict[str, list[float | None]] | None:
    """The curve of some runs at up to `points` numbers of images that at least one of them has recorded."""
    lines = [line for run in runs if len(line := _recorded(run.records, name))]
    if not lines:
        return None
    grid = np.unique(np.concatenate([line[:, 0] for line in lines]))
    if len(grid) > points:
        grid = grid[np.linspace(0, len(grid) - 1, points).round().astype(int)]
    values = np.stack([_on(grid, line[:, 0], line[:, 2]) for line in lines])
    seconds = np.stack([_on(grid, line[:, 0], line[:, 1]) for line in lines])
    mean = [_mean(column[~np.isnan(column)]) for column in values.T]
    return {
        "images": [int(images) for images in grid],
        "seconds": [_digits(_mean(column[~np.isnan(column)])) for column in seconds.T],
        "mean": [_digits(value) for value in mean],
        "low": [_digits(_extreme(np.nanmin, column)) for column in values.T],
        "high": [_digits(_extreme(np.nanmax, column)) for column in values.T],
    }


def _recorded(records: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Rows [n, 3] of images, seconds and the value."""
    rows = [(r["images"], r.get("seconds") or 0.0, r[name]) for r in records if number(r.get(name)) is not None]
    return np.asarray(rows, dtype=float).reshape(-1, 3)


def _on(grid: np.ndarray, images: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A run's values at these numbers of images, by linear interpolation; NaN outside of its recorded range."""
    return np.interp(grid, images, values, left=np.nan, right=np.nan)


def _mean(values: np.ndarray) -> float | None:
    return float(np.sort(values) @ interquartile_weights(len(values))) if len(values) else None


def _extreme(choose: Any, column: np.ndarray) -> float | None:
    return float(choose(column)) if not np.isnan(column).all() else None
