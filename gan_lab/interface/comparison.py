"""Settings of runs, ranked over their seeds, as an object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gan_lab.comparing import comparison as compared_runs
from gan_lab.comparing.command import CompareOptions, compared
from gan_lab.comparing.table import as_json, show
from gan_lab.core.files import write_atomically
from gan_lab.display.printed import Printed
from gan_lab.interface.frames import frame
from gan_lab.tracking.outputs import check_output

if TYPE_CHECKING:
    import pandas

    from gan_lab.interface.runs import Run
    from gan_lab.interface.sweeps import Sweep


class Comparison(Printed):
    """What `gan-lab compare` prints and writes.

    `content` is what its JSON holds: metric, provenance, and `settings`, the best first, each with its verdict,
    interquartile mean, interval and runs.
    """

    def __init__(self, comparison: compared_runs.Comparison) -> None:
        self._comparison = comparison
        self.content: dict[str, Any] = as_json(comparison)

    def __repr__(self) -> str:
        return f"<gan_lab.Comparison of {len(self.settings)} settings by {self.content['metric']}>"

    @property
    def settings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.content["settings"]
        return found

    def table(self) -> pandas.DataFrame:
        """A row for each setting, the best first. Needs pandas (the extra `notebook`)."""
        rows = []
        for setting in self.settings:
            low, high = setting["interval"] or (None, None)
            measured = {self.content["metric"]: setting["interquartile_mean"]} if self.content["metric"] else {}
            interval = {"low": low, "high": high, "verdict": setting["verdict"], "runs": len(setting["runs"])}
            rows.append(setting["settings"] | measured | setting["others"] | interval)
        return frame(rows, "comparison.table()")

    def write_page(self, file: Path | str) -> None:
        """Write the page of `gan-lab compare --html`, which needs no network. Raises ValueError as the command does."""
        from gan_lab.comparing.page import render

        check_output("--html", Path(file))
        write_atomically(Path(file), render(self._comparison))

    def print_to(self, output: Console) -> None:
        show(self._comparison, output)


def compare(
    runs: Sequence[Path | str | Run | Sweep],
    *,
    metric: str | None = None,
    at: str | None = None,
    where: Sequence[str] = (),
) -> Comparison:
    """Settings of runs and sweeps ranked by a score over their seeds. Arguments are as of `gan-lab compare`.

    Raises ValueError where the scores were not taken alike, with what differs.
    """
    paths = [Path(run) if isinstance(run, (str, Path)) else run.path for run in runs]
    return Comparison(compared(CompareOptions(paths, metric, at, list(where))))
