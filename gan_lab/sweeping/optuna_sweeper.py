"""Search with Optuna: a sweeper that asks Optuna for settings, runs them, and reports the results to it.

Hydra's published plug-in is not used: it needs Optuna below 3 and cannot prune.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gan_lab.config.identity import job_name
from gan_lab.core.files import BadFile, printable
from gan_lab.display.terminal import terminal
from gan_lab.sweeping.space import import_optuna
from gan_lab.sweeping.study import ABANDONED, JOB, Search
from gan_lab.tracking.run_directory import SELECTION, RunDirectory


class OptunaSweeper(Sweeper):
    """Asks for as many trials as run at a time, launches them, and reports the results in their folders.

    A trial whose process ended before its result was reported is tried again when the study continues.
    """

    search: ClassVar[Search | None] = None
    at_a_time: ClassVar[int] = 1

    def __init__(self, **_: Any) -> None:
        """Ignores the config: `search` has its settings, which were checked before Hydra started."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        search = OptunaSweeper.search
        assert search is not None
        study = search.open()
        resume_trials(study)
        while (left := search.total - finished_trials(study)) > 0:
            trials = [self._ask(study, search) for _ in range(min(left, self.at_a_time))]
            jobs = [search.overrides(trial.params) for trial in trials]
            chosen = jobs_to_run(study, search.folder, [job_name(job) for job in jobs])
            if chosen:
                self._launch([jobs[i] for i in chosen], trials[chosen[0]].number)
            for trial, job in zip(trials, jobs, strict=True):
                report_trial(study, trial, search.folder / job_name(job), search.objectives)

    def _launch(self, jobs: list[list[str]], first: int) -> None:
        assert self.launcher is not None
        with contextlib.suppress(BrokenExecutor):  # a worker was killed; the results are in the jobs' folders
            self.launcher.launch(jobs, initial_job_idx=first)

    def _ask(self, study: Any, search: Search) -> Any:
        trial = study.ask(search.space)
        trial.set_user_attr(JOB, job_name(search.overrides(trial.params)))
        return trial


def jobs_to_run(study: Any, folder: Path, names: Sequence[str]) -> list[int]:
    """The indices of the jobs to run: without finished and pruned ones, and each name once."""
    trials = study.get_trials(deepcopy=False)
    finished = [t for t in trials if t.state.is_finished() and not t.user_attrs.get(ABANDONED)]
    done = {trial.user_attrs.get(JOB) for trial in finished}
    done |= {name for name in names if RunDirectory(folder / name).status() == "pruned"}
    return [i for i, name in enumerate(names) if name not in done and name not in names[:i]]


def resume_trials(study: Any) -> None:
    """Try the unfinished trials of an earlier, interrupted sweep again: their runs continue from their checkpoints."""
    for trial in study.get_trials(states=[import_optuna().trial.TrialState.RUNNING]):
        try_again(study, trial)


def try_again(study: Any, trial: Any) -> None:
    trials = import_optuna().trial
    trials.Trial(study, trial._trial_id).set_user_attr(ABANDONED, True)
    study.tell(trial.number, state=trials.TrialState.FAIL)
    study.enqueue_trial(trial.params)


def finished_trials(study: Any) -> int:
    """The number of finished trials that count towards n_trials: without abandoned ones."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state.is_finished() and not trial.user_attrs.get(ABANDONED) for trial in trials)


def report_trial(study: Any, trial: Any, folder: Path, objectives: Sequence[tuple[str, bool]]) -> None:
    """Report the result in a job's folder to Optuna: values, or that the job was pruned, diverged or failed."""
    states = import_optuna().trial.TrialState
    directory = RunDirectory(folder)
    status, values = directory.status(), scores(directory, objectives)
    if status == "finished" and values is not None:
        study.tell(trial, values)
    elif status in ("pruned", "diverged") and len(objectives) == 1:
        if status == "diverged":
            trial.report(math.inf if objectives[0][1] else -math.inf, int(directory.summary.get("images") or 0))
        study.tell(trial, state=states.PRUNED)
    elif status == "killed" and not _was_tried_again(study, folder.name):
        try_again(study, trial)
    else:
        study.tell(trial, state=states.FAIL)
    result = "  ".join(f"{value:.4g}" for value in values or ()) if status == "finished" else status
    terminal().print(f"trial {trial.number}: {result}", markup=False)


def _was_tried_again(study: Any, job: str) -> bool:
    trials = study.get_trials(deepcopy=False)
    return any(t.user_attrs.get(JOB) == job and t.user_attrs.get(ABANDONED) for t in trials)


def scores(directory: RunDirectory, objectives: Sequence[tuple[str, bool]]) -> list[float] | None:
    """The best score of a run; with several objectives, the last score of each.

    None where a score is missing, or the file of scores cannot be read, which must not end the search.
    """
    try:
        records = directory.read_metrics()
    except BadFile as error:
        print(printable(f"gan-lab: {error}"), file=sys.stderr)
        return None
    columns = [[r[SELECTION + name] for r in records if r.get(SELECTION + name) is not None] for name, _ in objectives]
    if not all(columns):
        return None
    if len(columns) == 1:
        return [min(columns[0]) if objectives[0][1] else max(columns[0])]
    return [column[-1] for column in columns]


@contextmanager
def use_search(search: Search, at_a_time: int) -> Iterator[None]:
    """A context in which `OptunaSweeper`, which Hydra constructs, uses this search, with so many trials at a time."""
    OptunaSweeper.search, OptunaSweeper.at_a_time = search, at_a_time
    try:
        yield
    finally:
        OptunaSweeper.search = None
