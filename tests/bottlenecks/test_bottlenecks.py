"""Bottlenecks against closed forms and the papers' own code."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from gan_lab import registry
from gan_lab.bottlenecks import Bottleneck, Code
from gan_lab.bottlenecks.fsq import FSQ
from gan_lab.bottlenecks.kl import KL
from gan_lab.bottlenecks.vq import VQ
from gan_lab.core.runtime import Runtime

registry.load()


def encoded(channels: int, *, batch: int = 4, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(batch, channels, 3, 3, generator=torch.Generator().manual_seed(0))


def moved(bottleneck: Bottleneck, codes: list[Code], step: int = 0) -> None:
    """After one step of a game with these codes as its micro-batches."""
    for code in codes:
        bottleneck.note(code)
    bottleneck.after_step(SimpleNamespace(game=SimpleNamespace(runtime=Runtime(threads=1), seed=0, step=step)))


@pytest.mark.parametrize("name", registry.bottlenecks.classes)
def test_latents_are_what_the_class_says(name: str) -> None:
    bottleneck = registry.bottlenecks.classes[name]()
    x = encoded(bottleneck.inside).requires_grad_()
    code = bottleneck(x)
    assert code.latent.shape == code.continuous.shape == (4, bottleneck.outside, 3, 3)
    assert code.bits.shape == (4,)
    code.latent.sum().backward()
    assert x.grad is not None, "gradients pass through to the encoder"
    assert x.grad.abs().sum() > 0
    assert (code.penalty is not None) == bool(bottleneck.penalty)
    assert (code.indices is not None) == bool(bottleneck.size)
    torch.testing.assert_close(bottleneck.snap(code.continuous), code.latent)
    torch.testing.assert_close(bottleneck.snap(code.latent), code.latent, msg="a code stays where it is")


@pytest.mark.parametrize("name", registry.bottlenecks.classes)
def test_statistics_are_the_means_of_all_micro_batches(name: str) -> None:
    whole, parted = (registry.bottlenecks.classes[name]() for _ in range(2))
    parted.load_state_dict(whole.state_dict())
    x = encoded(whole.inside, batch=64)
    moved(whole, [whole(x)])
    moved(parted, [parted(part) for part in x.split(16)])
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(parted.state_dict()[key], value, msg=key)
    continuous = whole(x).continuous.movedim(1, 0).flatten(1)
    torch.testing.assert_close(whole.mean, continuous.mean(1))
    torch.testing.assert_close(whole.deviation, continuous.std(1, correction=0), rtol=1e-4, atol=1e-4)


# -- kl ----------------------------------------------------------------------------------------------------------------


def test_kl_is_torchs_divergence() -> None:
    x = encoded(8)
    code = KL(channels=4)(x)
    mean, deviation = x[:, :4], (0.5 * x[:, 4:]).exp()
    nats = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0.0, 1.0)
    ).flatten(1)
    torch.testing.assert_close(code.penalty, nats.mean(1))
    torch.testing.assert_close(code.bits, nats.sum(1) / math.log(2))
    torch.testing.assert_close(code.latent, mean)


def test_noise_is_that_of_the_posterior() -> None:
    x, drawn = encoded(8), torch.full((4, 4, 3, 3), 2.0)
    code = KL(channels=4)(x, lambda stream, *shape: drawn)
    torch.testing.assert_close(code.latent, x[:, :4] + 2 * (0.5 * x[:, 4:]).exp())
    torch.testing.assert_close(code.continuous, x[:, :4])


# -- fsq ---------------------------------------------------------------------------------------------------------------


def papers_fsq(z: np.ndarray, levels: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Appendix A.1 of the paper in NumPy: codes [..., C] and indices [...] of z [..., C]."""
    number = np.asarray(levels)
    basis = np.concatenate(([1], np.cumprod(number[:-1])))
    half_l = (number - 1) * (1 + 1e-3) / 2
    offset = np.where(number % 2 == 1, 0.0, 0.5)
    shift = np.arctanh(offset / half_l)  # the paper prints tan, its released code arctanh
    quantized = np.round(np.tanh(z + shift) * half_l - offset)
    half_width = number // 2
    return quantized / half_width, ((quantized + half_width) * basis).sum(-1)


@pytest.mark.parametrize("levels", [(8, 6, 5), (8, 5, 5, 5), (2, 3), (7, 5, 5, 5, 5)])
def test_fsq_is_the_papers(levels: tuple[int, ...]) -> None:
    x = encoded(len(levels), batch=64, scale=3)
    code = FSQ(levels=levels)(x)
    codes, indices = papers_fsq(x.movedim(1, -1).double().numpy(), list(levels))
    np.testing.assert_allclose(code.latent.movedim(1, -1).numpy(), codes, atol=1e-5)
    assert code.indices is not None
    np.testing.assert_array_equal(code.indices.numpy(), indices)
    assert float(code.bits[0]) == pytest.approx(9 * math.log2(math.prod(levels)))


