"""R3GAN's networks against the paper's counts, and their initialization against what it promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gan_lab.discriminators.r3gan import R3GANDiscriminator
from gan_lab.generators.grouped import Bottleneck, Doubled, Halved
from gan_lab.generators.r3gan import R3GANGenerator


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def blocks_by_hand(channels: list[int]) -> int:
    """Two bottlenecks for each number of channels, groups of 16, and what changes the channels between."""
    total = 0
    for k, c in enumerate(channels):
        total += 2 * (2 * c * 2 * c + 2 * c * 16 * 9 + 2 * 2 * c)
        total += channels[k - 1] * c if k and channels[k - 1] != c else 0
    return total


def test_both_have_the_parameters_of_the_papers_table() -> None:
    """Huang et al. 2024, table 1, config E at 256 px: 23.06 and 23.01 million."""
    channels = [768, 768, 768, 768, 384, 192, 96]
    generator = blocks_by_hand(channels) + 16 * 768 + 64 * 768 + 96 * 3
    discriminator = blocks_by_hand(channels) + 16 * 768 + 768 + 96 * 3
    assert (round(generator / 1e6, 2), round(discriminator / 1e6, 2)) == (23.06, 23.01)
    with torch.device("meta"):
        assert count(R3GANGenerator(256, 3, None)) == generator
        assert count(R3GANDiscriminator(256, 3, None)) == discriminator


def test_both_have_the_parameters_of_the_authors_cifar_10_networks() -> None:
    """Four sizes of 768 channels, told the class; counted by hand from the authors' preset."""
    channels = [768] * 4
    with torch.device("meta"):
        generator = R3GANGenerator(32, 3, 10, conditioning="concat")
        discriminator = R3GANDiscriminator(32, 3, 10, conditioning="projection")
    assert count(generator) == blocks_by_hand(channels) + 16 * 768 + 128 * 768 + 10 * 64 + 768 * 3
    assert count(discriminator) == blocks_by_hand(channels) + 16 * 768 + 768 * 768 + 10 * 768 + 768 * 3


def test_at_first_a_block_is_the_identity_and_its_branch_keeps_to_the_fix_up_scale() -> None:
    torch.manual_seed(0)
    block, x = Bottleneck(64, 16, depth=16), torch.randn(8, 64, 16, 16)
    assert torch.equal(block(x), x)
    expand, _, grouped, _, shrink = block.layers
    assert grouped.groups == 8
    assert not shrink.weight.any()
    gain = (2 / 1.04) ** 0.5 / 2  # 16^(-1/4) is a half
    assert expand.weight.std().item() == pytest.approx(gain / 64**0.5, rel=0.05)
    assert grouped.weight.std().item() == pytest.approx(gain / (16 * 9) ** 0.5, rel=0.05)
    # A layer and its activation scale the mean square by gain^2 (1 + 0.2^2) / 2, which is a quarter here.
    branch = block.layers[:2](x)
    assert branch.square().mean().item() == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize(("channels", "group_size", "groups"), [(8, 16, 1), (12, 16, 1), (36, 16, 4), (20, 1, 40)])
def test_groups_divide_the_channels(channels: int, group_size: int, groups: int) -> None:
    block = Bottleneck(channels, group_size, depth=2)
    assert block.layers[2].groups == groups
    assert block(torch.randn(1, channels, 4, 4)).shape == (1, channels, 4, 4)


def test_sizes_change_bilinearly_and_channels_only_where_they_differ() -> None:
    x = torch.full((1, 4, 6, 6), 3.0)
    assert isinstance(Doubled(4, 4).change, nn.Identity)
    torch.testing.assert_close(Doubled(4, 4)(x)[:, :, 1:-1, 1:-1], torch.full((1, 4, 10, 10), 3.0))
    torch.testing.assert_close(Halved(4, 4)(x)[:, :, 1:-1, 1:-1], torch.full((1, 4, 1, 1), 3.0))
    assert Doubled(4, 2)(x).shape == (1, 2, 12, 12)
    assert Halved(4, 8)(x).shape == (1, 8, 3, 3)


def test_at_first_the_networks_neither_explode_nor_vanish() -> None:
    torch.manual_seed(0)
    picture = R3GANGenerator(64, 3, None, width=16)(torch.randn(32, 64))
    logits = R3GANDiscriminator(64, 3, None, width=16)(torch.randn(32, 3, 64, 64)).logits
    assert 0.1 < picture.std() < 3
    assert 0.01 < logits.std() < 3


@pytest.mark.parametrize("network", [R3GANGenerator, R3GANDiscriminator])
def test_a_size_that_cannot_be_made_is_refused_with_near_ones(network: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"image_size=\(32, 33\): strided layers cannot make this size"):
        network((32, 33), 3, None, width=8)
