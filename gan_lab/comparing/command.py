"""`gan-lab compare`: from the command line's options to a table, a JSON file and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_lab.comparing import runs as on_disk
from gan_lab.comparing.comparison import At, Comparison
from gan_lab.comparing.settings import where
from gan_lab.comparing.table import as_json, show
from gan_lab.core.files import write_atomically
from gan_lab.display.terminal import wide_terminal
from gan_lab.sweeping.findings import one_line_summary, read_findings
from gan_lab.tracking.outputs import check_output


@dataclass(frozen=True)
class CompareOptions:
    """The options of the command line."""

    paths: Sequence[Path]
    metric: str | None = None
    at: str | None = None
    where: Sequence[str] = ()
    html: Path | None = None
    json: Path | None = None


def compared(options: CompareOptions) -> Comparison:
    """The comparison of these runs. Raises ValueError where there is none."""
    comparison = Comparison(where(on_disk.find(options.paths), options.where), options.metric, parse_at(options.at))
    comparison.searches = [content for path in options.paths if (content := read_findings(path))]
    comparison.notes += map(one_line_summary, comparison.searches)
    return comparison


def compare(options: CompareOptions) -> None:
    """Compare, print, and write the requested files. Raises ValueError before anything is written."""
    for option, file in (("--html", options.html), ("--json", options.json)):
        check_output(option, file)
    comparison = compared(options)
    page = None
    if options.html is not None:
        from gan_lab.comparing.page import render

        page = render(comparison)
    show(comparison, wide_terminal())
    if options.json is not None:
        write_atomically(options.json, json.dumps(as_json(comparison), indent=1, default=str) + "\n")
    if options.html is not None and page is not None:
        write_atomically(options.html, page)
        print(options.html)


def parse_at(text: str | None) -> At:
    """The option --at (`images`, `seconds=120`, or None) as an `At`. Raises ValueError for anything else."""
    if text is None:
        return At()
    what, equals, amount = text.partition("=")
    if what not in ("images", "seconds"):
        raise ValueError(
            f"--at {text}: give images=N or seconds=S, or just images or seconds for the most that all reach"
        )
    try:
        number = float(amount.replace("_", "").replace(",", "")) if equals else None
    except ValueError:
        number = -1.0
    if number is not None and not 0 < number < float("inf"):
        raise ValueError(f"--at {text}: {amount or 'nothing'} is not a number of {what}")
    return At("images" if what == "images" else "seconds", number)
