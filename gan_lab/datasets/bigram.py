"""A bigram model of sentences: what counting alone reaches, as a bar for networks."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.core.forward_pass import key
from gan_lab.datasets.vocabulary import END, in_sentence


class Bigram:
    """Probabilities of a token after the one before it, with Witten-Bell smoothing, from rows of tokens [N, L].

    p(w | v) = (c(v, w) + t(v) p(w)) / (c(v) + t(v)),  where t(v) is the number of different tokens seen after v, and
    p(w) has one added to each count (Witten and Bell 1991, doi 10.1109/18.87000, method C; Chen and Goodman 1999, doi
    10.1006/csla.1999.0128, section 2.6). A sentence begins after the token that ends one.
    """

    def __init__(self, tokens: Tensor, vocabulary_size: int) -> None:
        self.size = vocabulary_size
        kept = in_sentence(tokens)
        before, after = previous(tokens)[kept], tokens[kept]
        self._after = after[before.argsort()]  # grouped by the token before
        self._count = torch.bincount(before, minlength=vocabulary_size)
        self._start = self._count.cumsum(0) - self._count
        self._pairs, self._times = (before * vocabulary_size + after).unique(return_counts=True)
        followers = torch.bincount(self._pairs // vocabulary_size, minlength=vocabulary_size)
        self._followers = followers.clamp(min=1)  # after what was never seen comes p(w)
        unigram = torch.bincount(after, minlength=vocabulary_size).double() + 1
        self._unigram = unigram / unigram.sum()

    def probability(self, before: Tensor, after: Tensor) -> Tensor:
        """Of tokens after others of the same shape, float64."""
        pair = before * self.size + after
        place = torch.searchsorted(self._pairs, pair).clamp(max=len(self._pairs) - 1)
        times = torch.where(self._pairs[place] == pair, self._times[place], 0)
        followers = self._followers[before]
        return (times + followers * self._unigram[after]) / (self._count[before] + followers)

    def nll(self, tokens: Tensor) -> Tensor:
        """The negative log-likelihood of each sentence in nats, float64 [N]."""
        return (-self.probability(previous(tokens), tokens).log() * in_sentence(tokens)).sum(1)

    def sample(self, num: int, length: int, seed: int) -> Tensor:
        """Rows of tokens [num, length], of sentences that end where they are as long."""
        random = torch.Generator().manual_seed(key("bigram", seed))
        rows = torch.full((num, length), END)
        token = torch.full((num,), END)
        for position in range(length):
            token = self._next(token, random)
            rows[:, position] = token
        return rows * in_sentence(rows)

    def _next(self, before: Tensor, random: torch.Generator) -> Tensor:
        """A token for each: one of those seen after the same, or, with the smoothing's share, any."""
        count = self._count[before]
        seen, which = torch.rand(2, len(before), generator=random, dtype=torch.float64)
        place = self._start[before] + (which * count).long()
        of_seen = self._after[place.clamp(max=len(self._after) - 1)]
        of_all = torch.multinomial(self._unigram, len(before), replacement=True, generator=random)
        return torch.where(seen < count / (count + self._followers[before]), of_seen, of_all)


def previous(tokens: Tensor) -> Tensor:
    """The token before each of [N, L]; before the first one, that which ends a sentence."""
    return torch.cat([torch.full_like(tokens[:, :1], END), tokens[:, :-1]], dim=1)
