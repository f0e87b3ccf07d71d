"""Regularizers: each against its equation, worked out by hand or in numpy; then what must hold for all of them."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gan_lab import registry
from gan_lab.augment.diffaugment import DiffAugment
from gan_lab.augment.plain import Identity
from gan_lab.core import checkpoint
from gan_lab.core.loop import Game, play, step, train
from gan_lab.core.runtime import Runtime
from gan_lab.core.types import DiscriminatorOutput, Phase
from gan_lab.datasets.store import Store
from gan_lab.discriminators.mlp import MLPDiscriminator
from gan_lab.generators.mlp import MLPGenerator
from gan_lab.losses import NonSaturating
from gan_lab.regularizers.consistency import BalancedConsistency, Consistency, LatentConsistency
from gan_lab.regularizers.gradients import DRAGAN, R1, R2, GradientPenalty, gamma_of
from gan_lab.regularizers.paths import PathLength
from gan_lab.regularizers.predictions import FeatureMatching, LeCam, Reconstruction
from gan_lab.regularizers.weights import Orthogonal, WeightClip, overlap
from gan_lab.tasks.generation import Generation
from tests.core.toys import equal, make_game

registry.load()
ALL = registry.regularizers.classes
SHAPE = (1, 6, 6)
DOUBLE = torch.float64


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


# -- gradient penalties, of D(x) = x^T A x / 2, whose gradient is S x with S = (A + A^T) / 2 ---------------------------


def quadratic(x: Tensor, a: Tensor, map_size: int | None = None) -> DiscriminatorOutput:
    logits = (x @ a * x).sum(1) / 2
    return DiscriminatorOutput(logits[:, None].expand(-1, map_size) if map_size else logits)


def symmetric() -> Tensor:
    a = random(5, 5)
    return ((a + a.T) / 2).requires_grad_()


@pytest.mark.parametrize("map_size", [None, 6])
@pytest.mark.parametrize(("kind", "which"), [(R1, "real"), (R2, "fake")])
def test_r1_and_r2_of_a_quadratic(kind: Any, which: str, map_size: int | None) -> None:
    a, x = symmetric(), random(9, 5, seed=1).requires_grad_()
    forward = SimpleNamespace(**{which: x, f"{which}_logits": quadratic(x, a, map_size).logits})
    term = kind(gamma=0.8)
    assert term.probes == {which}
    value = term(forward)
    torch.testing.assert_close(value, (x @ a).square().sum(1))
    assert term.weight == 0.4
    (term.weight * value.mean()).backward()
    # It is differentiated twice, and this checks its graph: d/dA of gamma/2 mean |S x|^2 is the symmetric part of
    # gamma mean (S x) x^T.
    outer = 0.8 * (x @ a).T @ x / 9
    torch.testing.assert_close(a.grad, ((outer + outer.T) / 2).detach())


def seen_by_penalty(a: Tensor, drawn: Tensor) -> SimpleNamespace:
    """A pass that lets a penalty draw `drawn`, and notes what D was shown."""
    shown: list[Any] = []

    def judge(x: Tensor, label: Any, stream: str) -> DiscriminatorOutput:
        shown.append((x, label, stream))
        return quadratic(x, a)

    return SimpleNamespace(
        real=random(9, 5, seed=1),
        fake=random(9, 5, seed=2),
        real_label="real ones",
        draw=lambda stream, *shape, kind="normal": drawn,
        probe=lambda name, x: x.detach().requires_grad_(),
        judge=judge,
        shown=shown,
    )


@pytest.mark.parametrize(
    ("term", "lower"),
    [
        (GradientPenalty(target=1.5), -np.inf),
        (GradientPenalty(target=1.5, one_sided=True), 0.0),
        (DRAGAN(target=1.5, noise=0.3), -np.inf),
    ],
)
def test_gradient_penalties_of_a_quadratic(term: Any, lower: float) -> None:
    interpolates = isinstance(term, GradientPenalty)
    drawn = torch.rand(9, 1, dtype=DOUBLE) if interpolates else random(9, 5, seed=3)
    a = symmetric()
    forward = seen_by_penalty(a, drawn)
    value = term(forward)
    real, fake, s = forward.real.numpy(), forward.fake.numpy(), a.detach().numpy()
    x = drawn.numpy() * real + (1 - drawn.numpy()) * fake if interpolates else real + 0.3 * drawn.numpy()
    norm = np.linalg.norm(x @ s, axis=1)
    excess = np.maximum(norm - 1.5, lower)
    assert (norm < 1.5).any(), "one-sided and two-sided ones would be the same"
    ((shown, label, _),) = forward.shown
    np.testing.assert_allclose(shown.detach().numpy(), x)
    assert label == "real ones"
    np.testing.assert_allclose(value.detach().numpy(), excess**2, rtol=1e-10)
    value.mean().backward()
    # d/dS of (|S x| - t)^2 is 2 (|S x| - t) / |S x| (S x) x^T.
    outer = (2 * excess / norm)[:, None, None] * (x @ s)[:, :, None] * x[:, None, :]
    outer = outer.mean(0)
    np.testing.assert_allclose(a.grad.numpy(), (outer + outer.T) / 2, rtol=1e-8)
    assert term.weight == 10


@pytest.mark.parametrize("term", [GradientPenalty(), DRAGAN()])
def test_a_gradient_of_zero_is_penalized_and_harmless(term: Any) -> None:
    a = torch.zeros(5, 5, dtype=DOUBLE, requires_grad=True)
    value = term(seen_by_penalty(a, torch.zeros(9, 1, dtype=DOUBLE)))
    assert torch.equal(value, torch.ones(9, dtype=DOUBLE))
    value.sum().backward()
    assert a.grad.isfinite().all()


# -- D's predictions and features --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4,), (4, 3, 2)])
def test_feature_matching_is_the_squared_distance_of_means(size: tuple[int, ...]) -> None:
    real, fake = random(7, *size).requires_grad_(), random(7, *size, seed=1).requires_grad_()
    early = random(7, 2)
    outputs = [DiscriminatorOutput(random(7), features=(early, last)) for last in (real, fake)]
    value = FeatureMatching()(SimpleNamespace(real_output=outputs[0], fake_output=outputs[1]))
    distance = real.detach().numpy().mean(0) - fake.detach().numpy().mean(0)
    np.testing.assert_allclose(value.item(), np.sum(distance**2), rtol=1e-6)
    value.backward()
    assert real.grad is None
    np.testing.assert_allclose(fake.grad.numpy(), np.broadcast_to(-2 * distance / 7, fake.shape), rtol=1e-5)


def test_reconstruction_sums_the_mean_differences_of_what_was_made_and_what_was_seen() -> None:
    made, seen = [random(3, 1, 4, 4, seed=i) for i in (0, 1)], [random(3, 1, 4, 4, seed=i) for i in (2, 3)]
    asked: list[Any] = []

    def reconstruct(features: Any, choice: Tensor) -> list[tuple[Tensor, Tensor]]:
        asked.append((features, choice))
        return list(zip(made, seen, strict=True))

    forward = SimpleNamespace(
        real_output=DiscriminatorOutput(torch.zeros(3), features=(seen[0],)),
        draw=lambda stream, kind: torch.tensor([0.1, 0.2, 0.3]),
        net=lambda name: SimpleNamespace(reconstruct=reconstruct),
    )
    term = Reconstruction(weight=0.5)
    assert (term.weight, term.player, term.needs) == (0.5, "discriminator", {"reconstruction"})
    expected = sum((a - b).abs().mean((1, 2, 3)) for a, b in zip(made, seen, strict=True))
    torch.testing.assert_close(term(forward), expected, check_dtype=False)
    assert torch.equal(asked[0][1], torch.tensor([0.1, 0.2, 0.3]))


def logits_of_step(n: int, rows: slice = slice(0, 6)) -> SimpleNamespace:
    real, fake = (random(6, 2, seed=10 * n + i).float() + i for i in range(2))
    return SimpleNamespace(
        real_logits=real[rows].requires_grad_(),
        fake_logits=fake[rows].requires_grad_(),
        rows=rows,
        game=SimpleNamespace(runtime=Runtime()),
    )


def test_lecam_pulls_logits_to_the_other_sides_past_mean() -> None:
    term, decay = LeCam(decay=0.8), 0.8
    means: list[Tensor] = []
    for n in range(6):
        forward = logits_of_step(n)
        value = term(forward)
        real, fake = forward.real_logits, forward.fake_logits
        if n == 0:
            assert torch.equal(value, torch.zeros(6)), "there is nothing yet to be held against"
        else:
            weights = torch.tensor([decay ** (n - 1 - i) for i in range(n)])  # the newest has the weight 1
            a_real, a_fake = (weights[:, None] * torch.stack(means)).sum(0) / weights.sum()
            expected = (real - a_fake).square().mean(1) + (fake - a_real).square().mean(1)
            torch.testing.assert_close(value, expected)
            value.mean().backward()
            torch.testing.assert_close(real.grad, 2 * (real - a_fake).detach() / 12)
        term.after_step(forward)
        means.append(torch.stack([real.detach().mean(), fake.detach().mean()]))
    assert term.weight == 0.3
    with pytest.raises(ValueError, match=r"decay=1\.0"):
        LeCam(decay=1.0)


def test_lecam_takes_a_step_in_once_however_often_it_is_asked() -> None:
    once, often = LeCam(), LeCam()
    for n in range(3):
        once(logits_of_step(n))
        for rows in (slice(0, 3), slice(3, 6), slice(3, 6)):
            forward = logits_of_step(n, rows)
            often(forward)
        for term in (once, often):
            term.after_step(forward)
    torch.testing.assert_close(often.anchors, once.anchors)
    assert often.steps == once.steps == 3


def test_lecam_forgets_logits_that_are_not_finite() -> None:
    term = LeCam()
    kept = []
    for n, poison in enumerate((float("inf"), 0.0, float("nan"), 0.0)):
        forward = logits_of_step(n)
        forward.real_logits = forward.real_logits + poison
        term(forward)
        term.after_step(forward)
        kept.append((term.anchors.clone(), term.steps.item()))
    assert [steps for _, steps in kept] == [0, 1, 1, 2]
    assert torch.equal(kept[1][0], kept[2][0])
    assert kept[3][0].isfinite().all()


# -- weights -----------------------------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """Every kind of weight that an orthogonality penalty must know."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide, self.tall = nn.Linear(6, 3), nn.Linear(3, 7)
        self.conv, self.up = nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(2, 4, 3)
        self.normalized = spectral_norm(nn.Linear(4, 4))
        self.table, self.normalized_table = nn.Embedding(5, 4), spectral_norm(nn.Embedding(5, 4))
        self.norm, self.frozen = nn.BatchNorm2d(4), nn.Linear(4, 4)
        self.frozen.requires_grad_(False)


