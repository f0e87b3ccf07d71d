"""What a sweep will run, known before it runs: its words, its jobs and their folders, and who does them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from gan_lab.config.identity import job_name, short_keys, unhashed
from gan_lab.display.terminal import shortened


def merged(preset: Iterable[Override], command: Iterable[Override]) -> list[Override]:
    """A preset's words and the command line's, which win, in the order in which Hydra's sweeper takes them."""
    return list({override.get_key_element(): override for override in (*preset, *command)}.values())


def of_hydra(override: Override) -> bool:
    """Whether a word is for Hydra itself, and so the same for all jobs."""
    return override.key_or_group.startswith(("hydra.", "hydra/"))


def jobs(words: Iterable[Override]) -> list[list[str]]:
    """Each job's overrides, as Hydra's own sweeper will hand them out. Raises ValueError for what it cannot sweep.

    Two jobs that train the same would share a folder, at the same time where a launcher has several workers.
    """
    try:
        (found,) = BasicSweeper.split_arguments([word for word in words if not of_hydra(word)], None)
    except HydraException as error:
        raise ValueError(f"{error}; give the values themselves, as in 1,2,3 or range(1,4)") from error
    times = Counter(map(job_name, found))
    if twice := next((job for job in found if times[job_name(job)] > 1), None):
        raise ValueError(f"{' '.join(twice)}: this sweep would train the same job twice; name each value once")
    return found


def values(overrides: Iterable[str]) -> dict[str, str]:
    """Overrides by their keys, less those that do not change what is trained."""
    pairs = (override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return {key: value for key, value in pairs if not unhashed(key)}


def differing_keys(jobs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The keys in which jobs differ, each with a name short enough for a table's head."""
    keys = dict.fromkeys(key for job in jobs for key in job)
    return short_keys(key for key in keys if len({job.get(key) for job in jobs}) > 1)


def describe(job: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """What a job has of its own: `loss=hinge seed=2`."""
    return " ".join(f"{label}={shortened(job[key])}" for key, label in labels.items() if key in job)


@dataclass(frozen=True)
class Workers:
    """How many jobs run at a time, in processes of their own where it is more than one, and their threads."""

    count: int = 1
    threads: int | None = None  # of a job that leaves trainer.threads to the machine
    overrides: tuple[str, ...] = ()  # what the launcher must be told
    remote: bool = False  # on other machines, perhaps: a shared folder is all that they have in common


def workers(hydra: Any, num_jobs: int | None) -> Workers:
    """Who does the jobs, from Hydra's own part of the config. Raises ValueError for `n_jobs` of 0.

    Here the machine's cores are shared out: a job that leaves trainer.threads to the machine gets, of the threads that
    it would have alone, its share. Else n jobs at a time would fight over the cores with n times as many threads.
    """
    import torch

    launcher = hydra.runtime.choices["hydra/launcher"]
    if launcher == "basic":
        return Workers(threads=torch.get_num_threads())
    if launcher in ("slurm", "ray"):
        return _elsewhere(launcher, hydra.launcher, num_jobs)
    if launcher not in ("joblib", "laptop"):  # somebody else's, on other machines
        return Workers()
    import joblib

    wanted = hydra.launcher.n_jobs
    if not wanted:
        raise ValueError(f"hydra.launcher.n_jobs={wanted}: give a number of jobs at a time, or -1 for one a core")
    count = wanted if wanted > 0 else max(joblib.cpu_count() + 1 + wanted, 1)
    count = min(count, num_jobs or count)  # idle workers would only take threads from the others
    overrides = [f"hydra.launcher.n_jobs={count}"]
    if hydra.launcher.batch_size == "auto":
        # joblib joins short tasks into batches, and skipping a finished job is short: the long jobs after it would
        # then wait for one another in one worker, while the other workers have nothing to do.
        overrides.append("hydra.launcher.batch_size=1")
    return Workers(count, max(torch.get_num_threads() // count, 1), overrides=tuple(overrides))


def _elsewhere(launcher: str, conf: Any, num_jobs: int | None) -> Workers:
    """A job on another machine is alone with what its scheduler gave it; here the cores are shared out."""
    import torch

    from gan_lab.sweep import launchers

    launchers.check(launcher, conf)
    count = min(conf.n_jobs, num_jobs or conf.n_jobs)
    if launcher == "ray":
        threads = max(int(conf.cpus_per_job), 1)
    else:
        threads = conf.cpus_per_task if conf.cluster == "slurm" else max(torch.get_num_threads() // count, 1)
    return Workers(count, threads, remote=True)
