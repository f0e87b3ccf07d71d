"""`gan-lab show`: a run in the terminal, for people on a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gan_lab.commands.evaluate import show as show_scores
from gan_lab.core.files import read_text
from gan_lab.display.blocks import sheet_in_blocks
from gan_lab.display.curves import Series, curves
from gan_lab.display.terminal import duration, short_number, terminal
from gan_lab.metrics.base import is_headline, short_names
from gan_lab.run.saved import exported_file
from gan_lab.tracking.run_directory import SELECTION, SPEED, RunDirectory

STYLES = {"finished": "green", "running": "cyan", "pruned": "dim", "not started": "dim"}
NARROW = 100  # characters; in a wider terminal, pictures stand beside the curves
PICTURE_LINES, CURVE_LINES, TEXT_LINES = 26, 7, 12
FIRST_LOSSES = ("/pixel", "/likelihood", "/classification")  # of stages before a game begins
MOST = 2  # scores with a curve


def show(path: Path) -> None:
    """Print how a run is going or how it went: progress, scores, health, curves, and its newest pictures.

    Raises ValueError where there is no run.
    """
    from gan_lab.config.reading import read_config
    from gan_lab.run.saved import check_run

    check_run(path)
    if exported_file(path):
        raise ValueError(f"{path} is an exported run, without curves and pictures; give a run directory")
    run, config = RunDirectory(path), read_config(path / "config.yaml")
    output = terminal()
    if run.damage:
        raise ValueError(run.damage)
    records = run.read_metrics()
    output.print(_headline(run, records, int(config.trainer.images)))
    for line in _health(run.summary):
        output.print(line)
    if metrics := run.summary.get("metrics"):
        output.print()
        known = {name: entry for name, entry in metrics.items() if "value" in entry and is_headline(name)}
        show_scores(known, (), str(path), output)
    output.print()
    width = output.width if output.is_terminal else min(output.width, NARROW)
    beside = width >= NARROW and output.is_terminal
    drawn = _curves(records, width // 2 - 2 if beside else width)
    pictures = _pictures(run, width - width // 2 if beside else width, output)
    if beside:
        both = Table.grid(padding=(0, 2))
        both.add_row(Group(*drawn), Group(*pictures))
        output.print(both, soft_wrap=False)
    else:
        output.print(Group(*drawn, *([""] if pictures else ()), *pictures), soft_wrap=False)


def _headline(run: RunDirectory, records: Sequence[Mapping[str, Any]], total: int) -> Text:
    """The run, its status and, while it runs, how far it is."""
    status = run.status()
    images = max([int(run.summary.get("images") or 0), *(int(record["images"]) for record in records[-1:])])
    speeds = [record[SPEED] for record in records if record.get(SPEED)]
    line = Text.assemble((str(run.path), "bold"), "  ", (status, STYLES.get(status, "red")), f"  {images:,}")
    line.append(f" of {total:,} images" if images < total else " images")
    if speeds and status == "running":
        line.append(f"  {speeds[-1]:,.0f}/s  {duration(max(total - images, 0) / speeds[-1])} left")
    elif speed := run.summary.get("images_per_second"):
        line.append(f"  {speed:,.0f}/s")
    if seconds := run.summary.get("seconds"):
        line.append(f"  {duration(seconds)} trained")
    if best := run.summary.get("best"):
        line.append(f"  best {short_number(best['value'])} ({best['metric'].split('/')[0]}, {best['images']:,} images)")
    if error := run.summary.get("error"):
        line.append(f"\n{error}", style="red")
    return line


def _health(summary: Mapping[str, Any]) -> Iterable[Text]:
    for warning in summary.get("health") or ():
        since = "" if warning.get("images") == warning["last"] else f"{warning.get('images') or 0:,} to "
        what = f"health  {warning['title']}, {since}{warning['last']:,} images: {warning.get('advice', '')}"
        yield Text(what, style="bold red" if warning.get("level") == "critical" else "yellow")


# -- curves ------------------------------------------------------------------------------------------------------------


def _curves(records: Sequence[Mapping[str, Any]], width: int) -> list[RenderableType]:
    """The players' losses in one picture, and each of the first scores in one of its own."""
    by_name: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, (int, float)):
                by_name.setdefault(name, []).append((record["images"], value))
    losses: dict[str, Series] = {
        name.removesuffix("/adversarial"): points for name, points in by_name.items() if name.endswith("/adversarial")
    }
    if not losses:  # a game without an adversary so far: every loss that there is
        losses = {name: points for name, points in by_name.items() if name.endswith(FIRST_LOSSES)}
    drawn: list[RenderableType] = [Text("losses", style="bold"), curves(losses, width, CURVE_LINES)]
    scores = {name.removeprefix(SELECTION): points for name, points in by_name.items() if name.startswith(SELECTION)}
    scores = {name: points for name, points in scores.items() if is_headline(name)}
    for name, word in list(short_names(scores).items())[:MOST]:
        title = Text(f"\n{word}, seen while training", style="bold")
        drawn += [title, curves({word: scores[name]}, width, CURVE_LINES)]
    return drawn


# -- pictures ----------------------------------------------------------------------------------------------------------


def _pictures(run: RunDirectory, width: int, output: Console) -> list[RenderableType]:
    """The newest sheet, in colour where the terminal has some, or the first lines of a text."""
    sheets = run.sheets()
    if not sheets:
        return []
    images = max(sheets)
    caption = run.summary.get("caption")
    title = Text(f"samples after {images:,} images{f', {caption}' if caption else ''}", style="bold")
    if sheets[images].suffix == ".txt":
        lines = read_text(sheets[images], errors="replace").splitlines()
        return [title, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines[:TEXT_LINES])]
    drawn = sheet_in_blocks(sheets[images], width, PICTURE_LINES) if output.color_system else None
    return [title, drawn if drawn is not None else Text(str(sheets[images]))]
