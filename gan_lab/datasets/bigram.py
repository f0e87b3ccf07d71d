"""A bigram model of sentences: what counting alone reaches, as a bar for networks."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.core.forward_pass import key
from gan_lab.datasets.vocabulary import END, in_sentence

MOST_PAIRS = 1 << 27  # entries of the table of counts, half a gigabyte


class Bigram:
    """Probabilities of a token after the one before it, with Witten-Bell smoothing, from rows of tokens [N, L].

    p(w | v) = (c(v, w) + t(v) p(w)) / (c(v) + t(v)),  where t(v) is the number of different tokens seen after v, and
    p(w) has one added to each count (Witten and Bell 1991, doi 10.1109/18.87000, method C; Chen and Goodman 1999, doi
    10.1006/csla.1999.0128, section 2.6). A sentence begins after the token that ends one.
    """

    def __init__(self, tokens: Tensor, vocabulary_size: int) -> None:
        if vocabulary_size**2 > MOST_PAIRS:
            raise ValueError(f"a bigram model of {vocabulary_size:,} words takes too much memory")
        counted = in_sentence(tokens)
        pairs = previous(tokens)[counted] * vocabulary_size + tokens[counted]
        counts = torch.bincount(pairs, minlength=vocabulary_size**2).view(vocabulary_size, vocabulary_size).float()
        unigram = counts.sum(0) + 1
        followers = (counts > 0).sum(1, keepdim=True).clamp(min=1)  # after what was never seen, the unigram
        self.probabilities = (counts + followers * unigram / unigram.sum()) / (counts.sum(1, keepdim=True) + followers)

    def nll(self, tokens: Tensor) -> Tensor:
        """The negative log-likelihood of each sentence in nats, float64 [N]."""
        each = -self.probabilities[previous(tokens), tokens].double().log()
        return (each * in_sentence(tokens)).sum(1)

    def sample(self, num: int, length: int, seed: int) -> Tensor:
        """Rows of tokens [num, length], of sentences that end where they are as long."""
        random = torch.Generator().manual_seed(key("bigram", seed))
        rows = torch.full((num, length), END)
        token = torch.full((num,), END)
        for position in range(length):
            token = torch.multinomial(self.probabilities[token], 1, generator=random).squeeze(1)
            rows[:, position] = token
        return rows * in_sentence(rows)


def previous(tokens: Tensor) -> Tensor:
    """The token before each of [N, L]; before the first one, that which ends a sentence."""
    return torch.cat([torch.full_like(tokens[:, :1], END), tokens[:, :-1]], dim=1)
