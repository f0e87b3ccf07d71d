"""RelGAN's discriminator: convolutions over several embedded representations of a sentence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lab.core.types import DiscriminatorOutput
from gan_lab.registry import Positive, discriminators


@discriminators.register("token_convolutions")
class TokenConvolutions(nn.Module):
    """Judges each of several embedded representations (Nie, Narodytska and Patel 2019, ICLR, section 2.3).

    A sentence [B, L, V], of one-hot rows or of probabilities, is embedded `representations` times, each with an
    embedding matrix of its own to `embedding_dim` numbers. The same convolutions of each of the `windows`, with their
    largest values over the positions (Kim 2014, arXiv 1408.5882), and a perceptron then give logits
    [B, representations]. Raises ValueError for a window that is longer than the sentences.
    """

    rowwise = True

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        representations: Positive = 16,
        embedding_dim: Positive = 4,
        windows: tuple[Positive, ...] = (2, 3, 4, 5),
        width: Positive = 64,
    ) -> None:
        super().__init__()
        if not windows or max(windows) > length:
            raise ValueError(
                f"discriminator.windows={list(windows)}: give some of at most {length} tokens, as sentences have"
            )
        self.representations, self.embedding_dim = representations, embedding_dim
        self.embedding = nn.Linear(vocabulary_size, representations * embedding_dim, bias=False)
        nn.init.normal_(self.embedding.weight)  # a row selects one word's, so its scale is not that of a sum
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_dim, width, window) for window in windows)
        self.hidden = nn.Linear(width * len(windows), width)
        self.output = nn.Linear(width, 1)

    def forward(self, sentence: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        embedded = self.embedding(sentence).unflatten(2, (self.representations, self.embedding_dim))
        apart = embedded.permute(0, 2, 3, 1).flatten(0, 1)  # [B representations, embedding_dim, L]
        found = torch.cat([convolution(apart).amax(2) for convolution in self.convolutions], dim=1).relu()
        features = nn.functional.leaky_relu(self.hidden(found), 0.2)
        logits = self.output(features).view(len(sentence), self.representations)
        return DiscriminatorOutput(logits, None, (features.view(len(sentence), -1),))
