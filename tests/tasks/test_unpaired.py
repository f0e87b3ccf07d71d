"""CycleGAN: its objective in closed form, the pool of pictures, a side for each discriminator, and both directions."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_lab import registry
from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.core.loop import play, train
from gan_lab.core.runtime import inference
from gan_lab.run.assembly import Assembly, assemble
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.contract import joined
from gan_lab.tasks.picture_pool import PicturePool
from tests.core.toys import equal
from tests.helpers import compose
from tests.tasks.killing import kill_after
from tests.tasks.small import changed, passed, phase_of, weights
from tests.tasks.toys import QUICK, ROWWISE, SCORED, UNPAIRED

registry.load()
BASE = compose(*QUICK, *UNPAIRED, "loss=least_squares", "evaluation.metrics=[]", "evaluation.every=0")
SGD = ["optimizer/generator=sgd", "optimizer/discriminator=sgd"]


def build(*words: str) -> Assembly:
    return assemble(changed(BASE, ["trainer.images=16", *words]))


# -- what it minimizes -------------------------------------------------------------------------------------------------


def gradient_norm(objective: Tensor, nets: list[torch.nn.Module]) -> float:
    parameters = [parameter for net in nets for parameter in net.parameters()]
    found = torch.autograd.grad(objective, parameters)
    return float(torch.cat([gradient.flatten() for gradient in found]).norm())


def test_the_generators_minimize_the_papers_objective() -> None:
    """Eq. 3 and section 5.2 by hand: least squares, 7 x cycle and 3 x identity, in both directions."""
    game = build(*ROWWISE, "task.cycle_weight=7", "task.identity_weight=3").game
    nets = game.nets
    forward = passed(game, "generator")
    a, b = forward.real["a"], forward.real["b"]
    to_a, to_b = nets["b_to_a"].requires_grad_(True), nets["a_to_b"].requires_grad_(True)
    fooled = {"a": nets["discriminator_a"](to_a(b)).logits, "b": nets["discriminator_b"](to_b(a)).logits}
    adversarial = {domain: (logits - 1).square().mean() / 2 for domain, logits in fooled.items()}
    cycle = (to_a(to_b(a)) - a).abs().mean() + (to_b(to_a(b)) - b).abs().mean()
    identity = (to_a(a) - a).abs().mean() + (to_b(b) - b).abs().mean()
    expected = gradient_norm(adversarial["a"] + adversarial["b"] + 7 * cycle + 3 * identity, [to_a, to_b])
    seen = play(game, phase_of(game, "generator"))
    values = {"adversarial_a": adversarial["a"], "adversarial_b": adversarial["b"], "cycle": cycle}
    for name, value in {**values, "identity": identity}.items():
        assert float(seen[name][0]) == pytest.approx(value.item(), rel=1e-5), name
    assert float(seen["gradient_norm"][0]) == pytest.approx(expected, rel=1e-4)


def test_each_discriminator_tells_its_own_domain_from_what_was_translated_to_it() -> None:
    game = build(*ROWWISE, "task.pool_size=0", "task.discriminator_weight=0.5").game
    nets, forward = game.nets, passed(game, "discriminator")
    fakes = {"a": nets["b_to_a"](forward.real["b"]), "b": nets["a_to_b"](forward.real["a"])}
    judges = [nets[f"discriminator_{domain}"].requires_grad_(True) for domain in "ab"]
    halves = []
    for domain, net in zip("ab", judges, strict=True):
        real, fake = net(forward.real[domain]).logits, net(fakes[domain].detach()).logits
        halves.append(((real - 1).square() + fake.square()).mean() / 2)
    seen = play(game, phase_of(game, "discriminator"))
    assert [float(seen[f"adversarial_{domain}"][0]) for domain in "ab"] == pytest.approx(
        [half.item() for half in halves], rel=1e-5
    )
    expected = gradient_norm(0.5 * halves[0] + 0.5 * halves[1], judges)
    assert float(seen["gradient_norm"][0]) == pytest.approx(expected, rel=1e-4)


def test_a_weight_of_zero_leaves_a_term_out() -> None:
    game = build("task.cycle_weight=0", "task.identity_weight=0").game
    assert phase_of(game, "generator").terms.keys() == {"adversarial_a", "adversarial_b"}
    train(game, 16)


def test_the_domains_have_orders_of_their_own() -> None:
    game = build("dataset.num_of_b=24").game
    rows = {domain: game.orders[game.data.domain_of(domain)].rows(0, 24) for domain in "ab"}
    assert all(sorted(found.tolist()) == list(range(24)) for found in rows.values())
    assert not torch.equal(rows["a"], rows["b"])


LOSSES = ("non_saturating", "hinge", "wasserstein", "relativistic")


@pytest.mark.parametrize("generator", ["unet", "resnet_translator", "srresnet"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_every_translator(loss: str, generator: str) -> None:
    size = {"unet": "generator.halvings=2", "resnet_translator": "generator.blocks=1", "srresnet": "generator.blocks=1"}
    game = build(f"generator={generator}", "generator.width=4", size[generator], f"loss={loss}").game
    before = weights(game.nets)
    train(game, 8)
    still = {name for name, p in game.nets.named_parameters() if torch.equal(before[name], p)}
    assert all(name.endswith("bias") for name in still), still
    assert all(value.isfinite().all() for value in game.nets.state_dict().values())


# -- sides -------------------------------------------------------------------------------------------------------------


def test_a_regularizer_has_a_copy_for_each_domain_and_one_of_weights_has_none() -> None:
    words = ["regularizer=[r1,lecam,weight_clip,orthogonal,gradient_penalty]"]
    game = build(*words, "regularizer.r1.every=2", "regularizer.weight_clip.bound=0.5").game
    terms = {phase.name: set(phase.terms) for phase in game.phases}
    assert {"discriminator_r1_a", "discriminator_r1_b"} <= terms.keys()
    assert {"lecam_a", "lecam_b", "gradient_penalty_a", "gradient_penalty_b"} <= terms["discriminator"]
    assert "orthogonal" in terms["generator"]
    train(game, 24)
    anchors = {d: game.stateful[f"term/discriminator/lecam_{d}"].state_dict()["term.anchors"] for d in "ab"}
    assert not torch.equal(anchors["a"], anchors["b"])
    state = copy.deepcopy(game.state_dict())
    other = build(*words, "regularizer.r1.every=2", "regularizer.weight_clip.bound=0.5").game
    other.load_state_dict(state)
    for each in (game, other):
        train(each, 40)
    assert equal(game.state_dict(), other.state_dict())


def test_an_r1_of_a_side_is_the_gradient_of_its_own_discriminator() -> None:
    game = build(*ROWWISE, "regularizer=[r1]").game
    pictures = passed(game, "discriminator").real
    seen = play(game, phase_of(game, "discriminator"))
    fresh = build(*ROWWISE, "regularizer=[r1]").game
    for domain in "ab":
        x = pictures[domain].clone().requires_grad_(True)
        logits = fresh.nets[f"discriminator_{domain}"](x).logits.mean((1, 2)).sum()
        (gradient,) = torch.autograd.grad(logits, x)
        value = gradient.flatten(1).square().sum(1).mean()
        assert float(seen[f"r1_{domain}"][0]) == pytest.approx(value.item(), rel=1e-5)


# -- the pool ----------------------------------------------------------------------------------------------------------


def numbered(start: int, count: int) -> Tensor:
    return torch.arange(start, start + count).float().view(-1, 1, 1, 1)


def test_the_pool_is_the_authors() -> None:
    """Against their loop in plain Python: fill, then with probability 1/2 exchange with a random kept one."""
    pool, kept = PicturePool(5, (1, 1, 1)), []
    draws = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    expected = []
    for number, (coin, place) in enumerate(draws.tolist()):
        at = int(place * 5)
        if len(kept) < 5:
            kept.append(number)
            expected.append(number)
        elif coin < 0.5:
            expected.append(kept[at])
            kept[at] = number
        else:
            expected.append(number)
    passed_on = torch.cat([pool(numbered(i, 8), draws[i : i + 8]) for i in range(0, 40, 8)])
    assert passed_on.flatten().tolist() == expected
    assert pool.pictures.flatten().tolist() == kept
    before = copy.deepcopy(pool.state_dict())
    pool(numbered(90, 8), draws[:8], keep=False)
    assert equal(before, pool.state_dict())


def test_micro_batches_and_lazy_phases_leave_the_pool_as_whole_batches_do() -> None:
    words = [*ROWWISE, *SGD, "task.pool_size=6", "regularizer=[r2]", "regularizer.r2.every=2"]
    whole, parted = build(*words).game, build(*words, "trainer.micro_batches=2").game
    for game in (whole, parted):
        train(game, 40)
    assert int(whole.task.pool["a"].held) == 6  # type: ignore[attr-defined]
    for name, value in {**whole.nets.state_dict(), **whole.stateful["task/pool"].state_dict()}.items():
        other = {**parted.nets.state_dict(), **parted.stateful["task/pool"].state_dict()}[name]
        torch.testing.assert_close(other, value, atol=1e-5, rtol=0, msg=name)


def test_a_move_that_is_skipped_does_not_change_the_pool() -> None:
    game = build("task.pool_size=6").game
    train(game, 16)
    before = copy.deepcopy(game.stateful["task/pool"].state_dict())
    with torch.no_grad():
        next(game.nets["discriminator_a"].parameters()).fill_(torch.nan)
    seen = play(game, phase_of(game, "discriminator"))
    assert float(seen["skipped"][0]) == 1
    assert equal(before, game.stateful["task/pool"].state_dict())


def test_without_the_pool_in_the_state_a_resumed_game_would_differ() -> None:
    """The mutation check of the test of killed runs, below."""
    words = ["task.pool_size=6"]
    game = build(*words).game
    train(game, 24)
    state = copy.deepcopy(game.state_dict())
    train(game, 64)
    for forget in (False, True):
        other = build(*words).game
        empty = copy.deepcopy(other.stateful["task/pool"].state_dict())
        resumed = copy.deepcopy(state)
        if forget:
            resumed["parts"]["task/pool"] = empty
        other.load_state_dict(resumed)
        train(other, 64)
        assert equal(other.state_dict()["parts"]["task/nets"], game.state_dict()["parts"]["task/nets"]) != forget


RUN = [
    *QUICK, *UNPAIRED, *SCORED, "loss=least_squares", "task.pool_size=6", "trainer.images=64", "evaluation.every=32",
    "trainer.checkpoint_every=16", "trainer.keep_checkpoints=9", "tracking.log_every=16", "tracking.samples_every=32",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("unpaired") / "run"
    assert main(["train", *RUN, f"run_dir={path}"]) == 0
    return path


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bits_pool_included(whole: Path, tmp_path: Path) -> None:
    kill_after((32,), RUN, tmp_path)
    assert main(["train", *RUN, f"run_dir={tmp_path / '32'}"]) == 0
    state, other = (checkpoint.load_newest(run / "checkpoints") for run in (tmp_path / "32", whole))
    assert state is not None
    assert other is not None
    assert int(state["game"]["parts"]["task/pool"]["a.held"]) == 6
    assert equal(state["game"], other["game"])


# -- what comes out ----------------------------------------------------------------------------------------------------


def test_scores_of_both_directions_are_beside_the_input_as_their_bar(whole: Path) -> None:
    scores = json.loads((whole / "summary.json").read_text())["metrics"]
    assert {"psnr", "psnr_b_to_a", "psnr_bar", "l1", "l1_b_to_a", "l1_bar", "ssim", "ssim_b_to_a"} <= scores.keys()
    trained = TrainedRun(whole, "cpu")
    examples = trained.examples(99, seed=2)
    for start, name in (("", "l1"), ("reverse_", "l1_b_to_a")):
        made = (examples[f"{start}sample"].clamp(-1, 1) + 1) / 2
        truth = (examples[f"{start}target"] + 1) / 2
        assert scores[name]["value"] == pytest.approx(float((made - truth).abs().mean()), abs=1e-3)
    copied = (examples["source"] - examples["target"]).abs().mean() / 2
    assert scores["l1_bar"]["value"] == pytest.approx(float(copied), abs=1e-3)
    assert scores["l1_bar"]["bar"] == "input"


def test_without_a_truth_there_are_examples_and_no_scores_of_it() -> None:
    assembly = build("dataset.truth=false", "dataset.num_of_b=10")
    task: Any = assembly.game.task
    assert "target" not in task.columns
    assert set(task.measures) == {"fd"}
    with inference(assembly.sampled_nets, "running") as nets:
        examples = joined(task.examples(nets, 99, 0, assembly.example_data))
    assert {len(column) for column in examples.values()} == {5}, "as many as the smaller domain has"
    with inference(assembly.sampled_nets, "running") as nets, torch.no_grad():
        made = nets["b_to_a"](nets["a_to_b"](examples["source"]))
    torch.testing.assert_close(examples["cycled"], made)


def test_apply_translates_in_either_direction(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = TrainedRun(whole, "cpu")
    pixels = (np.arange(21 * 18).reshape(21, 18) * 7 % 256).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    source = torch.from_numpy(pixels).float()[None, None] / 127.5 - 1
    for direction in ("a_to_b", "b_to_a", None):
        words = ["--direction", direction] if direction else []
        out = tmp_path / str(direction)
        assert main(["apply", str(whole), str(tmp_path / "x.png"), "--out", str(out), "--device", "cpu", *words]) == 0
        with inference(trained.nets, "running") as nets:
            expected = trained.task.translate(nets, source, direction or "a_to_b")[0, 0].clamp(-1, 1).numpy()
        made = np.asarray(Image.open(out / "x.png"), dtype=np.float64)
        assert np.abs(made - (expected + 1) * 127.5).max() <= 0.5 + 1e-3
    capsys.readouterr()
    words = ["apply", str(whole), str(tmp_path / "x.png"), "--out", str(tmp_path / "no"), "--direction", "c"]
    assert main(words) == 2
    assert "--direction of task=unpaired=c: there is no such choice" in capsys.readouterr().err


def test_the_sheet_shows_each_picture_there_and_back(whole: Path, tmp_path: Path) -> None:
    assert main(["sample", str(whole), "--num", "1", "--out", str(tmp_path / "x.png")]) == 0
    assert Image.open(tmp_path / "x.png").size == (6 * 18 + 2, 18 + 2)
