"""Paired translation: every part with every other, pictures of every kind, and its objective in closed form."""

from __future__ import annotations

import itertools

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import softplus

from gan_lab import registry
from gan_lab.core.hooks import Hook
from gan_lab.core.loop import play, step, train
from gan_lab.core.runtime import inference
from gan_lab.tasks import contract
from gan_lab.tasks.contract import joined
from tests.core.toys import equal
from tests.tasks.small import build, passed, phase_of, recorded, weights
from tests.tasks.toys import PATCHES, ROWWISE, SRRESNET, UNET

registry.load()
# Those of any pictures: low_dose wants tomographic ones.
DEGRADATIONS = tuple(n for n, cls in registry.degradations.classes.items() if not registry.supplied(cls))
TRANSLATORS = tuple(n for n, cls in registry.generators.classes.items() if "input_shape" in registry.supplied(cls))
DISCRIMINATORS = tuple(  # of pictures, not of tokens
    n for n, cls in registry.discriminators.classes.items() if "vocabulary_size" not in registry.supplied(cls)
)
LOSSES = ("non_saturating", "least_squares", "hinge", "relativistic")
SMALL = {
    "unet": UNET, "srresnet": SRRESNET, "patchgan": PATCHES, "unet discriminator": ["discriminator=unet"]
}  # fmt: skip
SMALL["resnet_translator"] = ["generator=resnet_translator", "generator.width=4", "generator.blocks=1"]
SMALL["monai_unet"] = ["generator=monai_unet", "generator.width=4", "generator.halvings=1", "generator.units=1"]
SMALL["segresnet"] = ["generator=segresnet", "generator.width=8"]
SMALL["vqvae"] = ["generator=vqvae", "generator.width=4", "generator.blocks=1"]
for attending in ("sagan", "biggan", "biggan_deep"):  # attention that starts as the identity moves in the second step
    SMALL[attending] = [f"discriminator={attending}", "discriminator.width=4", "discriminator.attention=[]"]
KEEPS_SIZE, ENLARGES = ("resnet_translator",), ("vqvae",)  # and does nothing else
SMALL["unet discriminator"] += ["discriminator.width=4", "dataset.image_size=32"]  # it takes no smaller pictures


class Finite(Hook):
    """Asserts that whatever is recorded is finite."""

    def after_play(self, game, phase, seen) -> None:  # type: ignore[no-untyped-def]
        for name, tensors in seen.items():
            assert torch.stack([tensor.float().mean() for tensor in tensors]).isfinite().all(), name


def parts(generator: str, discriminator: str) -> list[str]:
    chosen = f"{discriminator} discriminator" if discriminator == "unet" else discriminator
    return [*SMALL[generator], *SMALL.get(chosen, [f"discriminator={discriminator}", "discriminator.width=4"])]


@pytest.mark.parametrize(
    ("degradation", "generator", "discriminator"),
    [
        pytest.param(
            degradation,
            generator,
            discriminator,
            marks=() if generator == "unet" or discriminator in ("patchgan", "dcgan") else pytest.mark.slow,
        )
        for degradation, generator, discriminator in itertools.product(DEGRADATIONS, TRANSLATORS, DISCRIMINATORS)
        if generator not in (KEEPS_SIZE if degradation == "super_resolution" else ENLARGES)
    ],
)
def test_every_part_translates_with_every_other(degradation: str, generator: str, discriminator: str) -> None:
    assembly = build(*parts(generator, discriminator), f"degradation={degradation}")
    game = assembly.game
    game.add(Finite())
    losses = [loss for loss in LOSSES if loss in registry.losses.classes]
    assert len(losses) >= 3
    for loss in losses:  # one after the other, by the same networks
        game.phases = tuple(game.task.phases(registry.losses.build(OmegaConf.create({"name": loss})), {}))
        before = weights(game.nets)
        step(game)
        moving = [(name, p) for name, p in game.nets.named_parameters() if ".decoders." not in name]  # a regularizer's
        still = [name for name, p in moving if torch.equal(before[name], p)]
        # D's last bias is not seen by losses of differences of logits; MONAI has biases before batch norm.
        # r3gan's blocks end in weights of zero, so that at first only these learn.
        unseen = ("discriminator", "generator.network")
        later = discriminator == "r3gan"
        assert all(name.startswith(unseen) and (later or name.endswith("bias")) for name in still), (loss, still)
    examples = made(assembly, 3)
    assert examples["sample"].shape == examples["target"].shape == (3, *assembly.dataset.sample_shape)
    assert examples["sample"].isfinite().all()


def made(assembly, num: int, seed: int = 0) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    with inference(assembly.sampled_nets, "running") as nets:
        return joined(assembly.game.task.examples(nets, num, seed, assembly.example_data))


# -- what it minimizes -------------------------------------------------------------------------------------------------


def gradient_norm(objective: Tensor, net: torch.nn.Module) -> float:
    found = torch.autograd.grad(objective, list(net.parameters()))
    return float(torch.cat([gradient.flatten() for gradient in found]).norm())


