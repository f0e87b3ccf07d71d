"""Measures of sentences against sacrebleu, closed forms and hand counts."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch

from gan_lab import registry
from gan_lab.datasets.bigram import Bigram
from gan_lab.datasets.store import Store
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.metrics.text import References

registry.load()
TOKENS = torch.tensor([[1, 2, 3, 0], [1, 2, 0, 0], [3, 3, 3, 1], [1, 2, 3, 4]])


def inputs(sample: torch.Tensor, held_out: torch.Tensor = TOKENS, **columns: torch.Tensor) -> MetricInputs:
    return MetricInputs(sample, {"held_out": held_out, **columns}, train=lambda: Store({"sample": TOKENS}))


def measure(word: str, seen: MetricInputs) -> Any:
    return registry.metrics.classes[word]()(seen)


def corpus(count: int, seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randint(1, 6) for _ in range(draw.randint(1, 9))] for _ in range(count)]


def as_words(sentence: list[int]) -> str:
    return " ".join(map(str, sentence))


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_bleu_is_sacrebleus_with_every_reference_for_every_sentence(order: int) -> None:
    sacrebleu = pytest.importorskip("sacrebleu.metrics")
    hypotheses, references = corpus(30, 0), corpus(20, 1)
    theirs = sacrebleu.BLEU(max_ngram_order=order, tokenize="none", force=True).corpus_score(
        [as_words(h) for h in hypotheses], [[as_words(r)] * len(hypotheses) for r in references]
    )
    assert References(references, order).bleu(hypotheses) == pytest.approx(theirs.score / 100, abs=1e-9)


def test_self_bleu_is_sacrebleus_with_all_others_as_references() -> None:
    sacrebleu = pytest.importorskip("sacrebleu.metrics")
    written = corpus(15, 2)
    words = [as_words(sentence) for sentence in written]
    others = [[*words[:i], *words[i + 1 :]] for i in range(len(words))]
    columns = [list(column) for column in zip(*others, strict=True)]
    theirs = sacrebleu.BLEU(tokenize="none", force=True).corpus_score(words, columns)
    assert References(written, 4).bleu(written, themselves=True) == pytest.approx(theirs.score / 100, abs=1e-9)


def test_equal_sentences_have_all_bleu_and_all_self_bleu() -> None:
    pytest.importorskip("sacrebleu")
    same = torch.tensor([[1, 2, 3, 4, 1, 2]] * 3)
    assert measure("bleu5", inputs(same, same)) == pytest.approx(1)
    assert measure("self_bleu", inputs(same, same)) == pytest.approx(1)
    assert measure("self_bleu", inputs(same[:1], same)) is None


def test_distinct_counts_different_pairs() -> None:
    assert measure("distinct2", inputs(TOKENS)) == pytest.approx(5 / 9)  # 12 23 33 31 34 of 2 + 1 + 3 + 3
    assert measure("distinct2", inputs(torch.zeros(2, 4, dtype=torch.long))) is None


def test_the_likelihood_is_nats_a_token_with_the_ends() -> None:
    nll = torch.tensor([4.0, 3.0, 8.0, 4.0], dtype=torch.float64)  # of 4, 3, 4 and 4 tokens
    found = measure("held_out_nll", inputs(TOKENS, nll=nll))
    assert found["value"] == pytest.approx(19 / 15)
    assert 0 < found["standard_error"] < 1


def test_bigram_probabilities_are_witten_bells() -> None:
    """After 2 came 3, 0, 3: p(3 | 2) = (2 + 2 p(3)) / (3 + 2), where p(w) has one added to each count."""
    bigram = Bigram(TOKENS, 5)
    before, after = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
    table = bigram.probability(before, after).view(5, 5)
    torch.testing.assert_close(table.sum(1), torch.ones(5, dtype=torch.float64))
    unigram = (5 + 1) / (15 + 5)  # 3 is 5 of the 15 tokens that are in sentences
    assert float(table[2, 3]) == pytest.approx((2 + 2 * unigram) / 5)
    assert float(bigram.nll(torch.tensor([[2, 0, 0, 0]]))) == pytest.approx(
        -math.log(float(table[0, 2] * table[2, 0])), abs=1e-6
    )


def test_a_bigram_model_writes_as_its_probabilities_say() -> None:
    bigram = Bigram(TOKENS, 5)
    rows = bigram.sample(20_000, 4, seed=0)
    first = torch.bincount(rows[:, 0], minlength=5) / len(rows)
    expected = bigram.probability(torch.zeros(5).long(), torch.arange(5)).float()
    torch.testing.assert_close(first, expected, atol=0.015, rtol=0)
    pairs = rows[rows[:, 0] == 3][:, 1]
    after = bigram.probability(torch.full((5,), 3), torch.arange(5)).float()
    torch.testing.assert_close(torch.bincount(pairs, minlength=5) / len(pairs), after, atol=0.03, rtol=0)
    assert torch.equal(rows, bigram.sample(20_000, 4, seed=0))
    ended = (rows == 0).cumsum(1) > 0
    assert int(rows[ended].sum()) == 0


def test_bars_are_of_the_training_data_and_do_not_change_with_the_samples() -> None:
    pytest.importorskip("sacrebleu")
    words = [f"{word}_{bar}" for word in ("bleu2", "self_bleu", "distinct2") for bar in ("bigram", "real")]
    assert all(registry.metrics.classes[word].constant for word in words)  # type: ignore[attr-defined]
    for word in words:
        assert measure(word, inputs(TOKENS)) == measure(word, inputs(TOKENS.flip(0)))
    assert measure("bleu2_real", inputs(torch.ones(4, 4, dtype=torch.long))) == pytest.approx(1)


def test_without_sacrebleu_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "hydra-gan-lab[text]" in registry.metrics.classes["bleu4"]().lacks()
    assert registry.metrics.classes["distinct2"]().lacks() is None
