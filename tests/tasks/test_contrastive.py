"""CUT: its objective in closed form, which features it compares, and who gets its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gan_lab import registry
from gan_lab.core.loop import play, train
from gan_lab.run.assembly import Assembly, assemble
from gan_lab.tasks.contrastive import at_places, encoding_layers, patch_nce
from tests.core.toys import equal
from tests.helpers import compose
from tests.tasks.small import changed, passed, phase_of, task_of, weights
from tests.tasks.toys import CONTRASTIVE, QUICK, ROWWISE

registry.load()
BASE = compose(*QUICK, *CONTRASTIVE, "loss=least_squares", "evaluation.metrics=[]", "evaluation.every=0")


def build(*words: str) -> Assembly:
    return assemble(changed(BASE, ["trainer.images=16", *words]))


# -- the term ----------------------------------------------------------------------------------------------------------


def test_nothing_known_costs_the_logarithm_of_the_places() -> None:
    same = torch.nn.functional.normalize(torch.ones(2, 9, 4), dim=-1)
    assert patch_nce(same, same, 0.07).tolist() == pytest.approx([math.log(9)] * 2)


def test_places_that_are_told_apart_cost_what_the_temperature_says() -> None:
    known = torch.eye(5).expand(3, 5, 5)
    expected = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + 4))
    assert patch_nce(known, known, 0.5).tolist() == pytest.approx([expected] * 3)
    assert patch_nce(known, known.flip(1), 0.5)[0] > 1.5 * expected


def test_a_place_is_the_vector_of_all_channels_there() -> None:
    features = torch.arange(2 * 3 * 2 * 2).float().reshape(2, 3, 2, 2)
    found = at_places(features, torch.tensor([[3, 0], [1, 1]]))
    assert found[0, 0].tolist() == features[0, :, 1, 1].tolist()
    assert found[0, 1].tolist() == features[0, :, 0, 0].tolist()
    assert found[1, 0].tolist() == features[1, :, 0, 1].tolist()


def test_the_generator_minimizes_the_papers_objective() -> None:
    """Eq. 6 by hand, with all places of each layer, whose order does not matter: 2 x PatchNCE(a) + 3 x PatchNCE(b)."""
    built = build(*ROWWISE, "task.patches=256", "task.patch_weight=2", "task.identity_weight=3")
    game, task = built.game, task_of(built)
    nets, forward = game.nets, passed(game, "generator")

    def contrast(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        found = []
        pairs = zip(task.encoded(nets["generator"], x), task.encoded(nets["generator"], y), strict=True)
        for (before, after), projection in zip(pairs, nets["projections"], strict=True):
            k, q = (projection(f.flatten(2).transpose(1, 2)) for f in (before, after))
            for row in range(len(x)):
                found.append(nn.functional.cross_entropy(q[row] @ k[row].T / 0.07, torch.arange(len(q[row]))))
        return torch.stack(found).mean()

    a, b = forward.source, forward.real
    fake = nets["generator"](a)
    fooled = (nets["discriminator"](fake).logits - 1).square().mean() / 2
    values = {"adversarial": fooled, "patches": contrast(a, fake), "identity": contrast(b, nets["generator"](b))}
    seen = play(game, phase_of(game, "generator"))
    for name, value in values.items():
        assert float(seen[name][0]) == pytest.approx(value.item(), rel=1e-4), name


def test_weights_of_zero_leave_terms_out() -> None:
    game = build("task.patch_weight=10", "task.identity_weight=0").game
    assert phase_of(game, "generator").terms.keys() == {"adversarial", "patches"}


# -- which features ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        (["generator=unet", "generator.width=4", "generator.halvings=3"], 3),
        (["generator=resnet_translator", "generator.width=4", "generator.blocks=2"], 5),
        (["generator=srresnet", "generator.width=4", "generator.blocks=2"], 5),
    ],
)
def test_the_features_are_of_the_half_that_encodes(words: list[str], layers: int) -> None:
    built = build(*words)
    task, generator = task_of(built), built.game.nets["generator"]
    assert len(task.places) == layers == len(built.game.nets["projections"])
    features = task.encoded(generator, torch.zeros(2, 1, 16, 16))
    assert [f.shape[1] for f in features] == [net.layers[0].in_features for net in built.game.nets["projections"]]
    sizes = [f.shape[2] for f in features]
    assert sizes == sorted(sizes, reverse=True)
    assert not generator._forward_hooks
    assert all(not module._forward_hooks for module in generator.modules())


def test_the_rest_of_the_network_does_not_run_for_features() -> None:
    built = build()
    ran: list[str] = []
    built.game.nets["generator"].last.register_forward_hook(lambda *_: ran.append("last"))
    task_of(built).encoded(built.game.nets["generator"], torch.zeros(2, 1, 16, 16))
    assert not ran


def test_a_generator_without_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="no convolution"):
        encoding_layers(nn.Identity(), torch.zeros(2, 1, 8, 8), 5)


# -- the game ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wasserstein", "relativistic"])
def test_every_loss_trains_it_and_it_goes_on_in_equal_bits(loss: str) -> None:
    words = [f"loss={loss}", "regularizer=[r1,lecam]", "trainer.images=32"]
    whole, halves, other = (build(*words).game for _ in range(3))
    before = weights(whole.nets)
    train(whole, 32)
    train(halves, 16)
    other.load_state_dict(halves.state_dict())
    train(other, 32)
    assert equal(whole.state_dict(), other.state_dict())
    still = {name for name, p in whole.nets.named_parameters() if torch.equal(before[name], p)}
    assert all(name.endswith("bias") for name in still), still


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["task.temperature=0"], "must be above 0"),
        (["dataset=toy_deep"], "task=contrastive wants pictures of two domains"),
        (["dataset.image_size_of_b=8"], "make them equal"),
    ],
)
def test_what_cannot_be_played_is_refused(words: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        build(*words)
