"""Networks against published counts, and their options against what they say they compute."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_lab import registry
from gan_lab.layers import ConditionalNorm, Latents, Residual, Verdict, norm2d, prepare

registry.load()
GENERATORS, DISCRIMINATORS = dict(registry.generators.classes), dict(registry.discriminators.classes)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# -- sizes in parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "generator", "discriminator"),
    [
        (32, 4_276_739, 1_053_825),
        (48, 4_878_083, 10_141_441),
        (64, 12_220_675, 10_141_441),
        (128, 32_150_787, 29_017_857),
    ],
)
def test_resnets_have_as_many_parameters_as_mimicrys_sngan(size: int, generator: int, discriminator: int) -> None:
    """Counted from torch-mimicry 0.1.16, SNGANGenerator32 to 128 and SNGANDiscriminator32 to 128, 3 channels."""
    assert count(GENERATORS["resnet"](size, 3, None)) == generator
    assert count(DISCRIMINATORS["resnet"](size, 3, None)) == discriminator


def test_conditional_resnets_have_as_many_parameters_as_mimicrys_cgan_pd() -> None:
    """Counted from torch-mimicry 0.1.16, CGANPDGenerator32 and CGANPDDiscriminator32, 10 classes."""
    generator = GENERATORS["resnet"](32, 3, 10, conditioning="batch_norm")
    # its last batch norm looks at no label, as in theirs
    assert count(generator) == 4_304_387
    assert count(DISCRIMINATORS["resnet"](32, 3, 10, conditioning="projection")) == 1_055_105


def test_patchgan_has_as_many_parameters_as_pix2pixs() -> None:
    """2,768,705 for 6 channels is what the authors' PyTorch code prints (2.769 M)."""
    assert count(DISCRIMINATORS["patchgan"](256, 6, None)) == 2_768_705


def test_unet_has_the_parameters_of_the_papers_table() -> None:
    """U-Net GAN at 128 px, ch = 64: table 4's blocks, less the attention, counted by hand."""

    def block(inside: int, outside: int) -> int:
        return (9 * inside + 1) * outside + (9 * outside + 1) * outside + (inside + 1) * outside

    encoder = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    decoder = [(1024, 512), (1024, 256), (512, 128), (256, 64), (128, 64)]
    heads = 1024 + 1 + 64 + 1
    expected = sum(block(*pair) for pair in encoder + decoder) + heads
    assert count(DISCRIMINATORS["unet"](128, 3, None)) == expected


# -- conditioning ------------------------------------------------------------------------------------------------------


def test_conditional_batch_norm_is_batch_norm_with_a_gain_and_a_bias_per_class() -> None:
    torch.manual_seed(0)
    norm = norm2d("batch", 5, num_classes=3)
    assert isinstance(norm, ConditionalNorm)
    x, label = torch.randn(6, 5, 4, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    plain = functional.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(norm(x, label), plain)  # at first all classes are alike
    nn.init.normal_(norm.gain.weight)
    nn.init.normal_(norm.bias.weight)
    out = norm(x, label)
    for i, y in enumerate(label):
        expected = plain[i] * norm.gain.weight[y, :, None, None] + norm.bias.weight[y, :, None, None]
        torch.testing.assert_close(out[i], expected)


def test_concatenated_labels_are_a_bias_per_class_in_the_next_layer() -> None:
    latents, layer = Latents(4, 3), nn.Linear(7, 2)
    z, label = torch.randn(5, 4), torch.tensor([2, 0, 1, 1, 2])
    expected = z @ layer.weight[:, :4].T + layer.weight[:, 4:].T[label] + layer.bias
    torch.testing.assert_close(layer(latents(z, label)), expected)
    assert Latents(4, None)(z, label) is z


def test_projection_adds_the_inner_product_with_the_classs_embedding() -> None:
    torch.manual_seed(0)
    verdict = Verdict(6, 3, "projection")
    label = torch.tensor([0, 2])
    for shape in ((2, 6), (2, 6, 3, 4)):
        features = torch.randn(shape)
        logits = torch.randn(shape[0], *shape[2:])
        expected = logits + torch.einsum("bc...,bc->b...", features, verdict.embedding.weight[label])
        torch.testing.assert_close(verdict(logits, features, label).logits, expected)


def test_an_auxiliary_classifier_leaves_the_logits_alone() -> None:
    verdict = Verdict(6, 3, "auxiliary")
    logits, features = torch.randn(2, 4, 4), torch.randn(2, 6, 4, 4)
    output = verdict(logits, features, None)
    assert output.logits is logits
    torch.testing.assert_close(output.class_logits, verdict.classifier(features.mean((2, 3))))


def test_the_label_changes_what_conditioned_networks_say_and_only_theirs() -> None:
    label = torch.tensor([0, 1])
    for name, cls in DISCRIMINATORS.items():
        if "vocabulary_size" in registry.supplied(cls):  # of tokens: tested with the generators of tokens
            continue
        shape = ((3, 32, 32),) if "sample_shape" in registry.supplied(cls) else (32, 3)
        image = torch.randn(1, 3, 32, 32).expand(2, -1, -1, -1)
        for conditioning, differs in (("none", False), ("projection", True)):
            logits = cls(*shape, 2, conditioning=conditioning).eval()(image, label).logits
            assert torch.allclose(logits[0], logits[1]) != differs, (name, conditioning)


def test_batch_norm_conditioning_without_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs generator\.normalization=batch, not layer"):
        GENERATORS["dcgan"](32, 3, 10, conditioning="batch_norm", normalization="layer")


# -- options of any network --------------------------------------------------------------------------------------------

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "layer": nn.GroupNorm}
CONVOLUTIONAL = [("generator", n) for n in ("dcgan", "resnet")] + [
    ("discriminator", n) for n in ("dcgan", "resnet", "patchgan", "unet")
]


