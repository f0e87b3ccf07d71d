"""Generators of sentences, token by token: what they have in common, and the LSTM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.registry import Depth, Positive, generators


class TokenGenerator(nn.Module):
    """Base of generators of sentences. `forward` maps tokens, and the state before them, to logits of the next ones.

    `before` int64 [B, T] are tokens in their order, the first of a sentence being 0, which ends the one before; the
    logits [B, T, V] are of the token after each of them. `state` is what an earlier call returned, None at the start:
    calls with a token each give what one call with all of them gives.
    """

    vocabulary_size: int
    length: int

    def forward(self, before: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        raise NotImplementedError(f"{type(self).__name__} makes no tokens")


@generators.register("lstm")
class LSTMGenerator(TokenGenerator):
    """Embeddings, `depth` layers of LSTM, and a linear map to logits (SeqGAN's: Yu et al. 2017, arXiv 1609.05473)."""

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        embedding_dim: Positive = 64,
        width: Positive = 128,
        depth: Depth = 1,
    ) -> None:
        super().__init__()
        self.vocabulary_size, self.length = vocabulary_size, length
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, width, depth, batch_first=True)
        self.output = nn.Linear(width, vocabulary_size)

    def forward(self, before: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        hidden, state = self.lstm(self.embedding(before), state)
        return self.output(hidden), state


@torch.no_grad()
def sampled(net: Any, gumbel: Tensor) -> Tensor:
    """Tokens [B, L] from a generator, by Gumbel noise [B, L, V]: the largest sum of logit and noise is an exact draw.

    After the end of a sentence, all tokens are 0. (Gumbel 1954; Maddison et al. 2017, arXiv 1611.00712, section 2.)
    """
    rows = gumbel.new_zeros(gumbel.shape[:2], dtype=torch.long)
    token, going = rows[:, :1], torch.ones_like(rows[:, :1])
    state = None
    for position in range(gumbel.shape[1]):
        logits, state = net(token, state)
        token = (logits[:, 0].float() + gumbel[:, position]).argmax(1, keepdim=True) * going
        going = going * (token != 0)
        rows[:, position] = token[:, 0]
    return rows