def orthogonal_value(net: Mixed, term: Orthogonal) -> Tensor:
    learned = [p for p in net.parameters() if p.requires_grad]
    game = SimpleNamespace(
        nets={"a": net},
        task=SimpleNamespace(players={"discriminator": ["a"]}),
        parameters={"discriminator": learned},
    )
    return term(SimpleNamespace(game=game))


def test_orthogonal_is_the_sum_of_squared_inner_products_of_different_filters() -> None:
    net = Mixed()
    weights = [net.wide.weight, net.tall.weight, net.conv.weight, net.up.weight.transpose(0, 1)]
    weights.append(net.normalized.parametrizations.weight.original)
    total, gradient = 0.0, {}
    for i, weight in enumerate(weights):
        rows = weight.detach().double().flatten(1).numpy()
        pairs = itertools.permutations(range(len(rows)), 2)
        total += sum(float(rows[a] @ rows[b]) ** 2 for a, b in pairs)
        # The gradient in closed form: 4 (W W^T * (1 - I)) W for filters that are rows.
        gradient[i] = 4 * (rows @ rows.T * (1 - np.eye(len(rows)))) @ rows
    value = orthogonal_value(net, Orthogonal(player="discriminator"))
    assert value.item() == pytest.approx(total, rel=1e-5)
    value.backward()
    for i, weight in enumerate((net.wide.weight, net.tall.weight, net.conv.weight)):
        np.testing.assert_allclose(weight.grad.flatten(1).numpy(), gradient[i], atol=1e-5)
    np.testing.assert_allclose(net.up.weight.grad.transpose(0, 1).flatten(1).numpy(), gradient[3], atol=1e-5)
    assert all(p.grad is None for module in (net.table, net.normalized_table, net.frozen) for p in module.parameters())


