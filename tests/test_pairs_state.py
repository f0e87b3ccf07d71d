"""Every generator with every discriminator: saved and loaded, on the meta device, and with classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gan_lab.core import checkpoint
from gan_lab.core.loop import train
from gan_lab.core.runtime import inference
from tests.core.toys import equal
from tests.pairs import DATA, PAIRS, build, chosen, composed, possible, samples_of, train_watched


@pytest.mark.parametrize("data", ["points", "grey 28"])
@pytest.mark.parametrize(("generator", "discriminator"), PAIRS)
def test_every_pair_saves_and_loads(generator: str, discriminator: str, data: str, tmp_path: Path) -> None:
    if not possible(generator, discriminator, data):
        pytest.skip("one of them asks for an image size, and points have none")
    overrides = [*chosen(generator, discriminator), *DATA[data]]
    assembly = build(*overrides)
    game = assembly.game
    train(game, 8)
    checkpoint.save({"images": game.images, "game": game.state_dict()}, tmp_path)
    again = build(*overrides)
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    again.game.load_state_dict(state["game"])
    assert equal(again.game.state_dict(), game.state_dict())
    torch.testing.assert_close(samples_of(again, 70)[:5], samples_of(assembly, 5))


@pytest.mark.parametrize(("generator", "discriminator"), PAIRS)
def test_every_pair_takes_a_step_on_the_meta_device(generator: str, discriminator: str) -> None:
    assembly = build(*chosen(generator, discriminator), *DATA["colour 32"], "trainer.device=meta")
    train(assembly.game, 4)
    assert assembly.game.step == 1
    assert all(p.is_meta for p in assembly.game.nets.parameters())


CONDITIONED = [
    (["generator.conditioning=concat"], ["discriminator.conditioning=projection"]),
    (["generator.normalization=batch", "generator.conditioning=batch_norm"], ["discriminator.conditioning=auxiliary"]),
]


@pytest.mark.parametrize(("told", "judged"), CONDITIONED)
@pytest.mark.parametrize(("generator", "discriminator"), PAIRS)
def test_every_pair_trains_on_classes(generator: str, discriminator: str, told: list[str], judged: list[str]) -> None:
    if "batch_norm" in told[-1] and "normalization" not in composed(f"generator={generator}").generator:
        told = CONDITIONED[0][0]  # it has no batch norm
    words = [*chosen(generator, discriminator), *told, *judged, *DATA["colour 32"]]
    assembly = build(*words, "trainer.batch_size=8", "trainer.images=32")
    train_watched(assembly)
    z, _ = assembly.game.task.latents(3, seed=0)
    with inference(assembly.sampled_nets, "running") as nets:
        first, second = (assembly.game.task.generate(nets, z, torch.full((3,), label)) for label in (0, 1))
    assert not torch.allclose(first, second), "both classes look the same"
