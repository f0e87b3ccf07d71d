"""The benchmarks' own parts, on tiny settings: what they compare is alike, and what they report can be read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from matplotlib.text import Text
from rich.console import Console
from torch import nn

from gan_lab.core.loop import step
from gan_lab.generators.modulated import modulated
from tests.benchmarks import __main__ as command
from tests.benchmarks import biggan, draw, mixture, plain, scale, steps, styles
from tests.benchmarks.curves import Curve, Point, power_law
from tests.benchmarks.limits import operations
from tests.benchmarks.measure import Goal, Result, build
from tests.benchmarks.pairs import differences

TINY = (
    "experiment=dcgan_cifar10", "dataset=toy_pictures", "dataset.image_size=32", "generator.width=4",
    "discriminator.width=4", "trainer.batch_size=8", "trainer.threads=1", "evaluation.metrics=[]",
)  # fmt: skip
RING = (*mixture.RING, "generator.width=8", "discriminator.width=8", "trainer.batch_size=16", "dataset.samples=64")


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        (plain.PlainLoop, ()),
        (plain.ExampleLoop, ("trainer.reuse_fakes=true", "task.discriminator_weight=1")),
    ],
)
def test_a_plain_loop_and_our_game_are_the_same_algorithm(loop: type[plain.PlainLoop], words: tuple[str, ...]) -> None:
    game = steps.game_of(*TINY, *words)
    # Adam's first updates are signs of gradients: a larger epsilon keeps rounding from flipping them.
    theirs = steps.beside(game, loop, 4)
    for optimizer in (*game.optimizers.values(), theirs.opt_g, theirs.opt_d):
        optimizer.param_groups[0]["eps"] = 1e-3
    assert max(differences(game, theirs, 3)) < 1e-4


@pytest.mark.parametrize("loop", [mixture.Tutorial, mixture.Tuned])
def test_the_loops_on_points_and_our_game_are_the_same_algorithm(loop: type[mixture.Tutorial]) -> None:
    game = build(*RING, log_every=64).game
    assert max(differences(game, mixture.beside(game, loop, 8), 3)) < 1e-4


def test_biggans_plain_loop_and_our_game_are_the_same_algorithm() -> None:
    game = build(*biggan.WORDS, "generator.width=2", "discriminator.width=2", "trainer.batch_size=8", log_every=64).game
    theirs = biggan.PlainLoop(game)
    for optimizer in (*game.optimizers.values(), theirs.opt_g, theirs.opt_d):
        optimizer.param_groups[0]["eps"] = 1e-3
    assert max(differences(game, theirs, 3)) < 1e-4


def test_another_algorithm_is_seen() -> None:
    """Without the example's whole D loss, or its fakes for both, losses differ."""
    game = steps.game_of(*TINY, "trainer.reuse_fakes=true")
    assert max(differences(game, steps.beside(game, plain.ExampleLoop, 4), 1)) > 0.1


def test_operations_of_a_step_are_those_of_the_closed_form() -> None:
    """Two a weight and sample: forward, for weights' gradients, and for inputs' gradients where somebody needs them."""
    game = build(*RING, log_every=64).game
    weights = {
        name: [module.weight.numel() for module in net.modules() if isinstance(module, nn.Linear)]
        for name, net in game.nets.items()
    }
    (first_g, *_), (first_d, *_) = generator, discriminator = weights["generator"], weights["discriminator"]
    d_move = sum(generator) + 2 * (3 * sum(discriminator) - first_d)  # real and fake samples need no gradient
    g_move = 2 * sum(discriminator) + 3 * sum(generator) - first_g  # D's weights are frozen, and latents need none
    step(game)
    assert operations(lambda: step(game)) == 2 * 16 * (d_move + g_move)


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 3, 4, 2, 1), nn.ConvTranspose2d(2, 3, 4, 2, 1)])
def test_products_with_padding_are_not_counted(layer: nn.Module) -> None:
    """Of a kernel's four places in a row of n / 2, two fall on the border; so they do backwards."""
    x = torch.randn(5, 2, 8, 8, requires_grad=True)
    small = 4 if isinstance(layer, nn.Conv2d) else 8
    forward = 2 * 5 * 2 * 3 * (4 * small - 2) ** 2
    assert operations(lambda: layer(x)) == forward
    assert operations(lambda: layer(x).sum().backward()) == 3 * forward