def test_orthogonal_is_zero_for_orthogonal_filters_and_exact_in_low_precision() -> None:
    assert overlap(torch.linalg.qr(random(8, 8))[0][:5]).item() == pytest.approx(0, abs=1e-20)
    net, term = Mixed(), Orthogonal(player="discriminator")
    with torch.autocast("cpu", torch.bfloat16):
        low = orthogonal_value(net, term)
    assert torch.equal(low, orthogonal_value(net, term))
    with pytest.raises(ValueError, match="the discriminator learns no weight"):
        orthogonal_value(net.requires_grad_(False), term)


def test_weight_clip_clamps_d_after_each_of_its_steps_and_nothing_else() -> None:
    clipped, free = tiny({"clip": WeightClip(bound=0.05)}), tiny({})
    for game in (clipped, free):
        play(game, game.phases[0])
    for p, q in zip(clipped.parameters["discriminator"], free.parameters["discriminator"], strict=True):
        assert torch.equal(p, q.clamp(-0.05, 0.05))
    assert max(p.abs().max() for p in free.parameters["discriminator"]) > 0.05
    assert equal(clipped.nets["generator"].state_dict(), free.nets["generator"].state_dict())
    lazy = tiny({"clip": WeightClip(bound=0.05), "r1": R1(gamma=50.0, every=2)})
    step(lazy)
    assert max(p.abs().max() for p in lazy.parameters["discriminator"]) <= 0.05


