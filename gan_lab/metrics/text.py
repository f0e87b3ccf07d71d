"""Measures of sentences: likelihood, likeness to held-out ones, and variety, with a bigram model and real ones beside.

Sentences are tokens int64 [N, L], each up to its first 0. A measure's bars are measures, too: `<measure>_bigram` is of
as many sentences of a bigram model, `<measure>_real` of as many that were trained on. No single number tells good text
from bad: a bigram model's BLEU is near that of real text.
"""

from __future__ import annotations

import importlib.util
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gan_lab.core.forward_pass import key
from gan_lab.datasets.bigram import Bigram
from gan_lab.datasets.vocabulary import ended, in_sentence
from gan_lab.metrics.base import OfColumns
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.registry import metrics

Sentence = Sequence[int]
NEEDS_SACREBLEU = "it needs sacrebleu: pip install 'hydra-gan-lab[text]'"


def sentences(tokens: Tensor) -> list[Sentence]:
    """The tokens of each sentence of rows [N, L], without its end."""
    return [ended(row) for row in tokens.tolist()]


def ngrams(sentence: Sentence, order: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(sentence[i : i + order]) for i in range(len(sentence) - order + 1))


class References:
    """How often each n-gram occurs at most in one of the references, and, without that one, in another."""

    def __init__(self, references: Sequence[Sentence], most: int) -> None:
        self.most = most
        self.lengths = Counter(map(len, references))
        self.first: dict[tuple[int, ...], int] = {}
        self.second: dict[tuple[int, ...], int] = {}
        for sentence in references:
            for order in range(1, most + 1):
                for ngram, count in ngrams(sentence, order).items():
                    first = self.first.get(ngram, 0)
                    self.first[ngram] = max(first, count)
                    self.second[ngram] = max(self.second.get(ngram, 0), min(first, count))

    def nearest_length(self, length: int, itself: bool) -> int:
        """The length of the reference nearest in length, the shorter of two; not the sentence itself if that is one."""
        others = self.lengths - Counter({length: 1}) if itself else self.lengths
        return min(others, key=lambda other: (abs(other - length), other))

    def bleu(self, hypotheses: Sequence[Sentence], *, themselves: bool = False) -> float:
        """Corpus BLEU in [0, 1] (Papineni et al. 2002, doi 10.3115/1073083.1073135), by sacrebleu with its smoothing.

        Every reference is one of every hypothesis; with `themselves`, the hypotheses are the references, and each is
        compared with the others.
        """
        from sacrebleu.metrics import BLEU

        matched, total, length, reference = [0] * self.most, [0] * self.most, 0, 0
        for sentence in hypotheses:
            length += len(sentence)
            reference += self.nearest_length(len(sentence), themselves)
            for order in range(1, self.most + 1):
                for ngram, count in ngrams(sentence, order).items():
                    known = self.first.get(ngram, 0)
                    if themselves and count == known:
                        known = self.second[ngram]
                    matched[order - 1] += min(count, known)
                    total[order - 1] += count
        score = BLEU.compute_bleu(matched, total, length, reference, "exp", max_ngram_order=self.most)
        return float(score.score) / 100


# -- whose sentences ---------------------------------------------------------------------------------------------------


def bigram_of(seen: MetricInputs) -> Bigram:
    """A bigram model of the data that were trained on."""
    tokens = seen.train.columns["sample"]
    return Bigram(tokens, int(max(tokens.max(), seen["held_out"].max())) + 1)


def drawn(seen: MetricInputs) -> Tensor:
    return seen["sample"]


def of_bigram(seen: MetricInputs) -> Tensor:
    return bigram_of(seen).sample(len(seen), seen["held_out"].shape[1], seed=0)


def trained_on(seen: MetricInputs) -> Tensor:
    """As many rows of the data that were trained on, always the same ones."""
    tokens = seen.train.columns["sample"]
    return tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(key("real text")))[: len(seen)]]


# -- measures ----------------------------------------------------------------------------------------------------------


