"""Self-attention against a loop over pixels, and after which maps it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_lab import registry
from gan_lab.blocks.attention import SelfAttention, attended
from gan_lab.cli import main
from tests import toy_data  # noqa: F401 - registers toy_pictures

registry.load()


def by_pixels(layer: SelfAttention, x: Tensor) -> Tensor:
    """Equations 1 to 3 of the paper for one pixel at a time, with keys and values of pooled pixels."""

    def mapped(convolution: nn.Conv2d, pixel: Tensor) -> Tensor:
        return convolution.weight[:, :, 0, 0] @ pixel

    _, _, height, width = x.shape
    out = torch.empty_like(x)
    for row in range(len(x)):
        keys, values = [], []
        for i in range(0, height, 2):
            for j in range(0, width, 2):
                window = [x[row, :, a, b] for a in (i, i + 1) for b in (j, j + 1) if a < height and b < width]
                keys.append(torch.stack([mapped(layer.key, pixel) for pixel in window]).amax(0))
                values.append(torch.stack([mapped(layer.value, pixel) for pixel in window]).amax(0))
        for i in range(height):
            for j in range(width):
                query = mapped(layer.query, x[row, :, i, j])
                weights = torch.stack([query @ key for key in keys]).softmax(0)
                mean = sum(weight * value for weight, value in zip(weights, values, strict=True))
                assert isinstance(mean, Tensor)
                out[row, :, i, j] = x[row, :, i, j] + layer.gamma * mapped(layer.output, mean)
    return out


@pytest.mark.parametrize("size", [(4, 4), (7, 7), (4, 6)])
def test_attention_is_that_of_a_loop_over_pixels(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16).double()
    nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(2, 16, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), by_pixels(layer, x), atol=1e-6, rtol=0)


def test_attention_starts_as_the_identity_and_learns_from_there() -> None:
    layer = SelfAttention(16)
    x = torch.randn(2, 16, 6, 6)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert layer.gamma.grad is not None
    assert layer.gamma.grad.abs() > 0


def test_attention_without_pooling_is_torchs_attention() -> None:
    """On maps of two pixels a side that are all alike in each window, pooling changes nothing."""
    layer = SelfAttention(16)
    nn.init.constant_(layer.gamma, 1.0)
    x = torch.randn(2, 16, 3, 3).repeat_interleave(2, 2).repeat_interleave(2, 3)
    query, key, value = (f(x).flatten(2).transpose(1, 2) for f in (layer.query, layer.key, layer.value))
    mean = functional.scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2).unflatten(2, (6, 6))
    torch.testing.assert_close(layer(x), x + layer.output(mean))


def test_attention_stands_after_the_maps_that_are_named_and_by_default_after_the_largest() -> None:
    maps = [16, 8, 8, 4]
    assert attended(maps, (8, 4), most=64, player="discriminator") == {1, 3}
    assert attended(maps, (), most=64, player="discriminator") == set()
    assert attended(maps, None, most=8, player="discriminator") == {1}
    assert attended(maps, None, most=2, player="discriminator") == set()


@pytest.mark.parametrize(("player", "known"), [("generator", "8, 16, 32"), ("discriminator", "8, 16")])
@pytest.mark.parametrize("name", ["sagan", "biggan", "biggan_deep"])
def test_attention_at_a_map_that_is_not_there_is_refused_with_those_that_are(
    name: str, player: str, known: str
) -> None:
    kind = registry.GROUPS[player]
    with pytest.raises(ValueError, match=rf"{player}\.attention=\[12\].* no map of 12 px; its maps are {known} px"):
        kind.classes[name](32, 3, None, attention=(12,))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generator=sagan", "generator.attention=[12]"], "no map of 12 px; its maps are 8, 16, 32 px"),
        (["discriminator=biggan", "discriminator.attention=[3]"], "no map of 3 px; its maps are 8, 16 px"),
        (["generator=biggan_deep", "dataset.image_size=50"], "cannot make this size; near it are"),
        (["discriminator=projected", "discriminator.extractor=vgg16"], "choose from mnist5k, fashion_mnist"),
        (["regularizer=[reconstruction]"], "no decoders; choose discriminator=fastgan"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["experiment=none", "dataset=toy_pictures", "dataset.image_size=32"]
    assert main(["train", *data, *words, f"run_dir={tmp_path / 'run'}", "trainer.device=cpu"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_default_maps_are_the_papers() -> None:
    """32 px at 128 px in SAGAN (table 1), 64 px at 128 and 256 px in BigGAN (appendix B)."""

    def sizes(player: str, name: str, size: int) -> list[int]:
        net = registry.GROUPS[player].classes[name](size, 3, None, width=8)
        seen: list[int] = []
        for layer in net.modules():
            if isinstance(layer, SelfAttention):
                layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.shape[2]))
        with torch.no_grad():
            net(torch.randn(2, net.latent_dim) if player == "generator" else torch.randn(2, 3, size, size))
        return seen

    for player in ("generator", "discriminator"):
        assert sizes(player, "sagan", 128) == [32]
        assert sizes(player, "biggan", 128) == sizes(player, "biggan_deep", 128) == [64]
        assert sizes(player, "biggan", 32) == [16]
