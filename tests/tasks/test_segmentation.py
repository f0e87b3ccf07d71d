"""Segmentation: its objective by hand, what unlabelled pictures add, how pictures are turned, and masks in files."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch.nn.functional import cross_entropy, softplus

from gan_lab import registry
from gan_lab.cli import main
from gan_lab.core.loop import play
from gan_lab.run.assembly import Assembly, assemble
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.segmentation import Segmentation
from gan_lab.tasks.segmenting import as_map, probabilities
from tests.helpers import compose
from tests.tasks.labelled import SEGMENTATION
from tests.tasks.small import changed, passed, phase_of, task_of
from tests.tasks.toys import QUICK, ROWWISE

registry.load()
TENTH = "dataset.labelled=0.25"


@functools.cache
def base() -> DictConfig:
    words = ["evaluation.metrics=[]", "evaluation.every=0", "trainer.images=32", "loss=non_saturating"]
    return compose(*QUICK, *SEGMENTATION, *ROWWISE, *words)


def build(*words: str) -> Assembly:
    return assemble(changed(base(), words))


# -- maps --------------------------------------------------------------------------------------------------------------


def test_of_two_classes_the_probability_is_the_sigmoid_of_twice_what_the_tanh_sees() -> None:
    x = torch.randn(3, 1, 4, 5)
    chance = probabilities(x.tanh())
    torch.testing.assert_close(chance[:, 1:], torch.sigmoid(2 * x))
    torch.testing.assert_close(chance.sum(1), torch.ones(3, 4, 5))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_perfect_map_is_certain_of_the_truth(classes: int) -> None:
    mask = torch.randint(0, classes, (2, 6, 7))
    chance = probabilities(as_map(mask, classes))
    assert chance.shape == (2, classes, 6, 7)
    assert torch.equal(chance.argmax(1), mask)
    assert float(chance.gather(1, mask[:, None]).min()) > 0.9999


# -- what it minimizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_the_generator_minimizes_dice_cross_entropy_and_the_adversarial_loss(classes: int) -> None:
    """By hand: 2 (1 - Dice) + 3 cross-entropy - 0.5 log D(picture, map)."""
    weights = ["task.dice_weight=2", "task.cross_entropy_weight=3", "task.adversarial_weight=0.5"]
    game = build(*weights, "task.symmetry=none", f"dataset.classes={classes}").game
    rows = game.orders[""].rows(0, game.batch_size)
    picture, mask = (game.data.fetch(name, rows, "cpu") for name in ("sample", "mask"))
    made = game.nets["generator"].requires_grad_(True)(picture)
    chance = probabilities(made)
    truth = torch.stack([mask == k for k in range(classes)], 1).float()
    both = (chance * truth)[:, 1:].sum((2, 3))
    dice = (1 - (2 * both + 1) / (chance[:, 1:].sum((2, 3)) + truth[:, 1:].sum((2, 3)) + 1)).mean()
    entropy = cross_entropy(chance.log(), mask)
    adversarial = softplus(-game.nets["discriminator"](torch.cat([picture, made], 1)).logits).mean()
    objective = 2 * dice + 3 * entropy + 0.5 * adversarial
    parameters = list(game.nets["generator"].parameters())
    norm = torch.cat([g.flatten() for g in torch.autograd.grad(objective, parameters)]).norm()
    seen = play(game, phase_of(game, "generator"))
    for name, value in (("dice", dice), ("cross_entropy", entropy), ("adversarial", adversarial)):
        assert float(seen[name][0]) == pytest.approx(value.item(), rel=1e-5), name
    assert float(seen["gradient_norm"][0]) == pytest.approx(norm.item(), rel=1e-4)


def test_in_the_supervised_stage_the_discriminator_rests() -> None:
    game = build("task.supervised_images=16").game
    assert [phase.name for phase in game.active_phases()] == ["supervised"]
    assert set(phase_of(game, "supervised").terms) == {"dice", "cross_entropy"}
    assert [phase.name for phase in game.phases if phase.active(16)] == ["discriminator", "generator"]


def test_the_discriminator_sees_pictures_beside_true_masks_and_beside_maps() -> None:
    game = build("task.symmetry=none").game
    forward = passed(game, "discriminator")
    assert torch.equal(forward.with_condition(forward.real)[:, :1], forward.data("sample"))
    assert torch.equal(forward.real[:, 0], forward.data("mask").float() * 2 - 1)
    assert forward.fake.shape == forward.real.shape


# -- pictures without masks --------------------------------------------------------------------------------------------


def test_of_pictures_without_masks_two_terms_are_added() -> None:
    game = build(TENTH).game
    assert set(phase_of(game, "generator").terms) == {
        "dice", "cross_entropy", "adversarial", "unlabelled", "self_training",
    }  # fmt: skip
    assert {name: len(game.data.columns[name]) for name in ("sample", "mask", "unlabelled")} == {
        "sample": 6, "mask": 6, "unlabelled": 18,
    }  # fmt: skip
    alone = build(TENTH, "task.unlabelled_weight=0", "task.self_training_weight=0").game
    assert set(phase_of(alone, "generator").terms) == {"dice", "cross_entropy", "adversarial"}


def test_their_pictures_are_others_and_what_is_real_stays() -> None:
    game = build(TENTH, "task.symmetry=none").game
    forward = passed(game, "generator")
    rows = game.orders["unlabelled"].rows(0, game.batch_size)
    assert torch.equal(forward.unlabelled.picture, game.data.fetch("unlabelled", rows, "cpu"))
    assert not torch.equal(forward.unlabelled.picture, forward.picture)
    assert torch.equal(forward.unlabelled.real_logits, forward.real_logits)


def test_self_training_is_cross_entropy_to_its_own_decision_where_d_is_deceived() -> None:
    """By hand, over a map of four logits a picture, of which those above the boundary count."""
    game = build(TENTH, "task.symmetry=none").game
    forward = passed(game, "generator").unlabelled
    logits = forward.fake_logits
    assert logits.dim() == 3
    expected = []
    for row in range(len(forward)):
        chance = forward.probability[row].max(0).values
        total = 0.0
        for y in range(16):
            for x in range(16):
                place = logits[row, y * logits.shape[1] // 16, x * logits.shape[2] // 16]
                total += float(-chance[y, x].log()) * float(place > 0)
        expected.append(total / 256)
    term = phase_of(game, "generator").terms["self_training"]
    assert term(passed(game, "generator")).tolist() == pytest.approx(expected, rel=1e-4)


def test_a_loss_without_a_boundary_trains_itself_only_without_that_term(tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    words = [*QUICK, *SEGMENTATION, TENTH, "loss=wasserstein", f"run_dir={tmp_path}/run", "trainer.images=8"]
    assert main(["train", *words]) == 2
    assert "no logit of this loss says that; set it to 0" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(["train", *words, "task.self_training_weight=0", "evaluation.metrics=[]"]) == 0


# -- turning -----------------------------------------------------------------------------------------------------------


def test_pictures_and_masks_are_turned_alike_and_in_all_eight_ways() -> None:
    game = build("task.symmetry=all", "trainer.batch_size=24").game
    forward = passed(game, "generator")
    rows = game.orders[""].rows(0, 24)
    pictures = game.data.fetch("sample", rows, "cpu")
    ways = set()
    for own, turned, mask in zip(pictures, forward.picture, forward.mask, strict=True):
        found = [(k, flip) for k in range(4) for flip in (False, True)
                 if torch.equal(torch.rot90(own.flip(2) if flip else own, k, (1, 2)), turned)]  # fmt: skip
        assert len(found) == 1
        ways.add(found[0])
        assert torch.equal(mask.bool(), turned[0] > 0), "the mask is where the picture is bright"
    assert len(ways) >= 7


def test_mirroring_keeps_what_is_up() -> None:
    game = build("trainer.batch_size=24").game
    forward, rows = passed(game, "generator"), game.orders[""].rows(0, 24)
    pictures = game.data.fetch("sample", rows, "cpu")
    mirrored = [bool(torch.equal(a.flip(2), b)) for a, b in zip(pictures, forward.picture, strict=True)]
    same = [bool(torch.equal(a, b)) for a, b in zip(pictures, forward.picture, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 4 < sum(mirrored) < 20


def test_oblong_pictures_are_not_turned() -> None:
    with pytest.raises(ValueError, match="16 x 32 is no square; choose mirror"):
        build("task.symmetry=all", "dataset.image_size=[16,32]")


# -- what it says of pictures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_masks_are_written_as_files_of_any_size(classes: int, tmp_path: Path) -> None:
    words = [*QUICK, *SEGMENTATION, f"dataset.classes={classes}", "trainer.images=8", "evaluation.metrics=[]"]
    assert main(["train", *words, f"run_dir={tmp_path}/run"]) == 0
    pixels = np.linspace(0, 255, 21 * 34).reshape(21, 34).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert main(["apply", f"{tmp_path}/run", f"{tmp_path}/a.png", "--out", f"{tmp_path}/out"]) == 0
    written = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    trained = TrainedRun(tmp_path / "run", "cpu")
    task = trained.task
    assert isinstance(task, Segmentation)
    source = torch.from_numpy(pixels)[None, None].float() / 127.5 - 1
    found = task.decided(task.translate(trained.nets.eval(), source))[0].numpy()
    assert np.array_equal(written, found * 255 if classes == 2 else found)


def test_the_sheet_shows_picture_truth_and_difference() -> None:
    task = task_of(build())
    examples = {
        "sample": torch.zeros(1, 1, 2, 2), "mask": torch.tensor([[[0, 1], [1, 0]]]),
        "found": torch.tensor([[[0, 1], [0, 1]]]), "pixel": torch.ones(1, 2),
    }  # fmt: skip
    content = task.sheet(examples, None).content
    tiles = [content[2:4, left : left + 2] for left in (2, 6, 10)]
    assert tiles[1].tolist() == [[[0] * 3, [255] * 3], [[255] * 3, [0] * 3]]
    assert tiles[2].tolist() == [[[0] * 3, [153] * 3], [[60, 120, 255], [230, 60, 40]]]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["dataset=toy_deep"], "task=segmentation wants pictures with masks"),
        (["task.dice_weight=0", "task.cross_entropy_weight=0"], "one of them must say what is right"),
        (["dataset.labelled=0"], "dataset.labelled=0: nothing would say what a class looks like"),
        (["generator=dcgan"], "generator=dcgan does not take input_shape"),
    ],
)
def test_what_it_refuses(words: list[str], why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own = [word for word in SEGMENTATION if not word.startswith("generator") or "generator=dcgan" not in words]
    assert main(["train", *QUICK, *own, *words, f"run_dir={tmp_path}/run"]) == 2
    error = capfd.readouterr().err
    assert why in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