def test_the_table_shows_what_was_measured_and_what_was_not() -> None:
    measured, skipped = (Result(name, "s", "ours / theirs", Goal("at most", 1.5)) for name in ("fast", "absent"))
    for ratio in (1.0, 1.25, 4.0):
        measured.add(ratio, 1.0, ratio)
    text = io.StringIO()
    Console(file=text, width=120).print(command.table([measured, skipped]))
    fast, absent = (line.split() for line in text.getvalue().splitlines() if "at most" in line)
    assert fast == ["fast", "1.25", "1", "s", "1.25", "1", "to", "4", "at", "most", "1.5", "yes"]
    assert absent == ["absent", "-", "-", "s", "-", "-", "at", "most", "1.5", "-"]
    assert skipped.row()["ratio"] is skipped.row()["met"] is None


def test_a_power_law_is_found() -> None:
    sizes = [1, 10, 50, 200]
    assert power_law(sizes, [0.3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert power_law(sizes, [1, 2, 0, 4]) is None
    assert _curve("runs", 1.0).verdict == "linear"
    assert _curve("runs", 1.3).verdict == "not linear"


def _curve(name: str, exponent: float) -> Curve:
    costs = {size: 0.2 * size**exponent for size in (1, 10, 100)}
    points = [Point(size, cost, cost * 0.9, cost * 1.2) for size, cost in costs.items()]
    return Curve(name, "runs", "seconds", points, {"run": [1.0, 10.0, 100.0]})


def test_what_was_measured_is_drawn(tmp_path: Path) -> None:
    results = [Result(f"{kind} {ratio}", "s", "a / b", Goal(kind, 1)) for kind in draw.KINDS for ratio in (0.5, 2)]  # type: ignore[arg-type]
    for result in results:
        for ratio in (0.5, 2.0):
            result.add(ratio, 1, ratio)
    skipped = Result("skipped", "s", "a / b", Goal("at least", 1))
    nothing = Curve("memory", "images", "MB", [Point(1, 0.0, -1.0, 1.0), Point(10, 2.0, 0.0, 3.0)], negligible=16)
    flat = Curve("flat", "images", "seconds", _curve("flat", 0).points)
    curves = [_curve("slow", 1.4), _curve("fair", 0.9), flat, nothing]
    assert [curve.verdict for curve in curves] == ["not linear", "linear", "flat", "flat"]
    assert "0.90 against run" in scale.summary(curves[1])
    contents = {
        "ratios": {"benchmarks": [result.row() for result in (*results, skipped)]},
        "scale": {"curves": [curve.row() for curve in curves]},
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    out = tmp_path / "speed.png"
    draw.main([*(str(tmp_path / f"{name}.json") for name in contents), "--out", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG")
    twice = draw.draw({"first": contents["ratios"], "second": contents["ratios"]})
    labels = {label.get_text() for label in twice.findobj(Text)}
    assert {"at least 2, first", "at least 2, second"} <= labels
    with pytest.raises(ValueError, match="nothing was measured"):
        draw.draw({"empty": {"benchmarks": [skipped.row()]}})


@pytest.mark.parametrize(("demodulate", "doubling", "size"), [(True, False, 3), (True, True, 3), (False, False, 1)])
def test_stylegan2s_baseline_computes_what_our_layer_does(demodulate: bool, doubling: bool, size: int) -> None:
    x, weight, style = (torch.randn(shape, dtype=torch.float64) for shape in ((3, 4, 6, 5), (5, 4, size, size), (3, 4)))
    made = (how(x, weight, style, demodulate=demodulate, doubling=doubling) for how in (modulated, styles.grouped))
    torch.testing.assert_close(*made)
