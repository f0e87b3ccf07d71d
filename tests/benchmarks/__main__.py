"""Run the named benchmarks, or all, and print one table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from rich import box
from rich.table import Table

from tests.benchmarks import (
    biggan,
    compiling,
    data,
    limits,
    mixture,
    overhead,
    processes,
    reliability,
    scoring,
    steps,
    styles,
)
from tests.benchmarks.measure import Result, arguments, in_words, measured, say, short, surroundings, write_json

BENCHMARKS: dict[str, Callable[[int], Result]] = {
    "primer_step": steps.primer,
    "primer_step_reuse": steps.primer_reuse,
    "example_step": steps.example,
    "default_step": steps.default,
    "default_step_bf16": steps.default_bf16,
    "mixture_step": mixture.tutorial,
    "mixture_step_tuned": mixture.tuned,
    "stylegan2_step": styles.step_ratio,
    "biggan_step": biggan.step_ratio,
    "matmul_limit": limits.matmul,
    "compile_default": compiling.default,
    "compile_primer": compiling.primer,
    "compile_primer_reuse": compiling.primer_reuse,
    "compile_mixture": compiling.mixture,
    "overhead": overhead.run,
    "overhead_small_batch": overhead.small_batch,
    "data_share": data.share,
    "data_rate": data.rate,
    "list": processes.listing,
    "cfg": processes.config,
    "help": processes.usage,
    "memory": processes.memory,
    "scoring": scoring.fidelity,
    "scoring_share": scoring.share,
    "saving": reliability.saving,
    "checks": reliability.checks,
}


def main(argv: Sequence[str] | None = None) -> None:
    given = arguments("tests.benchmarks", __doc__, BENCHMARKS, 5, argv)
    results, about = list(measured(given, BENCHMARKS)), surroundings(given)
    notes = ("; ".join((f"{result.name}: {result.ratio_of}", *result.notes)) for result in results)
    say(in_words(about), table(results), *notes)
    write_json(given.json, {"surroundings": about, "benchmarks": [result.row() for result in results]})


def table(results: Sequence[Result]) -> Table:
    """Medians over the rounds, and the ratio's smallest and largest value; dashes where nothing was measured."""
    shown = Table(box=box.SIMPLE)
    for name in ("benchmark", "ours", "baseline", "unit", "ratio", "spread", "goal", "met"):
        shown.add_column(name, no_wrap=True)
    for result in results:
        if result.ratio is None:
            shown.add_row(result.name, "-", "-", result.unit, "-", "-", str(result.goal), "-")
            continue
        ours, baseline = (short(statistics.median(figures)) for figures in (result.ours, result.baseline))
        spread = f"{short(min(result.ratios))} to {short(max(result.ratios))}"
        ratio, met = short(result.ratio), "yes" if result.met else "no"
        shown.add_row(result.name, ours, baseline, result.unit, ratio, spread, str(result.goal), met)
    return shown


if __name__ == "__main__":
    main()
