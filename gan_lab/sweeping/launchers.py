"""Jobs on other machines: what launchers have in common, and Slurm through submitit. Ray is in ray_launcher.py.

A job that fails does not affect the others. Hydra's published plug-ins stop at the first job that dies.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from gan_lab.config.hydra_store import register_resolvers, without_hydra
from gan_lab.config.identity import job_name
from gan_lab.display.terminal import terminal
from gan_lab.registry import unknown
from gan_lab.run.place import place
from gan_lab.sweeping.job import SweepJob
from gan_lab.tracking.run_directory import RunDirectory

POLL = 0.5  # seconds between two checks of the jobs


@dataclass(frozen=True)
class PackedJob:
    """A job in picklable form: all that Hydra needs to run it in a fresh process."""

    name: str  # of its folder
    context: HydraContext
    config: DictConfig
    function: SweepJob
    state: Any

    def __call__(self) -> JobReturn | None:
        register_resolvers()
        setup_globals()
        if place().rank:  # one of several processes of the job, of which the first has to do with Hydra
            self.function.follow(without_hydra(self.config))
            return None
        Singleton.set_state(self.state)
        HydraConfig.instance().set_config(self.config)
        return run_job(
            hydra_context=self.context, task_function=self.function, config=self.config,
            job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
        )  # fmt: skip

    def checkpoint(self) -> Any:
        """The job that submitit submits again where this one is stopped before it trains."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class RemoteLauncher(Launcher, ABC):
    """Sends jobs, `n_jobs` at a time, waits for all of them, and prints a line when one ends."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config
        self.function: Any = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        queue = [self._task(number, list(words)) for number, words in enumerate(job_overrides, initial_job_idx)]
        # No process is started only to skip a finished job.
        queue = [(name, task) for name, task in queue if not self._done(name, task)]
        sent: dict[str, Any] = {}  # folder name -> job
        self.prepare()
        try:
            while queue or sent:
                while queue and len(sent) < self.settings["n_jobs"]:
                    name, task = queue.pop(0)
                    sent[name] = self.send(task)
                for name in [name for name, job in sent.items() if self.ended(job)]:
                    del sent[name]
                    self._report(name)
                time.sleep(POLL)
        finally:  # after an interrupt; the running jobs have saved
            for job in sent.values():
                self.cancel(job)
        # The results are in the jobs' folders. A failure returned here would make Hydra hide the other jobs.
        return [JobReturn(overrides=list(o), status=JobStatus.COMPLETED, _return_value=None) for o in job_overrides]

    def _task(self, number: int, words: list[str]) -> tuple[str, PackedJob]:
        config = self.context.config_loader.load_sweep_config(self.config, words)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        name = job_name(words)
        return name, PackedJob(name, self.context, config, self.function, Singleton.get_state())

    def _done(self, name: str, task: PackedJob) -> bool:
        from gan_lab.run.start import finished

        directory = RunDirectory(Path(self.config.hydra.sweep.dir) / name)
        done = finished(directory, without_hydra(task.config))
        if done:
            terminal().print(f"already finished: {directory.path}", markup=False)
        return done

    def _report(self, name: str) -> None:
        directory = RunDirectory(Path(self.config.hydra.sweep.dir) / name)
        seconds = directory.summary.get("seconds")
        duration = f", {seconds:,.0f} s" if isinstance(seconds, (int, float)) else ""
        terminal().print(f"{directory.status()}  {directory.path}{duration}", markup=False)

    @abstractmethod
    def prepare(self) -> None: ...

    @abstractmethod
    def send(self, task: PackedJob) -> Any: ...

    @abstractmethod
    def ended(self, job: Any) -> bool: ...

    @abstractmethod
    def cancel(self, job: Any) -> None: ...


class SlurmLauncher(RemoteLauncher):
    """One Slurm job for each job. At Slurm's warning the run saves, and its Slurm job is queued again."""

    def prepare(self) -> None:
        import submitit

        os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"  # the signal that a run handles
        s = self.settings
        folder = Path(self.config.hydra.sweep.dir) / ".submitit" / "%j"
        self.executor = submitit.AutoExecutor(folder=folder, cluster=s["cluster"])
        given = {"mem_gb": s["mem_gb"], "slurm_partition": s["partition"], "slurm_account": s["account"]}
        self.executor.update_parameters(
            name="gan_lab", timeout_min=s["timeout_min"], gpus_per_node=s["gpus_per_node"],
            slurm_signal_delay_s=s["warn_seconds"], slurm_setup=list(s["setup"]),
            slurm_additional_parameters=dict(s["additional"]),
            **{name: value for name, value in given.items() if value is not None},
        )  # fmt: skip

    def send(self, task: PackedJob) -> Any:
        """On one machine, one task of Slurm starts the job's processes; on several, each is a task."""
        processes, nodes = task.config.trainer.processes, self.settings["nodes"]
        tasks = processes if nodes > 1 else 1
        if self.settings["cluster"] == "local":
            nodes = 1
        self.executor.update_parameters(
            nodes=nodes,
            tasks_per_node=tasks // nodes,
            cpus_per_task=self.settings["cpus_per_task"] * processes // tasks,
        )
        return self.executor.submit(task)

    def ended(self, job: Any) -> bool:
        return bool(job.done())

    def cancel(self, job: Any) -> None:
        job.cancel()


PACKAGES = {"slurm": ("submitit", "sweep"), "ray": ("ray", "ray")}  # launcher -> the package it needs, and our extra


def check(launcher: str, conf: Any, processes: int = 1) -> None:
    """Raise ValueError where the launcher's package is missing, or a setting is out of range, or jobs do not fit."""
    package, extra = PACKAGES[launcher]
    if importlib.util.find_spec(package) is None:
        raise ValueError(f'hydra/launcher={launcher} needs {package}: pip install "hydra-gan-lab[{extra}]"')
    if conf.n_jobs < 1:
        raise ValueError(f"hydra.launcher.n_jobs={conf.n_jobs}: give 1 at least")
    if launcher == "ray":
        _check_ray(conf, processes)
    else:
        _check_slurm(conf, processes)


def _check_slurm(conf: Any, processes: int) -> None:
    if conf.cluster not in ("slurm", "local"):
        raise unknown("hydra.launcher.cluster", conf.cluster, ("slurm", "local"))
    if conf.nodes < 1 or processes % conf.nodes:
        raise ValueError(f"hydra.launcher.nodes={conf.nodes} must divide trainer.processes={processes}")
    if 0 < conf.gpus_per_node < (each := processes // conf.nodes):
        raise ValueError(
            f"hydra.launcher.gpus_per_node={conf.gpus_per_node}: a job has {each} processes on a node, which take a "
            "card each"
        )
    if conf.cluster == "slurm" and shutil.which("sbatch") is None:
        raise ValueError("hydra/launcher=slurm: there is no sbatch here; try it with hydra.launcher.cluster=local")


def _check_ray(conf: Any, processes: int) -> None:
    if 0 < conf.gpus_per_job < processes > 1:
        raise ValueError(
            f"hydra.launcher.gpus_per_job={conf.gpus_per_job:g}: a job has {processes} processes, which take a card "
            "each"
        )
    cores = conf.num_cpus or os.cpu_count() or 1
    if conf.address is None and max(conf.cpus_per_job, processes) > cores:
        raise ValueError(
            f"a job takes {max(conf.cpus_per_job, processes):g} cores, and the cluster that hydra/launcher=ray starts "
            f"here has {cores}: raise hydra.launcher.num_cpus, or give another cluster by hydra.launcher.address"
        )