@metrics.register("held_out_nll")
class HeldOutNLL(OfColumns):
    """The negative log-likelihood of held-out sentences under the generator, in nats a token, their ends included."""

    word, better, headline = "held_out_nll", "lower", True
    reads = frozenset({"held_out", "nll"})

    def nll(self, seen: MetricInputs) -> Tensor:
        """Of each sentence in nats, float64 [N]."""
        return seen["nll"]

    def __call__(self, seen: MetricInputs) -> Mapping[str, Any]:
        each, tokens = self.nll(seen), in_sentence(seen["held_out"]).sum(1)
        value = float(each.sum() / tokens.sum())
        # The delta method's standard error of a ratio of means.
        error = float((each - value * tokens).std() / tokens.double().mean()) / math.sqrt(len(each))
        return {"value": value, **({"standard_error": error} if len(each) > 1 else {})}


@metrics.register("held_out_nll_bigram")
class HeldOutNLLOfBigram(HeldOutNLL):
    """The same under a bigram model with Witten-Bell smoothing."""

    word, constant = "held_out_nll_bigram", True

    def nll(self, seen: MetricInputs) -> Tensor:
        return bigram_of(seen).nll(seen["held_out"])


class OfSentences(OfColumns):
    """A number of sentences: the generator's, a bigram model's, or real ones."""

    reads = frozenset({"sample", "held_out"})
    whose: ClassVar[Callable[[MetricInputs], Tensor]]

    @abstractmethod
    def of(self, written: Sequence[Sentence], held_out: Callable[[], Sequence[Sentence]]) -> float | None: ...

    def __call__(self, seen: MetricInputs) -> float | None:
        whose = type(self).whose
        return self.of(sentences(whose(seen)), lambda: sentences(seen["held_out"]))


class Bleu(OfSentences):
    """Corpus BLEU against all held-out sentences, in [0, 1]."""

    better: Literal["higher"] | None = "higher"
    order = 4

    def lacks(self) -> str | None:
        return None if importlib.util.find_spec("sacrebleu") else NEEDS_SACREBLEU

    def of(self, written: Sequence[Sentence], held_out: Callable[[], Sequence[Sentence]]) -> float | None:
        return References(held_out(), self.order).bleu(written)


class SelfBleu(Bleu):
    """Corpus BLEU-4 of each sentence against the others (Zhu et al. 2018, arXiv 1802.01886): high where they are alike.

    Neither more nor less of it is better: noise has none. The value of real sentences is the aim.
    """

    better = None
    absent = "it takes two sentences"

    def of(self, written: Sequence[Sentence], held_out: Callable[[], Sequence[Sentence]]) -> float | None:
        return References(written, self.order).bleu(written, themselves=True) if len(written) > 1 else None


class Distinct(OfSentences):
    """Different pairs of neighbouring tokens over all of them (Li et al. 2016, arXiv 1510.03055, section 5.3).

    Neither more nor less of it is better: noise has the most. It falls with the number of sentences.
    """

    better, order = None, 2
    absent = "no sentence has two tokens"

    def of(self, written: Sequence[Sentence], held_out: Callable[[], Sequence[Sentence]]) -> float | None:
        counts = sum((ngrams(sentence, self.order) for sentence in written), Counter())
        return len(counts) / counts.total() if counts else None


WHOSE: Mapping[str, tuple[Callable[[MetricInputs], Tensor], str]] = {
    "": (drawn, ""),
    "_bigram": (of_bigram, " Of a bigram model's sentences."),
    "_real": (trained_on, " Of real sentences, which were trained on."),
}


def register(word: str, measure: type[OfSentences], **settings: Any) -> None:
    """Register a measure and its bars."""
    for suffix, (whose, says) in WHOSE.items():
        about: dict[str, Any] = {"word": word + suffix, "whose": staticmethod(whose), "constant": bool(suffix)}
        about |= {"__doc__": f"{measure.__doc__}{says}", "__module__": __name__, "headline": True, **settings}
        metrics.register(word + suffix)(type(f"{measure.__name__}{suffix}", (measure,), about))


for order in (2, 3, 4, 5):
    register(f"bleu{order}", Bleu, order=order)
register("self_bleu", SelfBleu)
register("distinct2", Distinct)
