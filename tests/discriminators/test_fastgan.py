"""FastGAN: sizes against the authors' code, gates, noise, and what the decoders should make again."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from gan_lab import registry
from gan_lab.core.loop import train
from gan_lab.discriminators.fastgan import chosen_quarter
from gan_lab.generators.fastgan import SkipLayerExcitation
from gan_lab.run.assembly import assemble
from tests.helpers import compose

registry.load()
GENERATOR, DISCRIMINATOR = registry.generators.classes["fastgan"], registry.discriminators.classes["fastgan"]


def test_networks_have_as_many_parameters_as_the_authors() -> None:
    """Counted by running the authors' models.py at 256 px: ngf 64, nz 256, ndf 64, which has 29,127,846 and 11,526,160.

    Theirs has 64 x 3 more in the generator, for the second picture of 128 px.
    """
    with torch.device("meta"):
        generator, discriminator = (net(256, 3, None, spectral_norm=False) for net in (GENERATOR, DISCRIMINATOR))
    assert sum(p.numel() for p in generator.parameters()) == 29_127_846 - 64 * 3
    assert sum(p.numel() for p in discriminator.parameters()) == 11_526_160


@pytest.mark.parametrize(("size", "gates"), [(28, 1), (32, 1), (64, 1), (128, 2), (256, 3)])
def test_gates_reach_over_four_doublings_or_over_the_whole_of_a_small_picture(size: int, gates: int) -> None:
    net = GENERATOR(size, 1, None, width=2)
    assert len(net.gates) == gates
    maps = [net.input(torch.randn(2, 256, 1, 1).flatten(1))]
    for block in net.blocks:
        maps.append(block(maps[-1]))
    for i, gate in enumerate(net.gates):
        assert gate(maps[i], maps[i + net.reach]).shape == maps[i + net.reach].shape


def test_a_gate_weighs_channels_by_a_small_map() -> None:
    gate = SkipLayerExcitation(3, 5)
    small, large = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 16, 16)
    share = gate(small, large) / large
    torch.testing.assert_close(share, share[:, :, :1, :1].expand_as(share), rtol=1e-3, atol=1e-4)
    assert (share > 0).all()
    assert (share < 1).all()


def test_noise_is_fresh_in_training_and_constant_in_samples() -> None:
    net = GENERATOR(32, 1, None, width=2)
    for name, parameter in net.named_parameters():
        if name.endswith(".weight") and parameter.dim() == 0:
            nn.init.ones_(parameter)
    z = torch.randn(3, 256)
    assert not torch.equal(net(z), net(z))
    net.eval()
    assert torch.equal(net(z), net(z))
    torch.testing.assert_close(net(z)[:1], net(z[:1]))


def test_quarters_are_cut_row_by_row() -> None:
    maps = torch.arange(2 * 36.0).view(2, 1, 6, 6)
    for number, (i, j) in enumerate([(0, 0), (0, 3), (3, 0), (3, 3)]):
        cut = chosen_quarter(maps, torch.tensor([number, 3 - number]))
        assert torch.equal(cut[0], maps[0, :, i : i + 3, j : j + 3])
        assert torch.equal(cut[1], maps[1, :, 3 - i : 6 - i, 3 - j : 6 - j])


@pytest.mark.parametrize("size", [28, 32, 48, 128, (32, 64)])
def test_decoders_make_again_what_the_discriminator_saw(size: int | tuple[int, int]) -> None:
    net = DISCRIMINATOR(size, 2, None, width=4)
    height, width = (size, size) if isinstance(size, int) else size
    image = torch.rand(3, 2, height, width) * 2 - 1
    features = net(image).features
    pairs = net.reconstruct(features, torch.tensor([0.0, 0.3, 0.99]))
    for made, shown in pairs:
        assert made.shape == shown.shape == (3, 2, height // 2, width // 2)
        assert made.abs().max() <= 1
    part, again, whole = (shown for _, shown in pairs)
    assert torch.equal(again, avg_pool2d(image, 2))
    assert torch.equal(whole, again)
    assert torch.equal(part[0], image[0, :, : height // 2, : width // 2])
    assert torch.equal(part[1], image[1, :, : height // 2, width // 2 :])
    assert torch.equal(part[2], image[2, :, height // 2 :, width // 2 :])


def test_the_part_is_decoded_from_the_map_of_that_part() -> None:
    """Where the last but one map is changed outside a quarter, what is made of the quarter stays."""
    net = DISCRIMINATOR(32, 1, None, width=4).eval()
    image, earlier, small, last = net(torch.randn(1, 1, 32, 32)).features
    choice = torch.tensor([0.5])  # bottom left
    changed = earlier.clone()
    changed[:, :, :4] += 1
    changed[:, :, 4:, 4:] += 1
    before, after = (net.reconstruct((image, maps, small, last), choice)[0][0] for maps in (earlier, changed))
    assert torch.equal(before, after)


def words(*more: str) -> list[str]:
    small = ["trainer.batch_size=4", "trainer.images=8", "trainer.device=cpu", "dataset=toy_pictures"]
    return [*small, "generator.width=4", "discriminator.width=4", *more]


def test_reconstruction_is_the_mean_difference_of_the_decoders_pictures() -> None:
    parts = ["discriminator=fastgan", "discriminator.spectral_norm=false", "regularizer=[reconstruction]"]
    config = compose(*words("generator=fastgan", *parts))
    game = assemble(config).game
    term = game.phases[0].terms["reconstruction"]
    forward = game.task.forward_pass(game, game.phases[0], 0, slice(0, 4))
    game.active_phases()
    value = term(forward)
    assert value.shape == (4,)
    choice = forward.draw("reconstruction", kind="uniform")
    pairs = game.nets["discriminator"].reconstruct(forward.real_output.features, choice)
    assert len(pairs) == 3
    torch.testing.assert_close(value, sum((made - shown).abs().mean((1, 2, 3)) for made, shown in pairs))
    before = [p.clone() for p in game.nets["discriminator"].decoders.parameters()]
    train(game, 8)
    after = list(game.nets["discriminator"].decoders.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("discriminator", ["dcgan", "patchgan", "unet"])
def test_reconstruction_is_refused_without_decoders(discriminator: str) -> None:
    with pytest.raises(ValueError, match=r"no decoders; choose discriminator=fastgan"):
        assemble(compose(*words(f"discriminator={discriminator}", "regularizer=[reconstruction]")))
