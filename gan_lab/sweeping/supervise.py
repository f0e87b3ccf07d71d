"""Runs a sweep and prints its table, also where processes are killed or the sweep is interrupted."""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from gan_lab.display.terminal import terminal
from gan_lab.run.signals import INTERRUPTED
from gan_lab.sweeping import findings, launchers, optuna_sweeper, plan, ray_launcher, study, sweeper, table
from gan_lab.sweeping.interrupts import Interrupts
from gan_lab.sweeping.job import SweepJob

Start = Callable[[Callable[[DictConfig], object]], int]  # starts Hydra with a task function; returns the exit code


def supervise(
    start: Start,
    jobs: Sequence[Sequence[str]] | None,
    folder: Path,
    workers: plan.Workers,
    search: study.Search | None = None,
) -> int:
    """Run the sweep and print its table. Returns the exit code.

    `jobs` is None where the sweeper chooses the jobs itself. `search` is the search of our own sweeper.
    """
    begin = time.time()
    planned = None if jobs is None else [table.Job.planned(folder, overrides) for overrides in jobs]
    labels = search.labels if search else plan.differing_keys([job.overrides for job in planned or ()])
    if planned:
        at_a_time = f", {workers.count} at a time" if workers.count > 1 else ""
        jobs_of = "1 job" if len(planned) == 1 else f"{len(planned)} jobs"
        terminal().print(f"{jobs_of} in {folder}{at_a_time}", markup=False)
        sys.stdout.flush()  # before the workers print
        table.note_planned(folder, jobs or ())
    separate = workers.count > 1 or workers.remote  # each job has its own process
    interrupts = Interrupts(_any_job_running(folder) if separate else None, folder if workers.remote else None)
    try:
        with _hydra_raises(), _own_plugins(), _sweeper_input(jobs, search, workers), interrupts:
            total = search.total if search else len(planned or ())
            location = search.location if search else None
            job = SweepJob(
                labels, total, workers.count, workers.threads, location, interrupts.stop, remote=workers.remote
            )
            code = _run_all(start, job, planned or ())
    except KeyboardInterrupt:
        code = 130
    except ValueError as error:  # a combination of values that does not compose
        if not any(job.seen_since(begin) for job in planned or ()):
            raise
        _say(str(error))
        code = 1
    finally:
        if workers.remote:
            ray_launcher.shut_down()
        elif workers.count > 1:
            _end_workers()
    if interrupts.received is not None:
        code = 128 + interrupts.received
    failed = _report(planned, folder, begin, code, search)
    if code in INTERRUPTED:
        _say("interrupted; the same command goes on: finished jobs are skipped, the others continue")
    return code or int(failed > 0)


def _report(
    planned: Sequence[table.Job] | None, folder: Path, begin: float, code: int, search: study.Search | None
) -> int:
    """Print the table and the results of a search. Returns how many jobs did not finish."""
    jobs = planned if planned is not None else table.jobs_in(folder) if search else table.jobs_since(folder, begin)
    if not jobs or not (search or code == 1 or any(job.seen_since(begin) for job in jobs)):
        return 0
    lines = findings.findings(search) if search else ()
    return table.report(jobs, begin, interrupted=code in INTERRUPTED, findings=lines)


def _run_all(start: Start, job: SweepJob, planned: Sequence[table.Job]) -> int:
    """Start Hydra with the job, and again where a worker process was killed: its launcher then ends all others, too.

    The jobs that were running at that time are left out of the next start. Afterwards they run one by one, so that a
    job that is killed again ends no other job.
    """
    suspects: set[str] = set()
    code, broken = _run(start, job)
    while broken:
        states = {one.path.name: one.read(begun=False).status for one in planned}
        dead = {name for name, state in states.items() if state == "killed"}
        if dead <= suspects:
            break
        suspects |= dead
        ended = {name for name, state in states.items() if state not in ("killed", "not started", "interrupted")}
        _say(f"jobs that were at work then: {len(suspects)}; they run one by one after the others")
        code, broken = _run(start, replace(job, left_out=frozenset(suspects | ended)))
    names = {one.path.name for one in planned}
    for name in sorted(suspects):
        code = max(code, _run(start, replace(job, left_out=frozenset(names - {name})))[0])
    return code


def _run(start: Start, job: SweepJob) -> tuple[int, bool]:
    """The exit code, and whether a worker process died."""
    try:
        return start(job), False
    except BrokenExecutor as error:
        exits = ", ".join(sorted(set(re.findall(r"SIG\w+", str(error)))))
        what = f"was killed ({exits}): out of memory, or a crash in native code" if exits else f"broke: {error}"
        _say(f"a worker process {' '.join(what.split())}. Its launcher ended the others with it")
        return 1, True
    except TimeoutError:
        _say("hydra.launcher.timeout ran out: the launcher has ended its workers; the same command goes on")
        return 1, False
    except ValueError:
        raise
    except Exception as error:
        if os.environ.get("GAN_LAB_DEBUG"):
            raise
        _say(f"the launcher or the sweeper failed: {type(error).__name__}: {error}")
        return 1, False


def _say(line: str) -> None:
    print(f"gan-lab: {line}", file=sys.stderr)


def _any_job_running(folder: Path) -> Callable[[], bool]:
    from gan_lab.tracking.run_directory import RunDirectory

    return lambda: any(RunDirectory(lock.parent).locked() for lock in folder.glob("*/.lock"))


def _sweeper_input(
    jobs: Sequence[Sequence[str]] | None, search: study.Search | None, workers: plan.Workers
) -> AbstractContextManager[None]:
    """A context in which Hydra's sweeper runs these jobs, or our own sweeper runs this search."""
    if jobs:
        return sweeper.use_jobs(jobs)
    return optuna_sweeper.use_search(search, workers.count) if search else nullcontext()


@contextmanager
def _own_plugins() -> Iterator[None]:
    """Register our sweeper and launchers with Hydra: they are not in a package hydra_plugins, where Hydra looks."""
    known = Plugins.instance().class_name_to_class
    for cls in (optuna_sweeper.OptunaSweeper, launchers.SlurmLauncher, ray_launcher.RayLauncher):
        known[f"hydra_plugins.gan_lab.{cls.__name__}"] = cls
    yield


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Make Hydra raise errors instead of printing tracebacks, and silence joblib's warning of a replaced worker."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
            yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def _end_workers() -> None:
    """End joblib's worker processes. Else the next sweep would get them, with this one's environment and folder."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor(reuse=True).shutdown(wait=True)
