"""Settings of our own sweeper and launchers, as dataclasses, so that listing the choices imports no heavy package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class OptunaSearch:
    """`hydra/sweeper=optuna`. The search space is given on the command line, in Hydra's grammar, or in `params`."""

    _target_: str = "hydra_plugins.gan_lab.OptunaSweeper"  # sweeping/supervise.py registers it under this name
    sampler: str = "tpe"  # tpe, cmaes, nsga2, grid, random
    pruner: str = "halving"  # halving, median, none: stops a trial that is worse than others were after as many images
    startup_trials: int = 5  # random trials at the start; median does not prune them
    warmup: float = 0.25  # share of trainer.images before which nothing is pruned
    n_trials: int = 20  # in all, including those of a study that is continued
    seed: int = 0  # of the sampler
    metrics: list[str] = field(default_factory=list)  # objectives; none: the score that selects a checkpoint
    storage: str | None = None  # null: a journal in the sweep's folder; a file, or a database's address
    study_name: str | None = None  # null: the sweep's name
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class SlurmJobs:
    """`hydra/launcher=slurm`: Slurm jobs, by submitit. For a setting that is null, the cluster's default holds."""

    _target_: str = "hydra_plugins.gan_lab.SlurmLauncher"
    cluster: str = "slurm"  # local: run the jobs on this machine, without Slurm
    n_jobs: int = 64  # at a time
    nodes: int = 1  # of a job; several share its trainer.processes, each of which is a task of Slurm
    timeout_min: int = 240  # after which a job is queued again and goes on
    warn_seconds: int = 120  # how long before the time limit Slurm warns a run, which then saves
    cpus_per_task: int = 4  # of each of a job's processes
    gpus_per_node: int = 0
    mem_gb: float | None = None
    partition: str | None = None
    account: str | None = None
    setup: list[str] = field(default_factory=list)  # lines of shell before each job
    additional: dict[str, Any] = field(default_factory=dict)  # further parameters of sbatch


@dataclass
class RayTasks:
    """`hydra/launcher=ray`: tasks on a Ray cluster, or on one that is started on this machine."""

    _target_: str = "hydra_plugins.gan_lab.RayLauncher"
    address: str | None = None  # null starts one here; auto, or ray://host:port
    n_jobs: int = 64  # at a time; fewer where the cluster has too few cores
    cpus_per_job: float = 1.0  # one at least for each of its trainer.processes
    gpus_per_job: float = 0.0  # as many or none where it has several processes
    num_cpus: int | None = None  # cores of a cluster that is started here; null: all of this machine


CHOICES = (
    ("hydra/sweeper", "optuna", OptunaSearch),
    ("hydra/launcher", "slurm", SlurmJobs),
    ("hydra/launcher", "ray", RayTasks),
)
