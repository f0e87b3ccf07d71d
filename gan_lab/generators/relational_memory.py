"""RelGAN's generator: a recurrent memory whose slots attend to each other and to the token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from gan_lab.generators.tokens import TokenGenerator
from gan_lab.registry import Positive, generators


class RelationalMemory(nn.Module):
    """One step of the relational memory core (Santoro et al. 2018, arXiv 1806.01822, eq. 2 to 7).

    Memory M [B, slots, width] attends to [M; x] with `heads` heads, then each row goes through a perceptron, both with
    residuals and layer norm; gates of x and tanh(M) mix the result with M, as in an LSTM.
    """

    def __init__(self, slots: int, width: int, heads: int) -> None:
        super().__init__()
        self.slots, self.width, self.heads = slots, width, heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.perceptron = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.gates_of_input = nn.Linear(width, 2 * width)
        self.gates_of_memory = nn.Linear(width, 2 * width, bias=False)

    def initial(self, count: int, like: Tensor) -> Tensor:
        """Rows of the identity, so that slots differ (section 3.2 of the paper's code)."""
        return torch.eye(self.slots, self.width, dtype=like.dtype, device=like.device).expand(count, -1, -1)

    def attention(self, memory: Tensor, x: Tensor) -> Tensor:
        """softmax(M W_q ([M; x] W_k)^T / sqrt d) [M; x] W_v,  eq. 2 and 5."""
        keys, values = self.key_value(torch.cat([memory, x], dim=1)).chunk(2, dim=2)
        apart = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query(memory), keys, values)]
        return scaled_dot_product_attention(*apart).transpose(1, 2).flatten(2)

    def forward(self, memory: Tensor, x: Tensor) -> Tensor:
        """The next memory, from an input [B, 1, width]."""
        attended = self.norms[0](memory + self.attention(memory, x))
        new = self.norms[1](attended + self.perceptron(attended))
        gates = self.gates_of_input(x) + self.gates_of_memory(memory.tanh())
        write, keep = gates.chunk(2, dim=2)
        mixed: Tensor = write.sigmoid() * new.tanh() + (keep + 1).sigmoid() * memory  # + 1: at first it keeps
        return mixed


@generators.register("relational_memory")
class RelationalMemoryGenerator(TokenGenerator):
    """RelGAN's generator (Nie, Narodytska and Patel 2019, ICLR, section 2.1): a relational memory over the tokens.

    Raises ValueError where the heads do not divide the width.
    """

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        embedding_dim: Positive = 32,
        slots: Positive = 1,
        width: Positive = 256,
        heads: Positive = 2,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"generator.width={width} is not divisible by generator.heads={heads}")
        self.vocabulary_size, self.length = vocabulary_size, length
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim)
        self.input = nn.Linear(embedding_dim, width)
        self.memory = RelationalMemory(slots, width, heads)
        self.output = nn.Linear(slots * width, vocabulary_size)

    def forward(self, before: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        inputs = self.input(self.embedding(before))
        memory = self.memory.initial(len(before), inputs) if state is None else state
        seen = []
        for x in inputs.split(1, dim=1):
            memory = self.memory(memory, x)
            seen.append(memory.flatten(1))
        return self.output(torch.stack(seen, dim=1)), memory
