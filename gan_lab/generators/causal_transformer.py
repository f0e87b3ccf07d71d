"""A small causal transformer over tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from gan_lab.generators.tokens import TokenGenerator
from gan_lab.registry import Depth, Positive, generators


class CausalBlock(nn.Module):
    """x + attention, then x + perceptron, of normalized inputs (Xiong et al. 2020, arXiv 2002.04745, figure 1b)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, known: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """`known` are keys and values [B, heads, T', d] of earlier positions; with them, x has a single one."""
        parts = self.query_key_value(self.first_norm(x)).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        if known is not None:
            key, value = torch.cat([known[0], key], dim=2), torch.cat([known[1], value], dim=2)
        attended = scaled_dot_product_attention(query, key, value, is_causal=known is None)
        x = x + self.projection(attended.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.second_norm(x)), (key, value)


@generators.register("causal_transformer")
class CausalTransformerGenerator(TokenGenerator):
    """`depth` causal blocks over embeddings of tokens and positions (Vaswani et al. 2017, arXiv 1706.03762).

    Without dropout, so that a sentence's likelihood is one number. Raises ValueError where the heads do not divide the
    width.
    """

    def __init__(
        self, vocabulary_size: int, length: int, *, width: Positive = 128, depth: Depth = 2, heads: Positive = 4
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"generator.width={width} is not divisible by generator.heads={heads}")
        self.vocabulary_size, self.length = vocabulary_size, length
        self.embedding, self.position = nn.Embedding(vocabulary_size, width), nn.Embedding(length, width)
        for table in (self.embedding, self.position):
            nn.init.normal_(table.weight, 0.0, 0.02)  # GPT-2's
        self.blocks = nn.ModuleList(CausalBlock(width, heads) for _ in range(depth))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, vocabulary_size)

    def forward(self, before: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        known = state or [None] * len(self.blocks)
        start = 0 if state is None else state[0][0].shape[2]
        positions = torch.arange(start, start + before.shape[1], device=before.device)
        x = self.embedding(before) + self.position(positions)
        seen = []
        for block, earlier in zip(self.blocks, known, strict=True):
            x, cache = block(x, earlier)
            seen.append(cache)
        return self.output(self.norm(x)), seen
