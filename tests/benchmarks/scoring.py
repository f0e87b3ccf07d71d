"""Scoring samples: against torch_fidelity.calculate_metrics, and as a share of the default run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import torch_fidelity
from omegaconf import OmegaConf

from gan_lab import registry
from gan_lab.core.loop import train
from gan_lab.core.runtime import inference
from gan_lab.datasets.store import scale
from gan_lab.metrics.evaluator import Evaluator, Example
from tests.benchmarks.measure import Goal, Result, build, seconds
from tests.fidelity import Pictures, register

SAMPLES, STEPS = 10_000, 25
SAME = ["fd", "kd", "inception_score", "precision", "recall"]  # what torch-fidelity computes, too


def evaluator(name: str, metrics: list[str] | None) -> tuple[Evaluator, object]:
    dataset = registry.datasets.build(OmegaConf.create({"name": name}))
    extractor = registry.feature_extractors.build(
        OmegaConf.create({"name": "auto"}), dataset=dataset, sample_shape=dataset.sample_shape
    )
    return Evaluator(dataset, lambda: dataset.load("train"), extractor, metrics), dataset


def fidelity(rounds: int) -> Result:
    """10,000 pictures of Fashion-MNIST, the features of the data cached: ours of all 60,000, theirs of 10,000."""
    registry.load()
    ours, dataset = evaluator("fashion_mnist", SAME)
    everything, _ = evaluator("fashion_mnist", None)
    pictures = dataset.load("test").columns["sample"][:SAMPLES]  # type: ignore[attr-defined]
    known = dataset.load("train").columns["sample"][:SAMPLES]  # type: ignore[attr-defined]
    result = Result("scoring", "s", "torch-fidelity's seconds / ours", Goal("at least", 1))

    def draw(num: int, seed: int) -> Iterator[Example]:
        for part in pictures[:num].split(64):
            yield {"sample": scale(part)}

    with tempfile.TemporaryDirectory() as cache:
        words = {
            "input1": Pictures(pictures), "input2": Pictures(known), "fid": True, "kid": True, "isc": True, "prc": True,
            "cuda": False, "verbose": False, "cache_root": cache, "input2_cache_name": "known", "batch_size": 128,
            "feature_extractor": register("clothes", ours.extractor),  # type: ignore[arg-type]
        }  # fmt: skip
        torch_fidelity.calculate_metrics(**words)
        _ = ours.reference, everything.reference.held_out_distances
        every = []
        for _ in range(rounds):
            theirs = seconds(lambda: torch_fidelity.calculate_metrics(**words))
            own = seconds(lambda: ours(draw, SAMPLES, [0]))
            every.append(seconds(lambda: everything(draw, SAMPLES, [0])))
            result.add(own, theirs, theirs / own)
    result.notes.append(f"all twelve measures take {sorted(every)[len(every) // 2]:.1f} s")
    return result


def share(rounds: int) -> Result:
    """Scoring while the default experiment trains: seconds of its scores over seconds of its steps."""
    assembly = build("experiment=dcgan_mnist5k", log_every=10 * 64)
    game, evaluation = assembly.game, assembly.evaluation
    result = Result("scoring_share", "s", "scoring / training between two scores", Goal("at most", 0.05))
    steps = evaluation.every // game.batch_size
    _ = assembly.evaluator.reference.held_out_distances

    def score() -> None:
        with inference(assembly.sampled_nets, evaluation.batch_norm) as nets:
            number = evaluation.selection_samples
            assembly.evaluator(lambda num, seed: game.task.examples(nets, num, seed), number, [1])

    train(game, game.batch_size)
    for _ in range(rounds):
        training = seconds(lambda: train(game, game.images + STEPS * game.batch_size)) * steps / STEPS
        scoring = seconds(score)
        result.add(scoring, training, scoring / training)
    result.notes.append(f"training time is that of {STEPS} steps times {steps / STEPS:g}")
    return result