# -- consistency -------------------------------------------------------------------------------------------------------


def moved_by_hand(images: np.ndarray, numbers: np.ndarray, flip: float, shift: int) -> np.ndarray:
    result = []
    for image, (u, v, w) in zip(images, numbers, strict=True):
        down, right = (int(np.floor(x * (2 * shift + 1))) - shift for x in (u, v))
        frame = np.pad(
            image[:, :, ::-1] if w < flip else image, ((0, 0), (shift, shift), (shift, shift)), mode="reflect"
        )
        top, left = shift - down, shift - right
        result.append(frame[:, top : top + image.shape[1], left : left + image.shape[2]])
    return np.stack(result)


def judged(weights: Tensor, map_size: int | None = None) -> Any:
    """D(x) = weights . x, or a map whose mean that is."""

    def judge(x: Tensor, label: Any, stream: str) -> DiscriminatorOutput:
        logits = (x.double() * weights).flatten(1).sum(1)
        slope = torch.linspace(-1, 1, map_size or 1, dtype=DOUBLE)
        return DiscriminatorOutput(logits[:, None] + slope if map_size else logits)

    return judge


@pytest.mark.parametrize("map_size", [None, 5])
def test_consistency_compares_an_image_with_itself_moved(map_size: int | None) -> None:
    weights = random(*SHAPE, seed=4)
    numbers = {name: torch.rand(8, 3, generator=torch.Generator().manual_seed(i)) for i, name in enumerate(("a", "b"))}
    streams = {"cr/real": "a", "bcr/real": "a", "bcr/fake": "b"}
    judge = judged(weights, map_size)
    real, fake = random(8, *SHAPE), random(8, *SHAPE, seed=1)
    forward = SimpleNamespace(
        real=real,
        fake=fake,
        real_label=None,
        fake_label=None,
        judge=judge,
        draw=lambda stream, *shape, kind: numbers[streams[stream]],
        real_logits=judge(real, None, "real").logits,
        fake_logits=judge(fake, None, "fake").logits,
    )
    gap = {}
    for name, images in (("a", real.numpy()), ("b", fake.numpy())):
        difference = images - moved_by_hand(images, numbers[name].numpy(), 0.5, 3)
        gap[name] = (difference * weights.numpy()).sum((1, 2, 3)) ** 2
    np.testing.assert_allclose(Consistency(6, shift=3)(forward).numpy(), gap["a"], rtol=1e-9)
    np.testing.assert_allclose(BalancedConsistency(6, shift=3)(forward).numpy(), gap["a"] + gap["b"], rtol=1e-9)
    with pytest.raises(ValueError, match=r"regularizer\.cr\.shift=6 must be smaller"):
        Consistency((6, 9), shift=6)


