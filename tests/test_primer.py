"""The primer's system, against a plain loop that is written here as the primer writes it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gan_lab.core.hooks import Hook
from gan_lab.core.loop import train
from gan_lab.run.assembly import assemble
from tests.helpers import compose

BATCH, STEPS = 3, 20


def plain_generator(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    w = width
    for inside, outside, stride, padding in (
        (100, 8 * w, 1, 0),
        (8 * w, 4 * w, 2, 1),
        (4 * w, 2 * w, 2, 1),
        (2 * w, w, 2, 1),
    ):
        layers += [
            nn.ConvTranspose2d(inside, outside, 4, stride, padding, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False), nn.Tanh())


def plain_discriminator(width: int) -> nn.Sequential:
    w = width
    layers: list[nn.Module] = [nn.Conv2d(3, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for inside, outside in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w)):
        layers += [nn.Conv2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * w, 1, 4, 1, 0, bias=False), nn.Sigmoid())


@pytest.mark.parametrize("experiment", ["dcgan_cifar10", "dcgan_cifar10_minimax"])
def test_networks_have_the_published_number_of_parameters(experiment: str) -> None:
    nets = assemble(
        compose(f"experiment={experiment}", "dataset=toy_pictures", "dataset.image_size=64", "dataset.image_channels=3")
    ).game.nets
    count = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert count == {"generator": 3_576_704, "discriminator": 2_765_568}


@pytest.fixture
def double() -> Iterator[None]:
    """Adam's first steps are signs of gradients, so single precision's rounding grows to 1e-3 within two steps."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "width"), [("dcgan_cifar10", 64), ("dcgan_cifar10_minimax", 16)])
def test_twenty_steps_equal_a_plain_loop(experiment: str, width: int, double: None) -> None:
    """The same weights, noise and batches give the same losses and weights, to 1e-5."""
    config = compose(
        f"experiment={experiment}",
        "dataset=toy_pictures",
        "dataset.image_size=64",
        "dataset.image_channels=3",
        f"trainer.batch_size={BATCH}",
        f"generator.width={width}",
        f"discriminator.width={width}",
    )
    game, oracle = assemble(config).game, assemble(config).game
    generator, discriminator = plain_generator(width), plain_discriminator(width)
    for net, plain in ((oracle.nets["generator"], generator), (oracle.nets["discriminator"], discriminator)):
        for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
            theirs.data.copy_(ours)
    optimizers = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator)]
    loss = nn.BCELoss()
    ones, zeros = torch.ones(BATCH), torch.zeros(BATCH)
    expected = []
    for step in range(STEPS):
        oracle.step, oracle.images = step, step * BATCH  # the oracle gives draws, and is never trained
        passes = [oracle.task.forward_pass(oracle, phase, 0, slice(0, BATCH)) for phase in oracle.phases]
        real = passes[0].real.contiguous()
        noise = [forward.latent[:, :, None, None] for forward in passes]

        discriminator.zero_grad()
        fake = generator(noise[0])
        d_loss = (loss(discriminator(real).view(-1), ones) + loss(discriminator(fake.detach()).view(-1), zeros)) / 2
        d_loss.backward()
        optimizers[1].step()

        generator.zero_grad()
        verdict = discriminator(generator(noise[1])).view(-1)
        g_loss = -loss(verdict, zeros) if experiment.endswith("minimax") else loss(verdict, ones)
        g_loss.backward()
        optimizers[0].step()
        expected.append((2 * d_loss.item(), g_loss.item()))

    seen: dict[str, list[float]] = {}

    class Watch(Hook):
        def after_play(self, game, phase, values) -> None:  # type: ignore[no-untyped-def]
            seen.setdefault(phase.player, []).append(values["adversarial"][0].item())

    before = copy.deepcopy(game.nets)
    game.add(Watch())
    train(game, STEPS * BATCH)
    ours = list(zip(seen["discriminator"], seen["generator"], strict=True))
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(expected), rtol=1e-5, atol=1e-5)
    for name, plain in (("generator", generator), ("discriminator", discriminator)):
        for a, b, start in zip(
            game.nets[name].parameters(), plain.parameters(), before[name].parameters(), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
            assert not torch.equal(a, start), name
