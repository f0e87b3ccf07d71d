"""Scores of a run: during training, to select a checkpoint, and at its end, with fresh noise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from gan_lab.core.runtime import inference
from gan_lab.datasets.store import Store
from gan_lab.metrics.evaluator import Scores
from gan_lab.metrics.suspects import suspects
from gan_lab.run.assembly import Assembly
from gan_lab.run.sharing import SharedScoring
from gan_lab.tracking.run_directory import SELECTION, RunDirectory

SELECTION_SEED = 1
FINAL_SEED = 2  # and the following ones; reported scores use other noise than the scores that select a checkpoint


Report = Callable[[int, Mapping[str, float | None]], str | None]  # images, scores by name -> why to prune, or None


class Pruned(Exception):
    """The trial was pruned, because others were better after as many images."""


def final_seeds(count: int, deterministic: bool = False) -> list[int]:
    """Noise seeds of the reported scores; one seed where examples depend on the data alone."""
    return list(range(FINAL_SEED, FINAL_SEED + (1 if deterministic else count)))


def examples_of(task: Any, data: Store) -> dict[str, Any]:
    """Provenance of scores of examples that are made from data: the data, and the task's conditions."""
    return {"made_from": data.digest[:16], "conditions": task.conditions}


class Scoring:
    """Computes a run's scores, and chooses its best checkpoint by the scores during training."""

    def __init__(self, assembly: Assembly, directory: RunDirectory) -> None:
        self.assembly, self.directory, self.evaluator = assembly, directory, assembly.evaluator
        self.shared = SharedScoring(assembly)
        self.selecting = self.evaluator.selecting(assembly.evaluation.select_by, assembly.evaluation.selection_samples)

    @property
    def directions(self) -> dict[str, str]:
        """For each score during training that has a direction, min or max, by its name in the records."""
        better = {name: metric.better for name, metric in self.evaluator.names.items() if metric.better}
        return {SELECTION + name: "min" if which == "lower" else "max" for name, which in better.items()}

    @property
    def final_seeds(self) -> list[int]:
        task: Any = self.assembly.game.task
        return final_seeds(self.assembly.evaluation.noise_seeds, task.deterministic)

    def while_training(self) -> Scores:
        """Scores for selection, by name. They may choose a checkpoint, so they are not reported as results."""
        return self._measure(self.assembly.evaluation.selection_samples, [SELECTION_SEED], selection=True)

    def best(self, available: Collection[int]) -> dict[str, Any] | None:
        """The best score recorded during training at one of these numbers of images; of equal ones, the newest."""
        if self.selecting is None:
            return None
        name, lower = self.selecting
        records = [r for r in self.directory.read_metrics() if r.get(SELECTION + name) is not None]
        task: Any = self.assembly.game.task
        stage = task.selects_from
        records = [r for r in records if r["images"] > stage] or records  # at its start, no network has moved in it
        records = [record for record in records if record["images"] in available]
        if not records:
            return None
        sign = -1 if lower else 1
        best = max(records, key=lambda record: (sign * record[SELECTION + name], record["images"]))
        return {"images": best["images"], "metric": name, "value": best[SELECTION + name], "selection": True}

    def at_the_end(self) -> tuple[Scores, np.ndarray | None]:
        """The reported scores, of the last weights, and a picture of the samples nearest to training pictures."""
        if not self.evaluator.metrics:
            return {}, None
        evaluation = self.assembly.evaluation
        scores = self._measure(evaluation.samples, self.final_seeds, selection=False)
        seen = self.evaluator.seen
        return scores, None if seen is None else suspects(seen)

    def _measure(self, num: int, seeds: Sequence[int], *, selection: bool) -> Scores:
        assembly = self.assembly
        task: Any = assembly.game.task
        data = assembly.example_data
        nets_at_rest = inference(assembly.sampled_nets, assembly.evaluation.batch_norm, task.warm)
        with nets_at_rest as nets, self.shared.led():
            return self.evaluator(
                lambda num, seed: self.shared.examples(nets, num, seed),
                num,
                seeds,
                **(examples_of(task, data) if task.needs_data else {}),
                images=assembly.game.images,
                selection=selection,
                weights=assembly.weights,
                batch_norm=assembly.evaluation.batch_norm,
            )
