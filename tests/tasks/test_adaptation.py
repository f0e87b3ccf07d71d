"""Domain adaptation: reversal and alternation, CDAN's map, ADDA's stages, and labels that nobody may see."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from gan_lab.cli import main
from gan_lab.core.loop import Game, play, train
from gan_lab.datasets.store import unscale
from gan_lab.run.assembly import assemble
from gan_lab.tasks.adaptation import joint
from gan_lab.tasks.contract import joined
from tests.helpers import compose
from tests.tasks.labelled import ADAPTATION, ADDA
from tests.tasks.small import changed, phase_of, weights
from tests.tasks.toys import QUICK, SCORED

PLAIN = ["optimizer/generator=sgd", "optimizer/discriminator=sgd"]


@functools.cache
def base(*words: str) -> DictConfig:
    return compose(*QUICK, *words, *PLAIN, "evaluation.metrics=[]", "evaluation.every=0", "trainer.images=64")


def game(*words: str, of: tuple[str, ...] = tuple(ADAPTATION)) -> Game:
    return assemble(changed(base(*of), words)).game


def gradients(built: Game, phase: str, *nets: str) -> dict[str, Tensor]:
    """After one move of a phase."""
    play(built, phase_of(built, phase))
    found = {name: p.grad for name, p in built.nets.named_parameters() if name.split(".")[0] in nets}
    assert all(gradient is not None for gradient in found.values())
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize("condition", ["none", "predictions"])
@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "least_squares"])
def test_reversal_and_alternation_give_the_same_gradients_at_the_same_weights(loss: str, condition: str) -> None:
    words = [f"loss={loss}", f"task.condition={condition}", "task.domain_weight=0.7"]
    together = gradients(game(*words, "task.moves=reversal"), "classifier", "features", "head", "discriminator")
    apart = gradients(game(*words), "discriminator", "discriminator")
    apart |= gradients(game(*words), "classifier", "features", "head")
    assert together.keys() == apart.keys()
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[name], msg=name)
    assert any(gradient.abs().max() > 0 for name, gradient in together.items() if name.startswith("discriminator"))


def test_a_discriminator_that_moves_first_is_the_only_difference() -> None:
    """With a discriminator that does not move, whole runs are equal."""
    together, apart = game("task.moves=reversal"), game()
    still = {id(parameter) for parameter in together.nets["discriminator"].parameters()}
    together.parameters["classifier"] = [p for p in together.parameters["classifier"] if id(p) not in still]
    apart.phases = (phase_of(apart, "classifier"),)
    runs = []
    for built in (together, apart):
        before = weights(built.nets, ["discriminator"])
        train(built, 64)
        runs.append(weights(built.nets))
        assert all(torch.equal(runs[-1][name], value) for name, value in before.items())
    for name, value in runs[0].items():
        torch.testing.assert_close(value, runs[1][name], msg=name)


def test_the_weight_rises_as_in_the_paper() -> None:
    task = game("task.ramp_images=100", "task.domain_weight=2").task
    assert task.strength(0) == 0
    assert task.strength(50) == pytest.approx(2 * 0.9866142982)  # 2 / (1 + exp(-5)) - 1
    assert task.strength(1000) == pytest.approx(2, abs=2e-4)


def test_the_map_is_the_outer_product_of_features_and_probabilities() -> None:
    features, logits = torch.randn(4, 3), torch.randn(4, 2, requires_grad=True)
    features.requires_grad_()
    product = joint(features, logits)
    p = logits.softmax(1)
    wanted = torch.stack([torch.outer(f, q).flatten() for f, q in zip(features, p, strict=True)])
    torch.testing.assert_close(product, wanted)
    product.sum().backward()
    assert logits.grad is None
    torch.testing.assert_close(features.grad, torch.ones(4, 3))  # probabilities sum to one


def test_a_weight_of_zero_learns_from_the_source_alone() -> None:
    plain, domains = game("task.domain_weight=0"), game("task.domain_weight=1")
    for built in (plain, domains):
        train(built, 64)
    alone = game("task.domain_weight=0", "dataset.planted=1")
    alone.data.columns["other"] = 255 - alone.data.columns["other"]
    train(alone, 64)
    assert same(plain, alone, "features", "head"), "the target's pictures do not matter"
    assert not same(plain, domains, "features")


def same(one: Game, other: Game, *nets: str) -> bool:
    pairs = weights(one.nets, nets), weights(other.nets, nets)
    return all(torch.equal(value, pairs[1][name]) for name, value in pairs[0].items())


@pytest.mark.parametrize("words", [(), ("task.condition=predictions",), ("task.moves=reversal",)])
def test_wrong_labels_of_the_target_change_no_bit_of_training(words: tuple[str, ...]) -> None:
    right, wrong = game(*words), game(*words, "dataset.planted=1")
    assert not torch.equal(right.data.columns["other_label"], wrong.data.columns["other_label"])
    for built in (right, wrong):
        train(built, 64)
    assert same(right, wrong)


def test_wrong_labels_of_the_target_choose_no_other_checkpoint(tmp_path: Path) -> None:
    """Only the scores that are of them change."""
    found = []
    for planted in (0, 1):
        run = tmp_path / str(planted)
        words = [*QUICK, *ADAPTATION, *SCORED, "trainer.images=64", "evaluation.every=16"]
        words += ["trainer.checkpoint_every=16"]
        assert main(["train", *words, f"dataset.planted={planted}", f"run_dir={run}"]) == 0
        found.append(json.loads((run / "summary.json").read_text()))
    one, other = (summary["best"] for summary in found)
    assert (one["images"], one["metric"]) == (other["images"], "label_free")
    assert one["value"] == pytest.approx(other["value"], rel=1e-6)  # sums of rows that lie elsewhere in memory
    one, other = ({name: entry["value"] for name, entry in summary["metrics"].items()} for summary in found)
    differ = {name for name in one if one[name] != pytest.approx(other[name], rel=1e-6)}
    assert differ <= {"target_accuracy", "source_only_bar", "coral_bar", "target_only_bar"}
    assert differ


def test_adda_copies_while_the_source_is_learned_and_then_moves_the_copy_alone() -> None:
    built = game("task.source_images=32", of=tuple(ADDA))
    before = weights(built.nets, ["features"])
    train(built, 32)
    learned = weights(built.nets, ["features"])
    assert not any(torch.equal(before[name], value) for name, value in learned.items() if name.endswith("weight"))
    for name, value in weights(built.nets, ["target_features"]).items():
        assert torch.equal(value, learned[name.removeprefix("target_")]), name
    assert not built.optimizers["target"].state
    train(built, 64)
    assert all(torch.equal(learned[name], value) for name, value in weights(built.nets, ["features"]).items())
    for name, value in weights(built.nets, ["target_features"]).items():
        assert not torch.equal(value, learned[name.removeprefix("target_")]), name


def test_examples_are_rows_of_both_domains_mixed_and_each_comes_once() -> None:
    built = game(of=tuple(ADDA))
    task, data = built.task, built.data
    whole = joined(task.examples(built.nets.eval(), 1000, 3, data))  # type: ignore[attr-defined]
    assert whole["domain"].bincount().tolist() == [24, 21]
    assert 0 < int(whole["domain"][:16].sum()) < 16
    for number, name in enumerate(("sample", "other")):
        rows = unscale(whole["sample"][whole["domain"] == number])
        assert sorted(row.numpy().tobytes() for row in rows) == sorted(
            row.numpy().tobytes() for row in data.columns[name]
        )
    for number, net in enumerate(("features", "target_features")):
        rows = whole["domain"] == number
        torch.testing.assert_close(whole["features"][rows], built.nets[net](whole["sample"][rows]))
    torch.testing.assert_close(whole["class_logits"], built.nets["head"](whole["features"]))