@pytest.mark.parametrize("normalization", [*NORMS, "none"])
@pytest.mark.parametrize(("player", "name"), CONVOLUTIONAL)
def test_every_convolutional_network_takes_every_normalization(player: str, name: str, normalization: str) -> None:
    net = registry.GROUPS[player].classes[name](32, 3, None, width=8, normalization=normalization)
    kinds = {type(module) for module in net.modules() if isinstance(module, tuple(NORMS.values()))}
    assert kinds == ({NORMS[normalization]} if normalization != "none" else set())
    net(torch.randn(2, net.latent_dim) if player == "generator" else torch.randn(2, 3, 32, 32))


def test_layer_norm_is_over_all_of_a_sample() -> None:
    x = torch.randn(3, 5, 4, 6)
    torch.testing.assert_close(norm2d("layer", 5)(x), functional.layer_norm(x, x.shape[1:]))


def weights_of(net: nn.Module) -> list[tuple[nn.Module, Tensor]]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    return [(module, module.weight) for module in net.modules() if isinstance(module, kinds)]


@pytest.mark.parametrize(("player", "name"), [*CONVOLUTIONAL, ("generator", "mlp"), ("discriminator", "mlp")])
def test_spectral_norm_gives_every_weight_the_largest_singular_value_one(player: str, name: str) -> None:
    torch.manual_seed(0)
    cls = registry.GROUPS[player].classes[name]
    shape = ((3, 32, 32),) if "sample_shape" in registry.supplied(cls) else (32, 3)
    net = cls(*shape, None, width=4, spectral_norm=True)
    given = torch.randn(2, net.latent_dim) if player == "generator" else torch.randn(2, 3, 32, 32)
    for _ in range(60):  # a power iteration each
        net(given)
    net.eval()
    for module, weight in weights_of(net):
        matrix = weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight
        assert torch.linalg.matrix_norm(matrix.flatten(1), ord=2).item() == pytest.approx(1, abs=0.02), module


def test_initializations_are_what_they_are_called() -> None:
    torch.manual_seed(0)
    for spectral_norm in (False, True):  # which begins after it
        net = nn.Sequential(nn.Conv2d(16, 32, 3), nn.Linear(200, 100))
        prepare(net, "orthogonal", spectral_norm)
        for layer in net:
            matrix = layer.weight.flatten(1)
            torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-4, rtol=0)
            assert not layer.bias.any()
    net = nn.Sequential(nn.Conv2d(16, 64, 3), nn.Linear(200, 300))
    prepare(net, "normal", False)
    for layer in net:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(layer.weight.mean().item()) < 0.001
    prepare(net, "xavier", False, {net[0]: 2.0})
    for layer, fan, gain in ((net[0], 9 * 16 + 9 * 64, 2.0), (net[1], 500, 1.0)):
        assert layer.weight.abs().max().item() == pytest.approx(gain * (6 / fan) ** 0.5, rel=0.01)