@pytest.mark.parametrize("pixel_loss", ["l1", "l2"])
def test_the_generator_minimizes_the_adversarial_loss_and_a_weighted_distance(pixel_loss: str) -> None:
    """pix2pix's eq. 4, by hand: softplus(-D(source, G(source))) + 7 |G(source) - target|."""
    game = build(*ROWWISE, "degradation=denoising", "task.pixel_weight=7", f"task.pixel_loss={pixel_loss}").game
    forward = passed(game, "generator")
    generator, discriminator = game.nets["generator"].requires_grad_(True), game.nets["discriminator"]
    fake = generator(forward.source)
    gap = fake - forward.target
    distance = (gap.abs() if pixel_loss == "l1" else gap.square()).mean()
    adversarial = softplus(-discriminator(torch.cat([forward.source, fake], 1)).logits).mean()
    expected = gradient_norm(adversarial + 7 * distance, generator)
    seen = play(game, phase_of(game, "generator"))
    assert float(seen["pixel"][0]) == pytest.approx(distance.item(), rel=1e-5)
    assert float(seen["adversarial"][0]) == pytest.approx(adversarial.item(), rel=1e-5)
    assert float(seen["gradient_norm"][0]) == pytest.approx(expected, rel=1e-4)


def test_the_discriminators_objective_is_halved() -> None:
    """As in pix2pix, section 3.3: its gradient is half of that of the plain game."""
    game = build(*ROWWISE, "degradation=denoising").game
    forward = passed(game, "discriminator")
    net = game.nets["discriminator"].requires_grad_(True)
    real, fake = (net(torch.cat([forward.source, x], 1)).logits for x in (forward.target, forward.fake.detach()))
    plain = gradient_norm((softplus(-real) + softplus(fake)).mean(), net)
    assert float(play(game, phase_of(game, "discriminator"))["gradient_norm"][0]) == pytest.approx(plain / 2, rel=1e-4)


def test_the_discriminator_sees_the_source_unless_told_otherwise() -> None:
    game = build("task.condition_discriminator=true", "dataset.image_channels=3").game
    forward = passed(game, "discriminator")
    net = game.nets["discriminator"].eval()
    shown = torch.cat([forward.condition, forward.target], 1)
    blind = torch.cat([torch.zeros_like(forward.condition), forward.target], 1)
    assert forward.condition.shape == forward.target.shape, "the source is enlarged to the target's size"
    torch.testing.assert_close(forward.with_condition(forward.target), shown)
    assert not torch.allclose(net(shown).logits, net(blind).logits)
    alone = build("task.condition_discriminator=false", "dataset.image_channels=3").game
    assert torch.equal(passed(alone, "discriminator").with_condition(forward.target), forward.target)
    assert alone.nets["discriminator"](forward.target).logits.isfinite().all()
    with pytest.raises(RuntimeError, match="channels"):
        alone.nets["discriminator"](shown)


# -- what a row's source hangs on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_micro_batches_see_the_same_sources_and_learn_the_same(degradation: str) -> None:
    words = [*ROWWISE, f"degradation={degradation}", "optimizer/generator=sgd", "optimizer/discriminator=sgd"]
    if degradation == "inpainting":
        words.append("degradation.hole=free_form")
    whole, parted = build(*words).game, build(*words, "trainer.micro_batches=2").game
    for phase in ("discriminator", "generator"):
        halves = [passed(parted, phase, rows).source for rows in (slice(0, 4), slice(4, 8))]
        assert torch.equal(passed(whole, phase).source, torch.cat(halves))
    for game in (whole, parted):
        train(game, 16)
    for name, value in whole.nets.state_dict().items():
        torch.testing.assert_close(parted.nets.state_dict()[name], value, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_a_rows_source_is_the_same_in_any_batch(degradation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"degradation={degradation}", *(["degradation.hole=free_form"] if degradation == "inpainting" else [])]
    assembly = build(*words)
    many = made(assembly, 12)
    for chunk in (1, 5):
        monkeypatch.setattr(contract, "CHUNK", chunk)
        assert equal(made(assembly, 12)["source"], many["source"])
    assert equal(made(assembly, 4)["source"], many["source"][:4])
    order, other = (made(assembly, 12, seed)["target"].flatten(1).sum(1).argsort() for seed in (0, 1))
    equally = torch.equal(many["source"][order], made(assembly, 12, 1)["source"][other])
    assert equally == (degradation == "super_resolution"), "another seed draws other noise"


@pytest.mark.parametrize("reuse", [True, False])
def test_with_reused_fakes_all_phases_of_a_step_see_one_source(reuse: bool) -> None:
    game = build("degradation=denoising", f"trainer.reuse_fakes={str(reuse).lower()}", "regularizer=[r1]").game
    passes = recorded(game)
    train(game, 16)
    steps: dict[int, list[Tensor]] = {}
    for forward in passes:
        steps.setdefault(len(steps) if forward.phase.name == "discriminator" else len(steps) - 1, [])
        steps[max(steps)].append(forward.source)
    assert [len(sources) >= 2 for sources in steps.values()] == [True, True]
    for sources in steps.values():
        assert all(torch.equal(source, sources[0]) for source in sources[1:]) == reuse
    assert not torch.equal(steps[0][0], steps[1][0])
