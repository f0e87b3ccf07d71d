"""Every registered part with every other: generators x discriminators x losses, on points and on pictures."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
import torch

from gan_lab import registry
from gan_lab.core import checkpoint
from gan_lab.core.hooks import Hook
from gan_lab.core.loop import train
from gan_lab.core.runtime import Runtime
from gan_lab.metrics.scores import inference
from gan_lab.train import Assembly, assemble
from tests.core.toys import equal
from tests.helpers import compose

registry.load()
DATA = {
    "points": ["dataset=mixture"],
    "grey 28": ["dataset=toy_pictures", "dataset.image_size=28"],
    "colour 32": ["dataset=toy_pictures", "dataset.image_size=32", "dataset.image_channels=3"],
}
SMALL = ["trainer.batch_size=4", "trainer.images=8", "trainer.ema=0.9", "trainer.device=cpu"]
TRIPLES = list(itertools.product(registry.generators.classes, registry.discriminators.classes, registry.losses.classes))


def build(*overrides: str) -> Assembly:
    """A small assembly; a width is cut where the part has one."""
    config = compose(*SMALL, *overrides)
    for part in ("generator", "discriminator"):
        if "width" in config[part]:
            config[part].width = 8
    return assemble(config)


def asks_for_images(generator: str, discriminator: str) -> bool:
    classes = registry.generators.classes[generator], registry.discriminators.classes[discriminator]
    return any("image_size" in registry.supplied(cls) for cls in classes)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("generator", "discriminator", "loss"), TRIPLES)
def test_every_triple_trains_saves_loads_and_samples(
    generator: str, discriminator: str, loss: str, data: str, tmp_path: Path
) -> None:
    overrides = [f"generator={generator}", f"discriminator={discriminator}", f"loss={loss}", *DATA[data]]
    if data == "points" and asks_for_images(generator, discriminator):
        with pytest.raises(ValueError, match=r"samples of shape \(2,\) do not have"):
            build(*overrides)
        return
    assembly = build(*overrides)
    game = assembly.game
    before = copy.deepcopy(game.nets.state_dict())
    values: list[float] = []

    class Watch(Hook):
        def after_play(self, game, phase, seen) -> None:  # type: ignore[no-untyped-def]
            values.extend(tensor.item() for tensors in seen.values() for tensor in tensors if tensor.dim() == 0)

    game.add(Watch())
    train(game, 8)
    assert torch.tensor(values).isfinite().all()
    for player in ("generator", "discriminator"):
        moved = [n for n, p in game.nets[player].named_parameters() if not torch.equal(p, before[f"{player}.{n}"])]
        assert len(moved) == len(list(game.nets[player].parameters())), player
    checkpoint.save({"images": game.images, "game": game.state_dict()}, tmp_path)
    again = build(*overrides)
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    again.game.load_state_dict(state["game"])
    assert equal(again.game.state_dict(), game.state_dict())
    with inference(again.sampled_nets, "running") as nets:
        samples = again.game.task.sample(nets, 5, seed=1)
        more = again.game.task.sample(nets, 70, seed=1)
    assert samples.shape == (5, *assembly.dataset.sample_shape)
    assert samples.isfinite().all()
    assert samples.flatten(1).std(0).max() > 0, "the same sample for every z"
    torch.testing.assert_close(more[:5], samples)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("generator", "discriminator", "loss"), TRIPLES)
def test_every_triple_takes_a_step_on_the_meta_device(generator: str, discriminator: str, loss: str, data: str) -> None:
    overrides = [f"generator={generator}", f"discriminator={discriminator}", f"loss={loss}", *DATA[data]]
    if data == "points" and asks_for_images(generator, discriminator):
        pytest.skip("one of them asks for an image size, and points have none")
    assembly = build(*overrides, "trainer.device=meta")
    train(assembly.game, 4)
    assert assembly.game.step == 1
    assert all(p.is_meta for p in assembly.game.nets.parameters())


@pytest.mark.parametrize(
    "part",
    [
        f"{g}={n}"
        for g, r in registry.GROUPS.items()
        if not r.listed
        for n in r.classes
        if g not in ("dataset", "generator", "discriminator", "loss")
    ],
)
@pytest.mark.parametrize("regularizer", ["[]", *[f"[{name}]" for name in registry.regularizers.classes]])
def test_every_other_part_trains(part: str, regularizer: str) -> None:
    assembly = build(part, f"regularizer={regularizer}", *DATA["colour 32"])
    before = copy.deepcopy(assembly.game.nets.state_dict())
    train(assembly.game, 8)
    assert not equal(before, assembly.game.nets.state_dict())


@pytest.mark.parametrize("size", [28, 32, 40, 48, 64, 96, 128, (32, 64), (48, 32)])
@pytest.mark.parametrize("channels", [1, 3])
def test_dcgan_makes_and_judges_its_sizes(size: int | tuple[int, int], channels: int) -> None:
    generator = registry.generators.classes["dcgan"](size, channels, width=4)
    discriminator = registry.discriminators.classes["dcgan"](size, channels, width=4)
    images = generator(torch.randn(2, 100))
    assert images.shape == (2, channels, *(size if isinstance(size, tuple) else (size, size)))
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (2,)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_trains_and_resumes_bit_for_bit(precision: str, tmp_path: Path) -> None:
    overrides = [
        *DATA["colour 32"],
        "trainer.device=cuda",
        "trainer.deterministic=true",
        f"trainer.precision={precision}",
    ]
    whole, part = build(*overrides), build(*overrides)
    train(whole.game, 40)
    train(part.game, 20)
    checkpoint.save({"images": 20, "game": part.game.state_dict()}, tmp_path)
    part = build(*overrides)
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    part.game.load_state_dict(state["game"])
    train(part.game, 40)
    assert equal(whole.game.state_dict(), part.game.state_dict())
    Runtime()  # switches deterministic algorithms off again
