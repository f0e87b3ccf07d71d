"""Plans a sweep before it runs: its override words, its jobs with their folders, and the number of workers."""

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
    """A preset's words and the command line's, in Hydra's order. For the same key, the command line wins."""
    return list({override.get_key_element(): override for override in (*preset, *command)}.values())


def of_hydra(override: Override) -> bool:
    """Whether a word is an option of Hydra itself, and so the same for all jobs."""
    return override.key_or_group.startswith(("hydra.", "hydra/"))


def jobs(words: Iterable[Override]) -> list[list[str]]:
    """Each job's overrides, as Hydra's own sweeper makes them.

    Raises ValueError for what it cannot sweep, and for two equal jobs, because they would share a folder.
    """
    try:
        (result,) = BasicSweeper.split_arguments([word for word in words if not of_hydra(word)], None)
    except HydraException as error:
        raise ValueError(f"{error}; give the values themselves, as in 1,2,3 or range(1,4)") from error
    times = Counter(map(job_name, result))
    if twice := next((job for job in result if times[job_name(job)] > 1), None):
        raise ValueError(f"{' '.join(twice)}: this sweep would train the same job twice; name each value once")
    return result


def values(overrides: Iterable[str]) -> dict[str, str]:
    """The values of overrides by their keys, without those that do not change what is trained."""
    pairs = (override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return {key: value for key, value in pairs if not unhashed(key)}


def differing_keys(jobs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The keys in which jobs differ, each with a short label for the head of a table."""
    keys = dict.fromkeys(key for job in jobs for key in job)
    return short_keys(key for key in keys if len({job.get(key) for job in jobs}) > 1)


def describe(job: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """A job's own settings in a line: `loss=hinge seed=2`."""
    return " ".join(f"{label}={shortened(job[key])}" for key, label in labels.items() if key in job)


@dataclass(frozen=True)
class Workers:
    """How many jobs run at a time, each in its own process where there are several, and their threads."""

    count: int = 1
    threads: int | None = None  # CPU threads of a job without trainer.threads, of all its processes together
    overrides: tuple[str, ...] = ()  # of the launcher's settings
    remote: bool = False  # may be on other machines, which share only a folder with this one


def workers(hydra: Any, num_jobs: int | None, processes: int = 1) -> Workers:
    """The workers of a sweep, from Hydra's own part of the config. Raises ValueError for `n_jobs` of 0.

    Jobs on this machine share its cores: a job without trainer.threads gets its share of the threads that it would have
    alone. Else n jobs at a time would use n times as many threads as there are cores. A negative `n_jobs` counts cores,
    of which a job takes one for each of its `processes`.
    """
    import torch

    launcher = hydra.runtime.choices["hydra/launcher"]
    if launcher == "basic":
        return Workers(threads=torch.get_num_threads())
    if launcher in ("slurm", "ray"):
        return _elsewhere(launcher, hydra.launcher, num_jobs, processes)
    if launcher not in ("joblib", "laptop"):  # another launcher, which may use other machines
        return Workers()
    import joblib

    wanted = hydra.launcher.n_jobs
    if not wanted:
        raise ValueError(f"hydra.launcher.n_jobs={wanted}: give a number of jobs at a time, or -1 for one a core")
    count = wanted if wanted > 0 else max((joblib.cpu_count() + 1 + wanted) // processes, 1)
    count = min(count, num_jobs or count)  # idle workers would only take threads from the others
    overrides = [f"hydra.launcher.n_jobs={count}"]
    if hydra.launcher.batch_size == "auto":
        # joblib joins short tasks into batches, and skipping a finished job is short. The long jobs in such a batch
        # would then run one after the other in one worker, while the other workers are idle.
        overrides.append("hydra.launcher.batch_size=1")
    return Workers(count, max(torch.get_num_threads() // count, 1), overrides=tuple(overrides))


def _elsewhere(launcher: str, conf: Any, num_jobs: int | None, processes: int) -> Workers:
    """The workers of our own launchers. A job uses the cores that its scheduler gives it; on this machine, a share."""
    import torch

    from gan_lab.sweeping import launchers

    launchers.check(launcher, conf, processes)
    count = min(conf.n_jobs, num_jobs or conf.n_jobs)
    if launcher == "ray":
        threads = max(int(conf.cpus_per_job), processes)
    elif conf.cluster == "slurm":
        threads = conf.cpus_per_task * processes
    else:
        threads = max(torch.get_num_threads() // count, 1)
    return Workers(count, threads, remote=True)
