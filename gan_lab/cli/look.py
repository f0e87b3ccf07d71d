"""Commands that look at runs: compare, show, watch, dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gan_lab.cli.parsing import Parser


def compare(argv: Sequence[str]) -> int:
    """Rank the settings of runs over their seeds."""
    parser = Parser(
        prog="gan-lab compare",
        description="Settings of runs ranked by a score: its interquartile mean over seeds, with a bootstrap interval. "
        "Scores that were not taken alike are not ranked. Nothing is written but the files that are asked for.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="RUN_OR_FOLDER",
        type=Path,
        help="runs, sweeps, folders of them, or files "
        "of gan-lab evaluate RUN --json FILE, whose scores then stand in for the run's own",
    )
    parser.add_argument("--metric", metavar="NAME", help="rank by this score (the one that chose the best checkpoints)")
    parser.add_argument(
        "--at", metavar="WHEN",
        help="images=N or seconds=S: scores seen while training, at equal images or seconds; without a number at the "
        "most that all reach (each run's end, with fresh noise)",
    )  # fmt: skip
    parser.add_argument("--where", metavar="key=value", action="append", default=[], help="runs with this setting only")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page: curves, tables, samples, warnings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison with every run's value")
    given = parser.parse_args(argv)
    from gan_lab.comparing.command import CompareOptions
    from gan_lab.comparing.command import compare as rank

    rank(CompareOptions(given.paths, given.metric, given.at, given.where, given.html, given.json))
    return 0


def show(argv: Sequence[str]) -> int:
    """Show a run in the terminal."""
    parser = Parser(
        prog="gan-lab show",
        description="How a run goes or went, in the terminal: progress, scores, health, curves of losses and of scores "
        "seen while training, and its newest pictures, as far as the terminal has colours.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    given = parser.parse_args(argv)
    from gan_lab.commands.show import show as display

    display(given.run)
    return 0


def watch(argv: Sequence[str]) -> int:
    """Show a sweep's jobs in the terminal until they have ended."""
    parser = Parser(
        prog="gan-lab watch",
        description="A live table of a sweep's jobs, until none runs any more; without a terminal, one table.",
    )
    parser.add_argument("sweep", metavar="SWEEP", type=Path, help="a sweep's folder")
    given = parser.parse_args(argv)
    from gan_lab.commands.watch import watch as follow

    follow(given.sweep)
    return 0


def dashboard(argv: Sequence[str]) -> int:
    """Make a workspace and a report in W&B for the runs of a folder, and print where they are."""
    parser = Parser(
        prog="gan-lab dashboard",
        description="A saved workspace and a report in W&B: these runs alone, grouped by the settings in which they "
        "differ, with scores, losses, health and samples against images. Each call makes new ones.",
    )
    parser.add_argument("path", metavar="SWEEP_OR_RUN", type=Path, help="a sweep's folder, or a run directory")
    parser.add_argument("--entity", metavar="NAME", help="the user or team that has the runs (as their links say)")
    parser.add_argument("--project", metavar="NAME", help="the project that they are in (as their links say)")
    given = parser.parse_args(argv)
    from gan_lab.commands.dashboard import make

    workspace, report = make(given.path, given.entity, given.project)
    print(f"workspace  {workspace}", f"report     {report}", sep="\n")
    return 0