def test_every_entry_of_the_implied_codebook_can_be_reached() -> None:
    fsq = FSQ(levels=(4, 3))
    ends = torch.linspace(-4, 4, 201)
    x = torch.stack(list(torch.meshgrid(ends, ends, indexing="ij")))[None]
    indices = fsq(x).indices
    assert indices is not None
    assert set(indices.flatten().tolist()) == set(range(12))


def test_strange_latents_are_snapped_to_the_nearest_level() -> None:
    fsq = FSQ(levels=(4, 3))
    levels = [[-1, -0.5, 0, 0.5], [-1, 0, 1]]
    strange = encoded(2, batch=16, scale=2)
    snapped = fsq.snap(strange).movedim(1, -1).reshape(-1, 2)
    for row, code in zip(strange.movedim(1, -1).reshape(-1, 2).tolist(), snapped.tolist(), strict=True):
        nearest = min(itertools.product(*levels), key=lambda c: sum((a - b) ** 2 for a, b in zip(c, row, strict=True)))
        assert code == pytest.approx(nearest)


@pytest.mark.parametrize("levels", [(), (1, 3)])
def test_too_few_levels_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"bottleneck\.levels=.*at least 2"):
        FSQ(levels=levels)


# -- vq ----------------------------------------------------------------------------------------------------------------


def test_a_vector_becomes_the_nearest_entry() -> None:
    vq, x = VQ(codes=16, channels=4), encoded(4)
    code = vq(x)
    flat = x.movedim(1, -1).reshape(-1, 4)
    nearest = torch.cdist(flat.double(), vq.codebook.double()).argmin(1)
    assert code.indices is not None
    assert code.indices.flatten().tolist() == nearest.tolist()
    torch.testing.assert_close(code.latent.movedim(1, -1).reshape(-1, 4), vq.codebook[nearest])
    error = (flat - vq.codebook[nearest]).square().view(4, -1).mean(1)
    torch.testing.assert_close(code.penalty, error)
    assert float(code.bits[0]) == pytest.approx(9 * 4)


def test_the_first_step_fills_the_codebook_with_vectors_of_the_batch() -> None:
    vq, x = VQ(codes=16, channels=4), encoded(4)
    moved(vq, [vq(x)])
    distances = torch.cdist(vq.codebook.double(), x.movedim(1, -1).reshape(-1, 4).double())
    assert distances.min(1).values.max() < 1e-5
    assert len(torch.unique(vq.codebook.round(decimals=4), dim=0)) == 16, "each another one"


def test_an_entry_goes_to_the_mean_of_what_chooses_it() -> None:
    """Of two clusters, whatever vectors began (van den Oord et al. 2017, appendix A.1)."""
    vq = VQ(codes=2, channels=1, dead=0.0)
    x = torch.cat([torch.full((6, 1, 1, 1), -1.0), torch.full((2, 1, 1, 1), 3.0)])
    x = x + 0.1 * torch.tensor([-1.0, 1.0] * 4).view(-1, 1, 1, 1)
    vq.codebook.copy_(torch.tensor([[-0.5], [2.5]]))
    for step in range(1, 1500):
        moved(vq, [vq(x)], step)
    torch.testing.assert_close(vq.codebook, torch.tensor([[-1.0], [3.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(vq.count, torch.tensor([6.0, 2.0]), atol=1e-3, rtol=0)


def test_dead_entries_are_revived_and_used_ones_stay() -> None:
    vq, x = VQ(codes=8, channels=4), encoded(4, batch=32)
    moved(vq, [vq(x)])
    vq.codebook[3], vq.total[3], vq.count[3] = 100.0, 0.1, 1e-3
    before = vq.codebook.clone()
    moved(vq, [vq(x)], step=1)
    assert vq.codebook[3].abs().max() < 5, "a vector of the batch"
    others = [i for i in range(8) if i != 3]
    assert (vq.codebook[others] - before[others]).abs().max() < 1, "moved a little"
    code = vq(x)
    assert code.indices is not None
    assert 3 in code.indices.flatten().tolist()


def test_revival_is_keyed_by_the_step_and_by_nothing_else() -> None:
    first, second, other = (VQ(codes=8, channels=4) for _ in range(3))
    x = encoded(4, batch=16)
    for vq, step in ((first, 0), (second, 0), (other, 0)):
        vq.load_state_dict(first.state_dict())
        torch.rand(5)  # whatever anybody else draws
        moved(vq, [vq(x)], step)
    assert torch.equal(first.codebook, second.codebook)
    for vq, step in ((first, 7), (second, 7), (other, 8)):
        vq.count.zero_()
        moved(vq, [vq(x)], step)
    assert torch.equal(first.codebook, second.codebook)
    assert not torch.equal(first.codebook, other.codebook)


def test_use_and_perplexity_of_known_shares() -> None:
    vq = VQ(codes=8, channels=1)
    indices = torch.tensor([0] * 4 + [1] * 4).view(1, 2, 4)
    seen = vq.observe(Code(torch.zeros(1), torch.zeros(1), torch.zeros(1), None, indices))
    assert float(seen["codebook_use"]) == 0.25
    assert float(seen["perplexity"]) == pytest.approx(2)