def test_augmentation_draws_alike_for_both_of_a_pair() -> None:
    """With a T that does nothing there is nothing to penalize, whatever D's augmentation does."""
    still: dict[str, Any] = {"flip": 0.0, "shift": 0}
    parts = {"cr": Consistency(6, **still), "bcr": BalancedConsistency(6, **still)}
    game = tiny(parts, augment=DiffAugment(6))
    values = play(game, game.phases[0])
    assert values["cr"] == values["bcr"] == [0]


def test_zcr_pulls_d_together_and_pushes_g_apart_at_near_latents() -> None:
    """With G(z) = z M and D(x) = w . x the distances are (noise M^T w)^2 and |noise M|^2."""
    m, w, z, noise = random(4, 6), random(6, seed=1), random(9, 4, seed=2), random(9, 4, seed=3)
    judge = judged(w)
    forward = SimpleNamespace(
        latent=z,
        fake=z @ m,
        fake_label=None,
        judge=judge,
        draw=lambda stream, *shape: noise,
        net=lambda name: lambda latent, label: latent @ m,
        fake_logits=judge(z @ m, None, "fake").logits,
    )
    parts = LatentConsistency(discriminator_weight=7, generator_weight=0.2, noise=0.3).parts
    shift = 0.3 * noise.numpy() @ m.numpy()
    np.testing.assert_allclose(parts["discriminator"](forward).numpy(), (shift @ w.numpy()) ** 2, rtol=1e-9)
    np.testing.assert_allclose(parts["generator"](forward).numpy(), -(shift**2).mean(1), rtol=1e-5)
    assert {name: (part.player, part.weight) for name, part in parts.items()} == {
        "discriminator": ("discriminator", 7),
        "generator": ("generator", 0.2),
    }


# -- the gradient by the style -----------------------------------------------------------------------------------------


def of_generator(generator: Any, z: Tensor, y: Tensor, label: Tensor | None = None) -> SimpleNamespace:
    game = SimpleNamespace(runtime=Runtime())
    return SimpleNamespace(
        net=lambda name: generator, latent=z, fake_label=label, draw=lambda stream, *shape: y, rows=slice(0, len(z)),
        game=game,
    )  # fmt: skip


