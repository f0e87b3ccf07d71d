"""One job of a sweep, in a folder of its own: nothing that it does stops or falsifies another."""

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
from gan_lab.run.signals import INTERRUPTED, REQUEUE_SECONDS, requeue_after
from gan_lab.sweep import plan
from gan_lab.sweep.interrupts import stop_with_sweep, stop_signal
from gan_lab.sweep.study import StudyLocation
from gan_lab.tracking.run_directory import RunDirectory

REFUSED = Path(".hydra", "refused.txt")  # in a job's folder: why it could not start, though an older run lies there

# A worker process imports this module before Hydra names the job's folder there by our resolver.
register_resolvers()


def score(summary: Mapping[str, Any]) -> float | None:
    """The best score that a run has seen while it trained; the worst there is where it diverged or failed.

    That is NaN where it never came to a score, and None for a finished run that is not scored.
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

    A failure is in the job's summary and in the table, not in Hydra's hands: it would show the first one only.
    """

    labels: Mapping[str, str] = field(default_factory=dict)  # the swept keys, as a person wants to read them
    total: int = 1  # how many jobs there are
    count: int = 1  # how many of them run at a time
    threads: int | None = None  # for a job that leaves trainer.threads to the machine; None: it stays as it is
    study: StudyLocation | None = None  # that its trial belongs to
    stop: Path | None = None  # once this file is there, no job begins and running ones save and end
    parent: int = field(default_factory=os.getpid)
    remote: bool = False  # perhaps on another machine, where process numbers mean nothing
    left_out: frozenset[str] = frozenset()  # folders of jobs that do not run this time

    def __call__(self, config: DictConfig) -> float | None:
        """Run it. Returns its score, for sweepers that want one."""
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
                    time.sleep(REQUEUE_SECONDS)  # Slurm ends it here; were it to return, it would count as done
        # One that could not start has somebody else's summary, if any.
        return math.nan if code == 2 else score(RunDirectory(HydraConfig.get().runtime.output_dir).summary)

    def _run(self, config: DictConfig) -> int:
        import torch

        from gan_lab import registry
        from gan_lab.run.start import run

        registry.load()  # a worker process starts without the plug-ins
        if self.threads:  # again for each job: the one before may have set its own
            torch.set_num_threads(self.threads)
        hydra = HydraConfig.get()
        note = Path(hydra.runtime.output_dir) / REFUSED
        note.unlink(missing_ok=True)

        def refused(why: str) -> None:
            with contextlib.suppress(OSError):  # a full disk, say: then the terminal alone has heard it
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
