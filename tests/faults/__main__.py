"""Break runs in every known way and print one table. Exit code 1 where a row fails."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.lab import Lab
from tests.faults.rows import ROWS, Outcome, Row


def run(rows: Sequence[Row], folder: Path, quick: bool) -> list[tuple[Row, Outcome, float]]:
    lab, done = Lab(folder, quick), []
    for row in rows:
        begin = time.monotonic()
        try:
            outcome = row.run(lab)
        except Exception as error:  # the bench goes on, as runs should
            outcome = Outcome(failures=[f"{type(error).__name__}: {error}"])
        done.append((row, outcome, time.monotonic() - begin))
        print(f"{row.number:>3}  {row.name}: {'ok' if outcome.ok else 'FAILED'}, {done[-1][2]:.1f} s", file=sys.stderr)
        for failure in outcome.failures:
            print(f"     {failure}", file=sys.stderr)
    return done


def table(done: Sequence[tuple[Row, Outcome, float]]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("#", "fault", "times", "images lost", "seconds to recover", "final state", "what it does", ""):
        shown.add_column(title, justify="right" if title in ("times", "images lost", "seconds to recover") else "left")
    for row, outcome, _ in done:
        state = {True: "equal", False: "DIFFERS", None: "-"}[outcome.equal]
        shown.add_row(
            row.number, row.name, str(outcome.times or "-"),
            "-" if outcome.lost is None else f"{outcome.lost:,} of {outcome.bound:,}",
            "-" if outcome.seconds is None else f"{outcome.seconds:.2f}",
            state, "; ".join(outcome.notes), "ok" if outcome.ok else "FAILED",
        )  # fmt: skip
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(row.number for row in ROWS))
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, and no row that takes minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the broken runs there, to look at them")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.rows) - {row.number for row in ROWS}:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(row.number for row in ROWS)}")
    chosen = [row for row in ROWS if row.number in arguments.rows or (not arguments.rows)]
    chosen = [row for row in chosen if row.quick or not arguments.quick]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        done = run(chosen, folder.resolve(), arguments.quick)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(done), highlight=False)
    if arguments.json:
        found = [{"number": row.number, "name": row.name, "ok": o.ok, "took": s, **asdict(o)} for row, o, s in done]
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(not all(outcome.ok for _, outcome, _ in done))


if __name__ == "__main__":
    sys.exit(main())
