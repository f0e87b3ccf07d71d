"""A comparison for a person at a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gan_lab.comparing.comparison import Comparison
from gan_lab.comparing.runs import Run
from gan_lab.comparing.settings import ENOUGH, Key, Setting, short, shorter
from gan_lab.display.terminal import shortened

REASONS = 10  # failed runs and warnings that are listed one by one
COLOURS = {"best": "bold green", "worse": "dim", "inconclusive": "yellow"}


def show(comparison: Comparison, output: Console) -> None:
    """Print the ranking, its verdict and notes, and the runs that are not in it with their reasons."""
    output.print(headline(comparison), markup=False, style="bold")
    _print_fitting(output, comparison)
    for line in (*verdict(comparison), *comparison.notes):
        output.print(line, markup=False)
    for run in comparison.unfinished[:REASONS]:
        style = "yellow" if run.status == "running" else "red"
        output.print(f"{run.status}  {run.path}  {run.error or ''}".rstrip(), markup=False, style=style)
    if (more := len(comparison.unfinished) - REASONS) > 0:
        output.print(f"and {more} more that did not finish", markup=False, style="red")
    for line in health(comparison.runs):
        output.print(line, markup=False, style="yellow")


def headline(comparison: Comparison) -> str:
    """One line that says what is compared."""
    runs, settings = len(comparison.runs), len(comparison.settings)
    counts = f"{runs:,} run{'s' if runs > 1 else ''} of {settings:,} setting{'s' if settings > 1 else ''}"
    if comparison.metric is None:
        return f"{counts}, without scores to rank them by"
    way = "lower" if comparison.lower else "higher"
    return f"{counts}, by {short(comparison.metric)} ({way} is better){at_text(comparison)}"


def at_text(comparison: Comparison) -> str:
    """The amount of training and the number of samples, as the end of the headline."""
    readings = comparison.readings
    if not readings:
        return ""
    if comparison.at.what == "seconds":
        when = f" within {comparison.at.amount:,.0f} s"
    else:
        when = f" after {readings[0].images:,} images"
    samples = readings[0].provenance.get("samples")
    seen = ", as seen while training" if comparison.at.what != "end" else ""
    return f"{when}{seen}{f', of {samples:,} samples' if samples else ''}"


def verdict(comparison: Comparison) -> list[str]:
    """A line about the settings whose order is not certain, with the remedy; empty where it is."""
    undecided = comparison.undecided
    if not undecided:
        return []
    places = [str(comparison.settings.index(setting) + 1) for setting in undecided]
    listed = f"{', '.join(places[:-1])} and {places[-1]}"
    fewest = min(len(setting.values) for setting in undecided)
    if fewest < ENOUGH:
        return [f"inconclusive: {listed} cannot be told apart by {fewest} seed{'s' if fewest > 1 else ''}; "
                f"give each {ENOUGH} at least, as in trainer.seed=1,2,3,4,5"]  # fmt: skip
    return [f"inconclusive: the intervals of {listed} overlap; more seeds than {fewest} would narrow them"]


def health(runs: Iterable[Run]) -> list[str]:
    """Warnings of the health monitor, each with the number of runs that had it."""
    runs_by_title: dict[str, list[Run]] = {}
    advice: dict[str, str] = {}
    for run in runs:
        for warning in run.health:
            title = str(warning.get("title"))
            runs_by_title.setdefault(title, []).append(run)
            advice[title] = str(warning.get("advice", ""))
    return [
        f"health: {title} in {len(having)} run{'s' if len(having) > 1 else ''}: {advice[title]}  ({having[0].path})"
        for title, having in sorted(runs_by_title.items(), key=lambda item: -len(item[1]))
    ][:REASONS]


# -- the table ---------------------------------------------------------------------------------------------------------


def _print_fitting(output: Console, comparison: Comparison) -> None:
    """Print the table with as many of the further scores as fit."""
    others = comparison.others
    while True:
        table = _table(comparison, others)
        width = Measurement.get(output, output.options.update(max_width=10_000), table).maximum
        if width <= output.width or not others:
            break
        others = others[:-1]
    output.print(table, soft_wrap=False)


def _table(comparison: Comparison, others: list[Key]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    keys = list(dict.fromkeys(key for setting in comparison.settings for key in setting.labels))
    for label in keys:
        table.add_column(Text(shorter(label)), overflow="fold", max_width=40)
    table.add_column("runs", no_wrap=True)
    if comparison.metric is not None:
        table.add_column(short(comparison.metric), justify="right", no_wrap=True)
        table.add_column("95 % interval", no_wrap=True)
    for key in others:
        table.add_column(short(key), justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for place, setting in enumerate(comparison.settings, 1):
        table.add_row(*_row(comparison, setting, place, keys, others))
    return table


def _row(comparison: Comparison, setting: Setting, place: int, keys: list[str], others: list[Key]) -> list[Any]:
    labels = [Text("-" if setting.labels.get(key) is None else shortened(str(setting.labels[key]))) for key in keys]
    counted = len(setting.readings) if comparison.metric else sum(run.status == "finished" for run in setting.runs)
    score: list[Any] = []
    if comparison.metric is not None:
        interval = f"{figure(setting.interval[0])} to {figure(setting.interval[1])}" if setting.interval else "-"
        score = [figure(setting.mean), interval]
    further = [figure(comparison.over_runs(setting, key)) for key in others]
    seconds = [run.seconds for run in setting.runs if run.status == "finished"]
    mean = f"{sum(seconds) / len(seconds):,.0f}" if seconds else "-"
    style = COLOURS.get(setting.verdict, "red" if "diverged" in setting.verdict else "")
    verdict_cell = Text(setting.verdict, style=style)
    return [str(place), *labels, f"{counted} of {len(setting.runs)}", *score, *further, mean, verdict_cell]


def figure(value: float | None) -> str:
    """A score in four significant digits, a count as it is."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"


# -- JSON --------------------------------------------------------------------------------------------------------------


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison as plain types for a JSON file."""
    others = comparison.others
    readings = comparison.readings
    about = dict(readings[0].provenance) if readings else {}
    for own in ("value", "values", "deviation_over_noise", "images"):
        about.pop(own, None)
    return {
        "metric": short(comparison.metric) if comparison.metric else None,
        "better": "lower" if comparison.lower else "higher",
        "at": {"what": comparison.at.what, "amount": comparison.at.amount},
        "interval": "bootstrap over runs, 95 %, of the interquartile mean",
        "provenance": about,
        "settings": [_setting_json(comparison, setting, others) for setting in comparison.settings],
        "differing": {key: [_plain(value) for value in values] for key, values in comparison.differing.items()},
        "notes": comparison.notes,
    }


def _setting_json(comparison: Comparison, setting: Setting, others: list[Key]) -> dict[str, Any]:
    return {
        "settings": {key: _plain(value) for key, value in setting.labels.items()},
        "verdict": setting.verdict,
        "interquartile_mean": setting.mean,
        "interval": setting.interval,
        "others": {short(key): comparison.over_runs(setting, key) for key in others},
        "runs": [
            {
                "path": str(run.path),
                "seed": run.seed,
                "status": run.status,
                "error": run.error,
                "value": setting.readings[run].value if run in setting.readings else None,
                "images": setting.readings[run].images if run in setting.readings else run.images,
                "seconds": run.seconds,
                "health": run.health,
            }
            for run in setting.runs
        ],
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