def test_kaiming_keeps_the_scale_through_rectifiers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Linear(512, 512), nn.ReLU())))
    prepare(net, "kaiming", False)
    assert net[0].weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)  # He et al. 2015, eq. 10
    assert not net[0].bias.any()
    assert net(torch.randn(256, 512)).square().mean().item() == pytest.approx(1, rel=0.2)


def test_initialization_and_spectral_norm_leave_class_gains_alone() -> None:
    for initialization, spectral_norm in itertools.product(["orthogonal", "normal"], [False, True]):
        net = GENERATORS["dcgan"](
            32, 3, 4, width=4, conditioning="batch_norm", initialization=initialization, spectral_norm=spectral_norm
        )
        norms = [module for module in net.modules() if isinstance(module, ConditionalNorm)]
        assert len(norms) == 3
        for norm in norms:
            assert torch.equal(norm.gain.weight, torch.ones_like(norm.gain.weight))
            assert isinstance(norm.gain.weight, nn.Parameter)


# -- blocks ------------------------------------------------------------------------------------------------------------


def test_a_residual_block_is_the_papers_with_the_shortcut_on_either_side_of_the_resampling() -> None:
    """Figure 8 of arXiv 1802.05957 convolves the larger map; means and copies commute with a 1 x 1 convolution."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    block = Residual(3, 5, resample="down", hidden=4)
    inner = block.second(block.first(x.relu()).relu())
    expected = functional.avg_pool2d(inner, 2) + functional.avg_pool2d(block.shortcut(x), 2)
    torch.testing.assert_close(block(x), expected)
    block = Residual(3, 5, resample="up")
    inner = block.second(block.first(functional.interpolate(x.relu(), scale_factor=2)).relu())
    expected = inner + block.shortcut(functional.interpolate(x, scale_factor=2))
    torch.testing.assert_close(block(x), expected)
    block, before = Residual(3, 3), x.clone()
    assert isinstance(block.shortcut, nn.Identity)
    torch.testing.assert_close(block(x), before + block.second(block.first(before.relu()).relu()))
    assert torch.equal(x, before)  # it does not work in place on what the shortcut needs


def test_an_elementwise_loss_on_unets_two_maps_is_half_the_sum_of_both_losses() -> None:
    net = DISCRIMINATORS["unet"](32, 3, None, width=4).eval()
    output = net(torch.randn(3, 3, 32, 32)).logits
    whole, pixels = output[:, 0], output[:, 1]
    assert torch.equal(whole, whole[:, :1, :1].expand_as(whole))
    assert pixels.flatten(1).std(1).min() > 0
    both = functional.softplus(-output).flatten(1).mean(1)
    encoder, decoder = functional.softplus(-whole[:, 0, 0]), functional.softplus(-pixels).flatten(1).mean(1)
    torch.testing.assert_close(both, (encoder + decoder) / 2)


def test_a_patchgan_logit_sees_seventy_pixels_and_no_more() -> None:
    net = DISCRIMINATORS["patchgan"](96, 1, None, width=4, normalization="none").eval()
    image = torch.randn(1, 1, 96, 96, requires_grad=True)
    logits = net(image).logits
    logits[0, logits.shape[1] // 2, logits.shape[2] // 2].backward()
    rows = image.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 70


@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        ("patchgan", 16, {}, "give at least 24 px a side"),
        ("patchgan", 32, {"layers": 5}, r"lower discriminator\.layers"),
        ("resnet", 12, {}, "at least 16 px"),
        ("unet", 33, {}, "near it are"),
    ],
)
def test_a_size_that_cannot_be_judged_is_refused(name: str, size: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DISCRIMINATORS[name](size, 3, None, **options)
    smallest = {"patchgan": 24, "resnet": 16, "unet": 32}[name]
    DISCRIMINATORS[name](smallest, 3, None, width=4)(torch.randn(2, 3, smallest, smallest))
