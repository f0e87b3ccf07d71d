"""Sentences of a random LSTM, whose likelihood is known: how probable samples are under the truth can be computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import key
from gan_lab.datasets.bigram import Bigram, previous
from gan_lab.datasets.store import Store
from gan_lab.datasets.vocabulary import END, MOST_WORDS, Vocabulary, in_sentence
from gan_lab.registry import Bounds, Positive, datasets, unknown

WIDTH = 32  # of embeddings and state, as in the paper
CHUNK = 256  # sentences at once
Words = Annotated[int, Bounds(2, MOST_WORDS)]


class OracleLSTM(nn.Module):
    """An LSTM whose parameters are all drawn from N(0, 1) (Yu et al. 2017, arXiv 1609.05473, section 5.1)."""

    def __init__(self, vocabulary_size: int, seed: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.output = nn.Linear(WIDTH, vocabulary_size)
        random = torch.Generator().manual_seed(key("oracle", seed))
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=random).requires_grad_(False)

    def forward(self, before: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Any]:
        """Logits [B, T, V] of the token after each of `before` [B, T], and the state to go on from."""
        hidden, state = self.lstm(self.embedding(before), state)
        return self.output(hidden), state

    def sample(self, num: int, length: int, seed: int) -> Tensor:
        """Rows of tokens [num, length]."""
        return torch.cat([self._chunk(start, length, seed)[: num - start] for start in range(0, num, CHUNK)])

    def _chunk(self, start: int, length: int, seed: int) -> Tensor:
        random = torch.Generator().manual_seed(key("oracle sentences", seed, start))
        tokens, state = [torch.full((CHUNK, 1), END)], None
        for _ in range(length):
            logits, state = self(tokens[-1], state)
            tokens.append(torch.multinomial(logits[:, 0].softmax(1), 1, generator=random))
        rows = torch.cat(tokens[1:], dim=1)
        return rows * in_sentence(rows)

    def nll(self, tokens: Tensor) -> Tensor:
        """The negative log-likelihood of each sentence [N, L] in nats, float64 [N]."""
        parts = []
        for part in tokens.split(CHUNK):
            log_p = self(previous(part))[0].double().log_softmax(2)
            each = -log_p.gather(2, part[..., None]).squeeze(2)
            parts.append((each * in_sentence(part)).sum(1))
        return torch.cat(parts)


@datasets.register("oracle")
class Oracle:
    """Sentences of up to `length` words that a fixed random LSTM has made: the oracle of SeqGAN's synthetic data.

    `oracle_nll` is the negative log-likelihood of samples under that LSTM in nats a token: near that of its own
    sentences, `oracle_nll_real`, for a generator that makes the like. A generator that repeats the most probable ones
    gets below it, so look at `held_out_nll` and `self_bleu`, too. `oracle_nll_bigram` is a bigram model's. Unlike the
    paper's, its words include the end of a sentence, so some are shorter.
    """

    num_classes = None
    splits = ("train", "test")
    lower_is_better = ("oracle_nll", "oracle_nll_bigram", "oracle_nll_real")
    bars = ("oracle_nll_bigram", "oracle_nll_real")

    def __init__(self, *, vocabulary_size: Words = 5000, length: Positive = 20, sentences: Positive = 10_000) -> None:
        self.vocabulary = Vocabulary(("", *(f"w{number}" for number in range(1, vocabulary_size))))
        self.length, self.sentences = length, sentences
        self.sample_shape = (length,)
        self.columns = {"sample": self.vocabulary.column(length)}

    @cached_property
    def network(self) -> OracleLSTM:
        return OracleLSTM(len(self.vocabulary), seed=0)

    def load(self, split: str = "train") -> Store:
        """Tokens, int64 [N, length]: the same in every run, and others for split "test"."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        return Store({"sample": self.network.sample(self.sentences, self.length, self.splits.index(split))})

    @property
    def metrics(self) -> Mapping[str, Callable[[Tensor], float]]:
        return {"oracle_nll": self.nll, "oracle_nll_bigram": self._of_bigram, "oracle_nll_real": self._of_itself}

    def nll(self, tokens: Tensor) -> float:
        """Of samples [N, L], in nats a token."""
        return float(self.network.nll(tokens).sum() / in_sentence(tokens).sum())

    def _of_bigram(self, tokens: Tensor) -> float:
        bigram = Bigram(self.load("train").columns["sample"], len(self.vocabulary))
        return self.nll(bigram.sample(len(tokens), self.length, seed=0))

    def _of_itself(self, tokens: Tensor) -> float:
        return self.nll(self.load("test").columns["sample"][: len(tokens)])
