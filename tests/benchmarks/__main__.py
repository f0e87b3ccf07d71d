"""Run the named benchmarks, or all, and print one table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks import data, overhead, primer_step, processes, reliability, scoring
from tests.benchmarks.measure import Result

BENCHMARKS: dict[str, Callable[[int], Result]] = {
    "primer_step": primer_step.run,
    "overhead": overhead.run,
    "data_share": data.share,
    "data_rate": data.rate,
    "list": processes.listing,
    "memory": processes.memory,
    "scoring": scoring.fidelity,
    "scoring_share": scoring.share,
    "saving": reliability.saving,
    "checks": reliability.checks,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, of which the median counts (5)")
    # With two threads on a core that is shared, each waits for the other: times then say nothing.
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures, too")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if arguments.rounds < 1 or arguments.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    torch.set_num_threads(arguments.threads)
    console, results = Console(width=None if sys.stdout.isatty() else 120), []
    for name in arguments.names or BENCHMARKS:
        with console.status(f"{name} ..."):
            results.append(BENCHMARKS[name](arguments.rounds))
    surroundings = {
        "torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine(),
        "cores": os.cpu_count(), "threads": arguments.threads, "rounds": arguments.rounds,
    }  # fmt: skip
    console.print(", ".join(f"{name} {value}" for name, value in surroundings.items()), highlight=False)
    console.print(table(results))
    for result in results:
        console.print("; ".join((f"{result.name}: {result.ratio_of}", *result.notes)), highlight=False)
    if arguments.json:
        rows = [
            vars(result) | {"goal": str(result.goal), "ratio": result.ratio, "met": result.met} for result in results
        ]
        arguments.json.write_text(json.dumps({"surroundings": surroundings, "benchmarks": rows}, indent=1) + "\n")


def table(results: Sequence[Result]) -> Table:
    """Medians over the rounds, and the ratio's smallest and largest value."""
    shown = Table(box=box.SIMPLE)
    for name in ("benchmark", "ours", "baseline", "unit", "ratio", "spread", "goal", "met"):
        shown.add_column(name, no_wrap=True)
    for result in results:
        ours, baseline = (_short(statistics.median(figures)) for figures in (result.ours, result.baseline))
        spread = f"{_short(min(result.ratios))} to {_short(max(result.ratios))}"
        ratio, met = _short(result.ratio), "yes" if result.met else "no"
        shown.add_row(result.name, ours, baseline, result.unit, ratio, spread, str(result.goal), met)
    return shown


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
