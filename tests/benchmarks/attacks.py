"""A run's classifier under attack, in one table: `python -m tests.benchmarks.attacks RUN`.

The generator of a run of task=attack and our gradient attacks, beside those of the Adversarial Robustness Toolbox
(extra `attacks`) at the run's epsilon: the share of 250 correctly classified held-out pictures that each turns, and its
seconds a picture on one thread in batches of 64. AutoAttack (Croce and Hein 2020, arXiv 2003.01690) has a row for 64 of
them, because it takes seconds a picture.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_lab.core.runtime import inference
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.gradient_attacks import fgsm, noise, pgd
from tests.art import Art

BATCH, PICTURES, SLOW = 64, 250, 64
Attack = Callable[[Tensor, Tensor], Tensor]


def correct(run: TrainedRun, classifier: Any) -> tuple[Tensor, Tensor]:
    """Held-out pictures that the classifier has right, and their classes: random ones, as data may be sorted."""
    data: Any = run.data
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[: 2 * PICTURES]
    x, label = data.fetch("sample", rows), data.fetch("label", rows)
    right = classifier(x).argmax(1) == label
    return x[right][:PICTURES], label[right][:PICTURES]


def row(name: str, attack: Attack, classifier: Any, x: Tensor, label: Tensor) -> str:
    """Name, share of the pictures that are turned, and milliseconds a picture."""
    begin, turned = time.perf_counter(), 0
    for pictures, classes in zip(x.split(BATCH), label.split(BATCH), strict=True):
        turned += int((classifier(attack(pictures, classes)).argmax(1) != classes).sum())
    return f"{name:28} {turned / len(x):.3f} of {len(x)}  {1000 * (time.perf_counter() - begin) / len(x):9.3f} ms"


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # the toolbox reports every batch
    run = TrainedRun(Path(sys.argv[1]), "cpu")
    task: Any = run.task
    bound, steps = task.bound, task.pgd_steps
    if task.goal is not None:
        sys.exit("this table is of attacks without a goal")
    with inference(run.nets, run.batch_norm) as nets:
        nets.requires_grad_(False)
        classifier = nets["classifier"]
        x, label = correct(run, classifier)
        art = Art(classifier, x, int(run.about["num_classes"]), bound)
        attacks: dict[str, Attack] = {
            "noise": lambda x, label: noise(x, bound, torch.rand_like(x)),
            "generator": lambda x, label: task.changed(nets["generator"], x),
            "fgsm": lambda x, label: fgsm(classifier, x, label, bound),
            "fgsm of the toolbox": art.fgsm,
            f"pgd, {steps} steps": lambda x, label: pgd(classifier, x, label, bound, torch.rand_like(x), steps),
            f"pgd of the toolbox, {steps} steps": lambda x, label: art.pgd(x, label, steps, starts=1),
        }
        print(f"epsilon {bound / 2:g}, pixels in [0, 1]")
        for name, attack in attacks.items():
            print(row(name, attack, classifier, x, label))
        print(row("AutoAttack of the toolbox", art.auto, classifier, x[:SLOW], label[:SLOW]), flush=True)


if __name__ == "__main__":
    main()
