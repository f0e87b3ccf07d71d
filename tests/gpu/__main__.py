"""Run the named sections, or all, and print one table last. Exit code 1 where something failed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.gpu.needs import missing
from tests.gpu.rows import Row, in_words, table
from tests.gpu.running import Options, Section, run

START = time.monotonic()  # imports count, too
# In this order: what is cheap first, what may take any time last.
SECTIONS = (
    Section("card", 15, "tests.gpu.card", package=False),
    Section("limits", 15, "tests.gpu.limits", package=False),
    Section("tests", 40, "tests.gpu.marked"),
    Section("steps", 75, "tests.gpu.steps", "eager"),
    Section("waits", 45, "tests.gpu.waits"),
    Section("graphs", 15, "tests.gpu.graphs"),
    Section("resume", 45, "tests.gpu.resume"),
    Section("quality", 45, "tests.gpu.quality"),
    Section("compiled", 120, "tests.gpu.steps", "compiled"),
)


def main(argv: Sequence[str] | None = None) -> int:
    names = {section.name: section for section in SECTIONS}
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=230, help="after which nothing is begun or goes on (230)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure, after each section")
    parser.add_argument("--data", metavar="FOLDER", help="with Fashion-MNIST's four idx files, for the section quality")
    parser.add_argument("--log", type=Path, metavar="FILE", default=Path(os.devnull), help="what sections print")
    parser.add_argument("--tiny", action="store_const", const=True, help="tiny sizes on a GPU, too")
    given = parser.parse_args(argv)
    if unknown := set(given.sections) - names.keys():
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(names)}")
    if lacking := missing():
        print(f"missing packages: {', '.join(lacking)}; most sections need them", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the section's process then ends, too
    rows: list[Row] = []
    for section in SECTIONS:
        if given.sections and section.name not in given.sections:
            continue
        left = given.seconds - (time.monotonic() - START)
        for row in run(section, Options(given.tiny, given.data, given.log), left, rows):
            rows.append(row)
            print(f"{row.section:9} {row.what}: {row.state}; {in_words(row)}", file=sys.stderr, flush=True)
        if given.json:
            content = {"seconds": time.monotonic() - START, "rows": [asdict(row) for row in rows]}
            given.json.write_text(json.dumps(content, indent=1) + "\n")
    print(table(rows))
    print(f"{len(rows)} rows in {time.monotonic() - START:.0f} s", flush=True)
    return int(any(row.state in ("FAILED", "error") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
