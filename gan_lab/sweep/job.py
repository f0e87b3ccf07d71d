"""One job of a sweep, in a folder of its own: nothing that it does stops or falsifies another."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig


def job(config: DictConfig) -> None:
    """Hydra's task function, by reference so that workers of other processes can import it.

    A failure is in the job's summary and in the table, not in Hydra's hands: it would show the first one only. An
    interrupt ends the sweep with its exit code.
    """
    from hydra.core.hydra_config import HydraConfig

    from gan_lab import registry
    from gan_lab.run import run_job

    registry.load()  # a worker process starts without the plug-ins
    code = run_job(config, sweep=config.sweep_name or Path(HydraConfig.get().sweep.dir).name)
    if code in (130, 143):
        raise SystemExit(code)
