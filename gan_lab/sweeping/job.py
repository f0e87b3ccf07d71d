"""One job of a sweep, in its own folder. Its failure does not affect another job."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config.hydra_store import register_resolvers
from gan_lab.display.terminal import OutputLabel, labelled_output, terminal
from gan_lab.run.place import place
from gan_lab.run.signals import INTERRUPTED, REQUEUE_SECONDS, requeue_after
from gan_lab.sweeping import plan
from gan_lab.sweeping.interrupts import stop_signal, stop_with_sweep
from gan_lab.sweeping.study import StudyLocation
from gan_lab.tracking.run_directory import RunDirectory

REFUSED = Path(".hydra", "refused.txt")  # in a job's folder: why it could not start, also where it has an older run

# A worker process imports this module before Hydra names the job's folder there by our resolver.
register_resolvers()


def score(summary: Mapping[str, Any]) -> float | None:
    """The best score of a run during training.

    A run that diverged or failed gets the worst possible score: an infinity, or NaN where it has no score at all. None
    for a finished run without scores.
    """
    best = summary.get("best")
    if summary.get("status") == "finished":
        return float(best["value"]) if best else None
    if not best:
        return math.nan
    better = (summary.get("selection") or {}).get(best["metric"], {}).get("better")
    return {"lower": math.inf, "higher": -math.inf}.get(better, math.nan)


@dataclass(frozen=True)
class SweepJob:
    """Hydra's task function: picklable, so that a launcher can send it to other processes.

    A failure is written to the job's summary and shown in the table. It is not raised: Hydra would report only the
    first one.
    """

    labels: Mapping[str, str] = field(default_factory=dict)  # short names of the swept keys
    total: int = 1  # number of jobs
    count: int = 1  # jobs that run at a time
    threads: int | None = None  # CPU threads of a job without trainer.threads, of all its processes; None: unchanged
    study: StudyLocation | None = None  # the study of its trial
    stop: Path | None = None  # once this file exists, no job starts, and running jobs save and end
    parent: int = field(default_factory=os.getpid)
    remote: bool = False  # may run on another machine, where process ids mean nothing
    left_out: frozenset[str] = frozenset()  # folders of jobs that do not run this time

    def __call__(self, config: DictConfig) -> float | None:
        """Run the job. Returns its score, for sweepers that use one."""
        if Path(HydraConfig.get().runtime.output_dir).name in self.left_out:
            return None
        code = 2
        parent = None if self.remote else self.parent
        if os.getpid() == parent:
            self._announce()
            code = self._run(config)
            if code in INTERRUPTED:
                raise SystemExit(code)  # an interrupt ends the sweep with its exit code
        elif not (self.stop and stop_signal(self.stop, parent)):
            with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as around:
                around.enter_context(labelled_output(OutputLabel(self._name(), self.count - 1)))
                if self.stop:
                    around.enter_context(stop_with_sweep(self.stop, parent))
                code = self._run(config)
                if self.remote and requeue_after(code):
                    time.sleep(REQUEUE_SECONDS)  # Slurm ends the process here; a job that returns counts as done
        # A summary in the folder of a job that could not start belongs to an older run.
        return math.nan if code == 2 else score(RunDirectory(HydraConfig.get().runtime.output_dir).summary)

    def follow(self, config: DictConfig) -> None:
        """Be one of the job's other processes, where its launcher has started several. The first one does the rest."""
        from gan_lab.run.follower import follow

        self._prepare()
        follow(lambda: config)

    def _prepare(self) -> None:
        import torch

        from gan_lab import registry

        registry.load()  # a worker process has not imported the plug-ins
        if self.threads:  # for each job, because the previous one may have changed the number
            torch.set_num_threads(max(self.threads // place().world, 1))

    def _run(self, config: DictConfig) -> int:
        from gan_lab.run.start import run

        self._prepare()
        hydra = HydraConfig.get()
        note = Path(hydra.runtime.output_dir) / REFUSED
        note.unlink(missing_ok=True)

        def refused(why: str) -> None:
            with contextlib.suppress(OSError):  # for example a full disk: then the reason is only printed
                note.write_text(why)

        sweep = config.sweep_name or Path(hydra.sweep.dir).name
        report = self.study and self.study.reporter(Path(hydra.runtime.output_dir).name)
        return run(config, sweep=sweep, name=self._name(), refused=refused, report=report or None)

    def _name(self) -> str:
        own = plan.describe(plan.values(HydraConfig.get().overrides.task), self.labels)
        return own or f"#{HydraConfig.get().job.num + 1}"

    def _announce(self) -> None:
        if self.labels:
            of_all = f"#{HydraConfig.get().job.num + 1} of {self.total}"
            terminal().print(f"{of_all}  {self._name()}", markup=False)