def test_the_path_length_of_a_linear_generator_is_that_of_a_vector() -> None:
    """G(z) = A z, pictures [2, 3, 4]: the Jacobian is A, and |A^T y| / sqrt(12) the length, whatever z is."""
    a, z, y = random(24, 5).requires_grad_(), random(7, 5, seed=1), random(7, 2, 3, 4, seed=2)
    term = PathLength(weight=3, decay=0.25)
    term.mean.fill_(0.7)
    forward = of_generator(lambda latent, label: (latent @ a.T).view(-1, 2, 3, 4), z, y)
    length = (y.flatten(1) @ a).norm(dim=1) / 12**0.5
    value = term(forward)
    torch.testing.assert_close(value, (length - 0.7).square())
    (slope,) = torch.autograd.grad(value.sum(), a)
    (expected,) = torch.autograd.grad((length - 0.7).square().sum(), a)
    torch.testing.assert_close(slope, expected)
    assert term.mean.item() == pytest.approx(0.7)
    term.after_step(forward)
    assert term.mean.item() == pytest.approx(0.75 * 0.7 + 0.25 * length.mean().item())
    assert (term.weight, term.player, term.every) == (3, "generator", 1)


def test_the_path_length_is_by_each_layers_style_and_its_gradient_reaches_the_mapping() -> None:
    maps, mapping = [random(6, 4, seed=k) for k in range(3)], random(5, 4, seed=9).requires_grad_()

    class Styled:
        def styles(self, z: Tensor, label: Tensor | None) -> Tensor:
            return (z @ mapping)[:, None].expand(-1, 3, -1)

        def synthesis(self, styles: Tensor) -> Tensor:  # not linear, so that the mapping matters
            return sum((styles[:, k].square() @ maps[k].T for k in range(3)), torch.zeros(())).view(-1, 1, 2, 3)

    z, y = random(7, 5, seed=10), random(7, 1, 2, 3, seed=11)
    value = PathLength()(of_generator(Styled(), z, y))
    rows = [((y.flatten(1) @ m) * 2 * (z @ mapping)).square().sum(1) / 6 for m in maps]
    torch.testing.assert_close(value, torch.stack(rows).mean(0))  # the mean length is still 0
    value.sum().backward()
    assert mapping.grad.abs().min() > 0


def test_gamma_by_rule_grows_with_the_pixels_and_shrinks_with_the_batch() -> None:
    """StyleGAN2-ADA's authors' table of configurations: 0.0002 times the pixels over the batch."""
    a, x = symmetric(), random(9, 5, seed=1).requires_grad_()
    for side, batch, gamma in ((32, 64, 0.0032), (256, 16, 0.8192), (1024, 32, 6.5536)):
        assert gamma_of(torch.zeros(1, 3, side, side, device="meta"), batch) == pytest.approx(gamma)
    for kind, which in ((R1, "real"), (R2, "fake")):
        logits = quadratic(x, a).logits
        forward = SimpleNamespace(**{which: x, f"{which}_logits": logits}, game=SimpleNamespace(batch_size=4))
        term = kind(gamma=None)
        expected = 0.0002 / 4 * (x @ a).square().sum(1) / 2  # a point has one pixel
        torch.testing.assert_close(term.weight * term(forward), expected)


# -- whatever is registered, in a small game ---------------------------------------------------------------------------


