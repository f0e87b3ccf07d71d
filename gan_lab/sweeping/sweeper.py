"""A sweeper in place of Hydra's own: it runs the jobs that were planned and checked before Hydra starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins

# When Hydra looks for plug-ins, it executes their modules again. A class imported before that is not Hydra's class.
Plugins.instance()
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402


class PlannedSweeper(BasicSweeper):
    """Runs the jobs of `use_jobs`. The config's own sweep parameters are ignored: they are in these jobs."""

    jobs: ClassVar[Sequence[Sequence[str]]] = ()

    def _parse_config(self) -> list[str]:
        return []

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        return list(BasicSweeper.split_overrides_to_chunks([list(job) for job in PlannedSweeper.jobs], max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Does nothing. Hydra's own method composes all jobs before the first one starts, which takes long.

        Each value was already composed with the first values of the other keys. That is enough, because a choice in one
        group alone decides which keys there are.
        """


@contextmanager
def use_jobs(jobs: Sequence[Sequence[str]]) -> Iterator[None]:
    """A context in which Hydra uses `PlannedSweeper` with these jobs in place of its own sweeper, under that name."""
    known = Plugins.instance().class_name_to_class
    name = f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"
    before, known[name], PlannedSweeper.jobs = known[name], PlannedSweeper, jobs
    try:
        yield
    finally:
        known[name], PlannedSweeper.jobs = before, ()
