"""A sweep as an object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gan_lab.display.printed import Printed
from gan_lab.interface.comparison import Comparison, compare
from gan_lab.interface.frames import frame
from gan_lab.interface.runs import Run
from gan_lab.sweeping.table import Outcome, jobs_in, labels_of, print_jobs, print_reasons, unfinished

if TYPE_CHECKING:
    import pandas


class Sweep(Printed):
    """The jobs in a sweep's folder. Raises ValueError where there are none."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not jobs_in(self.path):
            raise ValueError(f"{path} is no sweep: it holds no jobs of gan-lab train -m")

    def __repr__(self) -> str:
        return f"<gan_lab.Sweep {self.path}: {len(self.outcomes)} jobs>"

    @property
    def outcomes(self) -> list[Outcome]:
        """Each job with its status, error, seconds and scores, now."""
        return [job.read(begun=False) for job in jobs_in(self.path)]

    @property
    def runs(self) -> list[Run]:
        """The runs of the jobs that have begun."""
        return [Run(job.path) for job in jobs_in(self.path) if (job.path / "config.yaml").is_file()]

    def table(self) -> pandas.DataFrame:
        """A row for each job: the settings in which they differ, status, seconds, scores, and the run's directory.

        Needs pandas (the extra `notebook`).
        """
        outcomes = self.outcomes
        labels = labels_of(outcomes)
        rows: list[dict[str, Any]] = [
            {label: outcome.job.overrides.get(key) for key, label in labels.items()}
            | {"status": outcome.status, "seconds": outcome.seconds}
            | outcome.scores
            | {"run": str(outcome.job.path)}
            for outcome in outcomes
        ]
        return frame(rows, "sweep.table()")

    def compare(self, *, metric: str | None = None, at: str | None = None, where: Sequence[str] = ()) -> Comparison:
        """Its settings ranked over their seeds: see `gan_lab.compare`."""
        return compare([self.path], metric=metric, at=at, where=where)

    def print_to(self, output: Console) -> None:
        outcomes = self.outcomes
        print_jobs(output, outcomes)
        print_reasons(output, unfinished(outcomes))