class Remembering(MLPDiscriminator):
    """A perceptron whose decoder makes the picture again from its features."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.decoder = nn.Linear(8, int(np.prod(SHAPE)))

    def forward(self, sample: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        output = super().forward(sample, label)
        return output._replace(features=(sample, *output.features))

    def reconstruct(self, features: Any, choice: Tensor) -> list[tuple[Tensor, Tensor]]:
        made = self.decoder(features[1]).view_as(features[0])
        return [(made * (1 + choice.view(-1, 1, 1, 1)), features[0])]


def tiny(
    regularizers: Mapping[str, Any],
    *,
    num_classes: int | None = None,
    augment: Any = None,
    n_critic: int = 1,
    device: str = "cpu",
    **options: Any,
) -> Game:
    """A game of two small perceptrons on 6 x 6 pictures."""
    torch.manual_seed(0)
    told = [{"conditioning": kind if num_classes else "none"} for kind in ("concat", "projection")]
    parts: Any = SimpleNamespace(
        generator=lambda: MLPGenerator(SHAPE, num_classes, latent_dim=4, width=8, depth=1, **told[0]),
        discriminator=lambda: Remembering(SHAPE, num_classes, width=8, depth=1, **told[1]),
        augment=lambda: augment or Identity(),
        columns={"sample": None},
    )
    task: Any = Generation(
        parts,
        SHAPE,
        num_classes,
        n_critic=n_critic,
    )
    task.nets.to(device)
    data = Store(
        {"sample": random(32, *SHAPE, seed=7).float().tanh().permute(0, 2, 3, 1), "label": torch.arange(32) % 2}
    )
    options.setdefault("optimizer", lambda p: torch.optim.SGD(p, 0.1))
    phases = task.phases(NonSaturating(), regularizers)
    return make_game(task, phases, data=data, **options)


def built(name: str, **changes: Any) -> Any:
    values = {"image_size": 6, "sample_shape": SHAPE, "image_channels": 1, "num_classes": None}
    cls = ALL[name]
    return cls(**{wanted: values[wanted] for wanted in registry.supplied(cls)}, **changes)


def single(regularizer: Any) -> list[Any]:
    return list(regularizer.parts.values()) if hasattr(regularizer, "parts") else [regularizer]


def gradients(game: Game, phase: Phase) -> Tensor:
    """What the phase's second play differentiates to: by then a regularizer that looks back has something to see."""
    nets = copy.deepcopy(game.nets.state_dict())
    play(game, phase)
    game.nets.load_state_dict(nets)
    play(game, phase)
    return torch.cat(
        [(p.new_zeros(p.shape) if p.grad is None else p.grad).flatten() for p in game.parameters[phase.player]]
    )


TERMS = [name for name in ALL if all(hasattr(part, "weight") for part in single(built(name)))]
EVERY = [name for name in ALL if "every" in (parameter for parameter, _, _ in registry.parameters(ALL[name]))]


@pytest.mark.parametrize("num_classes", [None, 2])
@pytest.mark.parametrize("name", ALL)
def test_a_step_with_it_is_finite_and_moves_its_players_and_no_other(name: str, num_classes: int | None) -> None:
    regularizer = built(name)
    players = {part.player for part in single(regularizer)}
    for i, player in enumerate(("discriminator", "generator")):
        games = [tiny(chosen, num_classes=num_classes) for chosen in ({name: regularizer}, {})]
        for game in games:
            assert game.phases[i].player == player
            gradients(game, game.phases[i])
            assert all(p.isfinite().all() for p in game.nets.parameters())
        for net in ("discriminator", "generator"):
            same = equal(*(game.nets[net].state_dict() for game in games))
            assert same == (net != player or player not in players), f"{player}'s move, {net}"


@pytest.mark.parametrize("name", TERMS)
def test_all_of_its_strength_is_in_its_weight(name: str) -> None:
    for i in range(2):
        found = []
        for factor in (0.0, 1.0, 3.0):
            regularizer = built(name)
            for part in single(regularizer):
                part.weight *= factor
            game = tiny({name: regularizer})
            found.append(gradients(game, game.phases[i]))
        torch.testing.assert_close(found[2] - found[0], 3 * (found[1] - found[0]), rtol=1e-4, atol=1e-6)
    game = tiny({})
    torch.testing.assert_close(found[0], gradients(game, game.phases[1]))


