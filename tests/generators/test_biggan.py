"""BigGAN and SAGAN: sizes against the authors' code, how latents and classes reach the blocks, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gan_lab import registry
from gan_lab.layers import ConditionalNorm

registry.load()
GENERATORS, DISCRIMINATORS = dict(registry.generators.classes), dict(registry.discriminators.classes)


def count(classes: dict[str, Any], name: str, size: int, num_classes: int, **settings: Any) -> int:
    """Parameters; spectral normalization has none."""
    with torch.device("meta"):
        net = classes[name](size, 3, num_classes, initialization="normal", spectral_norm=False, **settings)
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "size", "classes", "told", "judged", "generator", "discriminator"),
    [
        ("biggan", 128, 1000, {}, {}, 70_433_988, 87_982_370),
        ("biggan", 256, 1000, {"latent_dim": 140}, {}, 82_235_844, 99_225_890),
        ("biggan", 64, 1000, {"width": 64}, {"width": 64}, 31_969_540, 20_571_842),
        ("biggan", 32, 10, {"latent_dim": 80, "attention": ()}, {"attention": ()}, 9_231_875, 9_456_769),
        ("biggan_deep", 256, 1000, {}, {}, 55_736_708, 38_247_426),
        ("biggan_deep", 128, 1000, {}, {}, 50_244_484, 34_590_210),
        ("biggan_deep", 32, 1000, {"attention": ()}, {"attention": ()}, 7_561_987, 3_088_129),
        ("sagan", 128, 1000, {}, {}, 42_078_852, 39_463_618),
    ],
)
def test_networks_have_as_many_parameters_as_the_authors(
    name: str, size: int, classes: int, told: dict[str, Any], judged: dict[str, Any], generator: int, discriminator: int
) -> None:
    """Counted by running BigGAN-PyTorch (BigGAN's first author): BigGAN.py and BigGANdeep.py.

    BigGAN with shared embeddings of 128 and the hierarchical latent, ch 96 where no width stands, attention at 64 px
    (32 px at 64). SAGAN is its launch_SAGAN: ch 64, no shared embedding, attention at 32 px in both.
    """
    assert count(GENERATORS, name, size, classes, conditioning="batch_norm", **told) == generator
    assert count(DISCRIMINATORS, name, size, classes, conditioning="projection", **judged) == discriminator


def test_an_attention_layer_has_the_authors_parameters() -> None:
    """C/8, C/8, C/2 and C/2 times C, and gamma."""
    with_it, without = (count(GENERATORS, "biggan", 32, 10, width=96, attention=attention) for attention in ((16,), ()))
    channels = 4 * 96
    assert with_it - without == 2 * channels * channels // 8 + 2 * channels * channels // 2 + 1


def test_latents_are_divided_among_the_linear_layer_and_the_blocks() -> None:
    net = GENERATORS["biggan"](32, 3, None, latent_dim=10, width=2).eval()
    assert [part.shape[1] for part in net.split(torch.randn(1, 10))] == [3, 3, 2, 2]
    z = torch.randn(1, 10, requires_grad=True)
    first, *_ = net.split(z)
    (gradient,) = torch.autograd.grad(net.input(first).sum(), z)
    assert gradient[0, :3].abs().min() > 0
    assert gradient[0, 3:].abs().max() == 0


@pytest.mark.parametrize("name", ["biggan", "biggan_deep"])
def test_each_part_of_the_latents_and_the_class_change_the_picture(name: str) -> None:
    torch.manual_seed(0)
    net = GENERATORS[name](32, 3, 3, latent_dim=12, width=4, embedding_dim=8, conditioning="batch_norm").eval()
    z, label = torch.randn(1, 12), torch.tensor([0])
    picture = net(z, label)
    assert not torch.equal(picture, net(z, label + 1))
    for i in range(12):
        moved = z.clone()
        moved[0, i] += 1
        assert not torch.equal(picture, net(moved, label))


def test_the_norms_gain_is_one_plus_a_linear_map_and_looks_at_the_class_only_where_it_is_told() -> None:
    for conditioning, told in (("batch_norm", 8), ("concat", 0), ("none", 0)):
        net = GENERATORS["biggan"](32, 3, 3, latent_dim=12, width=4, embedding_dim=8, conditioning=conditioning)
        norms = [norm for norm in net.modules() if isinstance(norm, ConditionalNorm)]
        assert [norm.gain.in_features for norm in norms] == [3 + told] * 6
        assert net.input.in_features == 3 + (8 if conditioning == "concat" else 0)
    norm, x, condition = norms[0].eval(), torch.randn(2, 16, 4, 4), torch.randn(2, 3)
    gain, bias = (condition @ table.weight.T for table in (norm.gain, norm.bias))
    expected = norm.norm(x) * (1 + gain)[..., None, None] + bias[..., None, None]
    torch.testing.assert_close(norm(x, condition), expected)


def test_spectral_norm_is_everywhere_but_in_the_shared_embedding() -> None:
    net = GENERATORS["biggan"](32, 3, 3, width=2, conditioning="batch_norm")
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            assert nn.utils.parametrize.is_parametrized(module)
    assert not nn.utils.parametrize.is_parametrized(net.embedding)
    rows = net.embedding.weight.detach()
    torch.testing.assert_close(rows @ rows.T, torch.eye(3), atol=1e-5, rtol=0)  # orthogonal from the start


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 3}, "give at least 4 at image_size=32"),
        ({"conditioning": "batch_norm", "normalization": "instance"}, "needs generator.normalization=batch"),
    ],
)
def test_what_a_generator_cannot_do_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GENERATORS["biggan"](32, 3, 10, **settings)


@pytest.mark.parametrize("name", ["sagan", "biggan", "biggan_deep", "fastgan"])
def test_sizes_that_cannot_be_made_are_refused_with_sizes_near(name: str) -> None:
    with pytest.raises(ValueError, match=r"image_size=50: strided layers cannot make this size; near it are .*48"):
        GENERATORS[name](50, 3, None, width=2)
    if name != "fastgan":
        with pytest.raises(ValueError, match=f"discriminator={name} wants .*16"):
            DISCRIMINATORS[name](12, 3, None, width=2)


@pytest.mark.parametrize("name", ["biggan", "biggan_deep", "fastgan"])
def test_a_generator_larger_than_the_authors_tables_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="image_size=512: this architecture makes up to 256 px"):
        GENERATORS[name](512, 3, None, width=1)


def test_a_discriminator_larger_than_the_authors_is_refused() -> None:
    for name in ("biggan", "biggan_deep"):
        with pytest.raises(ValueError, match="wants 16 to 256 px"):
            DISCRIMINATORS[name](512, 3, None, width=1)
