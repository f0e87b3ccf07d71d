"""Packing (PacGAN): one sample a pack changes no bit, two are what joining them by hand gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gan_lab.cli import main
from gan_lab.core.loop import train
from gan_lab.run.assembly import Assembly, assemble
from gan_lab.tasks.packing import Packed, packed
from tests.core.toys import equal
from tests.helpers import compose

POINTS = ["dataset=mixture", "generator=mlp", "generator.width=8", "discriminator=mlp", "discriminator.width=8"]
PICTURES = [
    "dataset=toy_pictures", "dataset.image_channels=3", "generator=dcgan", "generator.width=4", "discriminator=dcgan",
    "discriminator.width=4", "discriminator.normalization=none",
]  # fmt: skip
SMALL = ["trainer.batch_size=8", "trainer.images=32", "trainer.device=cpu", "trainer.channels_last=false"]
KINDS = {"points": POINTS, "pictures": PICTURES}


def build(*words: str) -> Assembly:
    return assemble(compose(*SMALL, *words))


@pytest.mark.parametrize("kind", KINDS)
def test_packs_of_one_are_the_identity_bit_for_bit(kind: str) -> None:
    plain, ones = build(*KINDS[kind]), build(*KINDS[kind], "task.packing=1")
    wrapped = build(*KINDS[kind])
    wrapped.game.task.nets["discriminator"] = Packed(wrapped.game.nets["discriminator"], 1)  # the wrapper itself
    for assembly in (plain, ones, wrapped):
        assembly.game.task.judges_rows = False  # the wrapper is not known to judge rows
        train(assembly.game, 32)
    assert equal(plain.game.state_dict(), ones.game.state_dict())
    states = plain.game.nets.state_dict(), wrapped.game.nets.state_dict()
    assert [*states[0].values()]
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


def test_samples_are_joined_with_those_that_follow() -> None:
    pictures = torch.randn(6, 3, 4, 5)
    joined = packed(pictures, 2)
    assert joined.shape == (3, 6, 4, 5)
    for i in range(3):
        assert torch.equal(joined[i], torch.cat([pictures[2 * i], pictures[2 * i + 1]]))
    points = torch.randn(6, 2)
    assert torch.equal(packed(points, 3), torch.stack([points[:3].flatten(), points[3:].flatten()]))
    assert torch.equal(packed(pictures, 1), pictures)


@pytest.mark.parametrize("regularizer", ["r1", "r2"])
@pytest.mark.parametrize("kind", KINDS)
def test_packs_of_two_with_a_gradient_penalty_are_joined_by_hand(kind: str, regularizer: str) -> None:
    """Losses and gradients of D's first move, from its inner network and samples that are joined by hand."""
    game = build(*KINDS[kind], "task.packing=2", f"regularizer=[{regularizer}]", "loss=non_saturating").game
    phase = game.phases[0]
    forward = game.task.forward_pass(game, phase, 0, slice(0, 8))
    parameters = game.give_turn("discriminator")
    objective = sum(term.weight * term(forward).mean() for term in phase.terms.values())
    assert isinstance(objective, torch.Tensor)
    found = torch.autograd.grad(objective, parameters)

    judge = game.nets["discriminator"].judge
    real, fake = (
        torch.stack([torch.cat([x[i], x[i + 1]]) for i in range(0, 8, 2)]).detach()
        for x in (forward.real, forward.fake)
    )
    chosen = {"r1": real, "r2": fake}[regularizer].requires_grad_()
    real_logits, fake_logits = judge(real, None).logits, judge(fake, None).logits
    loss = torch.nn.functional.softplus(-real_logits).mean() + torch.nn.functional.softplus(fake_logits).mean()
    logits = {"r1": real_logits, "r2": fake_logits}[regularizer]
    (gradient,) = torch.autograd.grad(logits.sum(), chosen, create_graph=True)
    expected = loss + 0.5 * gradient.flatten(1).square().sum(1).mean()  # gamma / 2 with the default gamma of 1
    torch.testing.assert_close(objective, expected)
    for ours, theirs in zip(found, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_packs_do_not_depend_on_micro_batches(kind: str) -> None:
    words = [*KINDS[kind], "generator.normalization=none", "task.packing=2", "regularizer=[r1]"]
    words += ["optimizer/generator=sgd", "optimizer/discriminator=sgd"]
    whole, parts = build(*words), build(*words, "trainer.micro_batches=2")
    for assembly in (whole, parts):
        train(assembly.game, 16)
    for a, b in zip(whole.game.nets.parameters(), parts.game.nets.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("discriminator", ["patchgan", "unet", "resnet", "sagan", "biggan", "fastgan", "mlp"])
def test_any_discriminator_takes_packs(discriminator: str) -> None:
    words = [f"discriminator={discriminator}", "discriminator.width=4", "task.packing=4"]
    if discriminator == "fastgan":
        words.append("regularizer=[reconstruction]")
    assembly = build(*PICTURES[:4], *words, "trainer.images=8")
    train(assembly.game, 8)
    logits = assembly.game.task.logits(assembly.game.nets, torch.randn(11, 3, 32, 32), None)
    assert logits.shape == (2,)  # of the whole packs
    assert logits.isfinite().all()


def test_the_generator_may_know_the_class_and_the_discriminator_may_not() -> None:
    train(build(*PICTURES, "task.packing=2", "generator.conditioning=concat").game, 8)
    for conditioning in ("projection", "auxiliary"):
        with pytest.raises(ValueError, match=r"task\.packing=2 joins samples of several classes; choose "):
            build(*PICTURES, "task.packing=2", f"discriminator.conditioning={conditioning}")


@pytest.mark.parametrize(
    ("words", "rows"), [(["task.packing=3"], 8), (["task.packing=4", "trainer.micro_batches=4"], 2)]
)
def test_a_batch_that_does_not_divide_is_refused(
    words: list[str], rows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=rf"packing=.: {rows} samples are judged at once, which . does not divide"):
        build(*POINTS, *words)
    with pytest.raises(ValueError, match="does not divide"):
        packed(torch.randn(7, 2), 2)
    code = main(["train", "experiment=ring", *words, "trainer.batch_size=8", f"run_dir={tmp_path / 'run'}"])
    assert code == 2
    assert "does not divide; choose another trainer.batch_size or trainer.micro_batches" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