@pytest.mark.parametrize("name", EVERY)
def test_applied_lazily_it_has_the_same_strength_on_average(name: str) -> None:
    game = tiny({name: built(name, every=3)}, n_critic=2)
    lazy = [phase for phase in game.phases if phase.every > 1]
    assert len(lazy) == len(single(built(name)))
    for phase in lazy:
        (main,) = (other for other in game.phases if other.player == phase.player and other.every == 1)
        assert (phase.every, phase.repeat) == (3, main.repeat)
        eager = dict(zip(phase.terms, [p for p in single(built(name)) if p.player == phase.player], strict=True))
        alone = [tiny({}), tiny({})]
        for other, terms, every in ((alone[0], phase.terms, 3), (alone[1], eager, 1)):
            play(other, Phase(phase.name, phase.player, terms, every=every))
        a, b = (torch.cat([p.grad.flatten() for p in g.parameters[phase.player] if p.grad is not None]) for g in alone)
        torch.testing.assert_close(a, 3 * b)
        assert a.abs().max() > 0


@pytest.mark.parametrize("name", ALL)
def test_micro_batches_change_nothing_unless_it_says_so(name: str) -> None:
    games = [tiny({name: built(name)}, micro_batches=m) for m in (1, 4)]
    for game in games:
        train(game, 24)
    same = all(
        torch.allclose(p, q, rtol=1e-4, atol=1e-6)
        for p, q in zip(games[0].nets.parameters(), games[1].nets.parameters(), strict=True)
    )
    assert same != ("couple the batch" in " ".join(ALL[name].__doc__.split()))


@pytest.mark.parametrize("name", ALL)
def test_it_trains_on_the_meta_device_and_in_a_lazy_phase_and_survives_pickling(name: str) -> None:
    regularizer = pickle.loads(pickle.dumps(built(name, **({"every": 2} if name in EVERY else {}))))
    game = tiny(
        {name: regularizer, "r1": R1()} if name != "r1" else {name: regularizer},
        device="meta",
        runtime=Runtime(torch.device("meta")),
        num_classes=2,
        augment=DiffAugment(6),
        micro_batches=2,
        reuse_fakes=True,
    )
    train(game, 24)
    assert game.step == 3


@pytest.mark.parametrize("name", ALL)
def test_it_trains_in_low_precision(name: str) -> None:
    games = [tiny({name: built(name)}, runtime=Runtime(precision=precision)) for precision in ("fp32", "bf16")]
    for game in games:
        train(game, 24)
    for p, q in zip(*(game.nets.parameters() for game in games), strict=True):
        torch.testing.assert_close(q, p, rtol=0.2, atol=0.05)


def test_compiled_networks_train_alike_with_all_of_them() -> None:
    def everything() -> dict[str, Any]:
        return {name: built(name, **({"every": 2} if getattr(ALL[name], "probes", ()) else {})) for name in ALL}

    games = [tiny(everything()) for _ in range(2)]
    assert not any(phase.probes for phase in games[0].phases if phase.every == 1), "or nothing would be compiled"
    games[1].compiled = {name: torch.compile(net, backend="aot_eager") for name, net in games[1].nets.items()}
    for game in games:
        train(game, 24)
    for p, q in zip(*(game.nets.parameters() for game in games), strict=True):
        torch.testing.assert_close(q, p, rtol=1e-4, atol=1e-6)


def test_lecam_resumes_where_it_was(tmp_path: Path) -> None:
    whole, part = (tiny({"lecam": LeCam()}, micro_batches=2) for _ in range(2))
    train(whole, 80)
    train(part, 40)
    checkpoint.save({"images": 40, "game": part.state_dict()}, tmp_path)
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    assert set(state["game"]["parts"]["term/discriminator/lecam"]) == {"anchors", "steps"}
    again = tiny({"lecam": LeCam()}, micro_batches=2)
    again.load_state_dict(state["game"])
    train(again, 80)
    assert equal(again.state_dict(), whole.state_dict())
    state["game"]["parts"]["term/discriminator/lecam"] = LeCam().state_dict()
    again = tiny({"lecam": LeCam()}, micro_batches=2)
    again.load_state_dict(state["game"])
    train(again, 80)
    assert not equal(again.nets.state_dict(), whole.nets.state_dict()), "its state may be dropped unnoticed"
