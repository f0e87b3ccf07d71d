"""Seconds a picture of the attacks on a run's classifier: `python -m tests.benchmarks.attacks RUN`.

One thread, batches of 64, the median of five; the generator's, FGSM's, and PGD's with the run's number of steps.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gan_lab.core.runtime import inference
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.gradient_attacks import fgsm, pgd

BATCH = 64


def seconds(attack: Callable[[], object]) -> float:
    """Seconds a picture, the median of five batches after one that does not count."""
    found = []
    for _ in range(6):
        start = time.perf_counter()
        attack()
        found.append((time.perf_counter() - start) / BATCH)
    return statistics.median(found[1:])


def main() -> None:
    torch.set_num_threads(1)
    run = TrainedRun(Path(sys.argv[1]), "cpu")
    assert run.data is not None
    x, label = run.data.fetch("sample", torch.arange(BATCH)), run.data.fetch("label", torch.arange(BATCH))
    bound, steps = run.task.bound, run.task.pgd_steps
    with inference(run.nets, run.batch_norm) as nets:
        nets.requires_grad_(False)
        classifier, uniform = nets["classifier"], torch.rand_like(x)
        attacks: dict[str, Callable[[], object]] = {
            "generator": lambda: run.task.changed(nets["generator"], x),
            "fgsm": lambda: fgsm(classifier, x, label, bound),
            f"pgd, {steps} steps": lambda: pgd(classifier, x, label, bound, uniform, steps),
        }
        for name, attack in attacks.items():
            print(f"{name:14} {1000 * seconds(attack):.3f} ms a picture")


if __name__ == "__main__":
    main()
