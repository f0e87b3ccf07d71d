"""Every generator of tokens: step by step as at once, causal, an exact draw, a likelihood that sums to one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from gan_lab import registry
from gan_lab.datasets.bigram import previous
from gan_lab.datasets.vocabulary import in_sentence
from gan_lab.generators.relational_memory import RelationalMemory
from gan_lab.generators.tokens import sampled
from gan_lab.tasks.text import gumbel, relaxed, token_losses

registry.load()
NAMES = sorted(n for n, cls in registry.generators.classes.items() if "vocabulary_size" in registry.supplied(cls))
WORDS, LENGTH = 3, 3


@pytest.fixture(params=NAMES)
def net(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    config = OmegaConf.create({"name": request.param, "width": 8})
    made = registry.generators.build(config, vocabulary_size=WORDS, length=LENGTH)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # far from uniform
    return made.eval()


def test_the_three_generators_are_here() -> None:
    assert set(NAMES) >= {"lstm", "relational_memory", "causal_transformer"}


def test_calls_with_a_token_each_are_one_call_with_all(net: Any) -> None:
    before = torch.tensor([[0, 1, 2], [0, 2, 2]])
    at_once, _ = net(before)
    state, steps = None, []
    for token in before.split(1, dim=1):
        logits, state = net(token, state)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), at_once)


def test_a_token_changes_no_logits_before_it(net: Any) -> None:
    first, second = (net(torch.tensor([[0, 1, last]]))[0] for last in (1, 2))
    torch.testing.assert_close(first[:, :2], second[:, :2])
    assert not torch.allclose(first[:, 2], second[:, 2])


def sentences() -> torch.Tensor:
    """All different rows of up to three tokens of two words: 1 + 2 + 4 + 8."""
    rows = torch.tensor(list(itertools.product(range(WORDS), repeat=LENGTH)))
    return (rows * in_sentence(rows)).unique(dim=0)


def test_the_likelihoods_of_all_sentences_sum_to_one(net: Any) -> None:
    rows = sentences()
    assert len(rows) == 15
    assert token_losses(net, rows).sum(1).neg().exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_sentences_are_drawn_as_often_as_their_likelihood_says(net: Any) -> None:
    count = 20_000
    random = torch.Generator().manual_seed(0)
    drawn = sampled(net, gumbel(torch.rand(count, LENGTH, WORDS, generator=random)))
    rows = sentences()
    expected = token_losses(net, rows).sum(1).neg().exp()
    found = torch.stack([(drawn == row).all(1).float().mean() for row in rows])
    assert float(found.sum()) == pytest.approx(1)  # nothing follows an end
    deviation = (expected * (1 - expected) / count).sqrt()
    assert bool(((found - expected).abs() < 4.5 * deviation + 1e-6).all())


def test_relaxed_sentences_are_distributions_near_the_drawn_ones_where_it_is_cold(net: Any) -> None:
    noise = gumbel(torch.rand(64, LENGTH, WORDS, generator=torch.Generator().manual_seed(1)))
    tokens = sampled(net, noise)
    one_hot = torch.nn.functional.one_hot(tokens, WORDS).float()
    soft, cold, hard = (relaxed(net, noise, beta, hard=hard) for beta, hard in ((1, False), (1e4, False), (1, True)))
    torch.testing.assert_close(soft.sum(2), torch.ones(64, LENGTH))
    torch.testing.assert_close(cold, one_hot, atol=0.02, rtol=0)
    torch.testing.assert_close(hard, one_hot)
    ended = ~in_sentence(tokens)
    assert ended.any()
    assert torch.equal(soft[ended], one_hot[ended])
    gradients = [torch.autograd.grad(x[..., 1].sum(), [*net.parameters()], allow_unused=True) for x in (soft, hard)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients[0])


def test_the_logits_that_are_relaxed_are_those_that_were_drawn_by(net: Any) -> None:
    """The single pass over drawn tokens is the recurrence: its largest entries are the tokens."""
    noise = gumbel(torch.rand(64, LENGTH, WORDS, generator=torch.Generator().manual_seed(2)))
    tokens = sampled(net, noise)
    logits, _ = net(previous(tokens))
    kept = in_sentence(tokens)
    assert torch.equal((logits + noise).argmax(2)[kept], tokens[kept])


def test_the_likelihood_counts_the_end_and_nothing_after_it() -> None:
    uniform = lambda before: (torch.zeros(*before.shape, 4), None)  # noqa: E731
    losses = token_losses(uniform, torch.tensor([[1, 2, 0, 0], [1, 2, 3, 1], [0, 0, 0, 0]]))
    assert losses.sum(1).tolist() == pytest.approx([3 * math.log(4), 4 * math.log(4), math.log(4)])


def test_the_memory_attends_as_torchs_multi_head_attention_does() -> None:
    torch.manual_seed(0)
    core = RelationalMemory(slots=3, width=8, heads=2)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([core.query.weight, core.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([core.query.bias, core.key_value.bias]))
        theirs.out_proj.weight.copy_(torch.eye(8))
        theirs.out_proj.bias.zero_()
        memory, x = torch.randn(2, 3, 8), torch.randn(2, 1, 8)
        rows = torch.cat([memory, x], dim=1)
        torch.testing.assert_close(core.attention(memory, x), theirs(memory, rows, rows)[0])


@pytest.mark.parametrize("name", ["relational_memory", "causal_transformer"])
def test_heads_that_do_not_divide_the_width_are_refused(name: str) -> None:
    config = OmegaConf.create({"name": name, "width": 9, "heads": 2})
    with pytest.raises(ValueError, match=r"width=9 is not divisible by generator\.heads"):
        registry.generators.build(config, vocabulary_size=WORDS, length=LENGTH)
