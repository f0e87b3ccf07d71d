"""Hydra's own sweeper, given the jobs that were planned and checked before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins

# Finding plug-ins executes their modules once more: what is imported before would be another class than Hydra's.
Plugins.instance()
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402


class Planned(BasicSweeper):
    """Hands out the jobs of `planned`; where presets and the command line say what to sweep over was read before."""

    jobs: ClassVar[Sequence[Sequence[str]]] = ()

    def _parse_config(self) -> list[str]:
        return []

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        return list(BasicSweeper.split_overrides_to_chunks([list(job) for job in Planned.jobs], max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose no job on trial, which Hydra does for all before the first starts, at the cost of starting them.

        Each value was composed beside the others' first ones, which is as good as trying all of their combinations:
        which keys there are depends on the choice in one group.
        """


@contextmanager
def planned(jobs: Sequence[Sequence[str]]) -> Iterator[None]:
    """Let Hydra take `Planned` where a config names Hydra's own sweeper, the only name that it would accept."""
    known = Plugins.instance().class_name_to_class
    name = f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"
    before, known[name], Planned.jobs = known[name], Planned, jobs
    try:
        yield
    finally:
        known[name], Planned.jobs = before, ()
