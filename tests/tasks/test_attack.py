"""AdvGAN: bounded changes, what is attacked, the defence, and the gradient attacks that it is compared with."""

from __future__ import annotations

import functools

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from gan_lab.core.loop import Game, train
from gan_lab.run.assembly import assemble
from gan_lab.tasks.attack import leads
from gan_lab.tasks.contract import joined
from gan_lab.tasks.gradient_attacks import fgsm, noise, pgd, within
from tests.art import Art
from tests.helpers import compose
from tests.tasks.labelled import ATTACK
from tests.tasks.small import changed, passed, phase_of, weights
from tests.tasks.toys import QUICK


@functools.cache
def base() -> DictConfig:
    return compose(*QUICK, *ATTACK, "evaluation.metrics=[]", "evaluation.every=0", "trainer.images=96")


def game(*words: str) -> Game:
    return assemble(changed(base(), words)).game


class Linear(nn.Module):
    """Three classes of pictures of one pixel: logits w x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 0.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) * self.w


X, LABEL = torch.tensor([0.5, -0.5, 0.9]).reshape(3, 1, 1, 1), torch.tensor([0, 2, 0])


def test_fgsm_of_a_linear_classifier_is_a_full_step_against_its_class() -> None:
    torch.testing.assert_close(fgsm(Linear(), X, LABEL, 0.2).flatten(), torch.tensor([0.3, -0.3, 0.7]))
    goal = torch.tensor([2, 0, 2])
    torch.testing.assert_close(fgsm(Linear(), X, LABEL, 0.2, goal).flatten(), torch.tensor([0.3, -0.3, 0.7]))
    torch.testing.assert_close(fgsm(Linear(), X, LABEL, 2.0).flatten(), torch.tensor([-1.0, 1.0, -1.0]))


@pytest.mark.parametrize("start", [0.0, 0.5, 0.999])
def test_pgd_of_a_linear_classifier_reaches_the_border_from_any_start(start: float) -> None:
    found = pgd(Linear(), X, LABEL, 0.2, torch.full_like(X, start), steps=5)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.3, -0.3, 0.7]))


def test_no_attack_leaves_the_bound_or_the_range() -> None:
    x, uniform = torch.rand(8, 1, 4, 4) * 2 - 1, torch.rand(8, 1, 4, 4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    label = torch.zeros(8, dtype=torch.long)
    for made in (fgsm(net, x, label, 0.6), pgd(net, x, label, 0.6, uniform, 3), noise(x, 0.6, uniform)):
        assert (made - x).abs().max() <= 0.6 + 1e-6
        assert made.abs().max() <= 1
    assert within(x + 9, x, 0.1).sub(x).max() <= 0.1 + 1e-6
    assert all(parameter.grad is None for parameter in net.parameters())


def test_pgd_is_stronger_than_fgsm_by_the_loss() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 3))
    x, label = torch.rand(64, 1, 4, 4) * 2 - 1, torch.randint(3, (64,))
    losses = [
        nn.functional.cross_entropy(net(made), label)
        for made in (x, fgsm(net, x, label, 0.6), pgd(net, x, label, 0.6, torch.rand_like(x), 20))
    ]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("goal", [None, 3])
def test_attacks_are_those_of_the_toolbox(goal: int | None) -> None:
    """The Adversarial Robustness Toolbox as the oracle, of FGSM and of PGD from the pictures themselves."""
    pytest.importorskip("art", reason="the extra attacks is not installed")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(288, 5)).eval()
    x, label, middle = torch.rand(32, 1, 8, 8) * 2 - 1, torch.randint(5, (32,)), torch.full((32, 1, 8, 8), 0.5)
    wanted = None if goal is None else torch.full_like(label, goal)
    theirs = Art(net, x, 5, 0.2)
    aim = label if wanted is None else wanted
    torch.testing.assert_close(fgsm(net, x, label, 0.2, wanted), theirs.fgsm(x, aim, wanted is not None))
    torch.testing.assert_close(pgd(net, x, label, 0.2, middle, 7, wanted), theirs.pgd(x, aim, 7, 0, wanted is not None))


def test_the_lead_is_over_the_best_of_the_others() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    assert leads(logits, torch.tensor([0, 1])).tolist() == [1.0, -2.0]


@pytest.mark.parametrize("goal", [None, 1])
def test_the_margin_is_paid_until_the_classifier_errs_by_it(goal: int | None) -> None:
    built = game(f"task.goal={'null' if goal is None else goal}", "task.margin=0.25")
    built.images = 16
    forward = passed(built, "generator")
    value = phase_of(built, "generator").terms["fool"](forward)
    aim = forward.label if goal is None else torch.full_like(forward.label, goal)
    lead = leads(forward.attacked_logits, aim) * (1 if goal is None else -1)
    torch.testing.assert_close(value, lead.clamp(min=-0.25))


def test_the_hinge_is_of_pixels_between_nought_and_one() -> None:
    built = game("task.norm=0.0", "task.epsilon=0.5")
    forward = passed(built, "generator")
    value = phase_of(built, "generator").terms["norm"](forward)
    norm = ((forward.changed - forward.clean) / 2).flatten(1).square().sum(1).sqrt()
    torch.testing.assert_close(value, norm)
    assert (value > 0).any()


def test_each_stage_moves_its_own() -> None:
    built = game("task.defence=[48,64]")
    moved = []
    for images in (16, 48, 64, 80):
        before = weights(built.nets)
        train(built, images)
        after = weights(built.nets)
        moved.append({name.split(".")[0] for name in after if not torch.equal(before[name], after[name])})
    game_of_two = {"generator", "discriminator"}
    assert moved == [{"classifier", "witness"}, game_of_two, game_of_two | {"classifier"}, game_of_two]


def test_examples_are_within_epsilon_of_their_sources() -> None:
    built = game("task.epsilon=0.25")
    task, data = built.task, built.data
    examples = joined(task.examples(built.nets.eval(), 10, 0, data))  # type: ignore[attr-defined]
    change = examples["sample"] - examples["source"]
    assert 0 < change.abs().max() <= 0.5 + 1e-6
    assert examples["goal"].eq(-1).all()
    torch.testing.assert_close(examples["attacked_logits"], built.nets["classifier"](examples["sample"]))
