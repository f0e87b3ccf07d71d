"""Self-attention between the pixels of a map, and after which maps of a network it stands."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

NARROW, VALUES = 8, 2  # channels of a map over those of its queries and keys, and over those of its values


class SelfAttention(nn.Module):
    """x + gamma o(x): each pixel gets a mean of all pixels' values (Zhang et al. 2019, arXiv 1805.08318, eq. 1 to 3).

    Pixel j's weights are softmax_i(f(x_j) . g(x_i)). gamma starts at zero, so the layer starts as the identity. As in
    the authors' code and BigGAN's, keys and values are pooled 2 x 2 by their maximum, and values have C/2 channels; the
    paper's figure has C/8 and no pooling. All maps are 1 x 1 convolutions without biases. Maps are [B, C, H, W].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, values = max(channels // NARROW, 1), max(channels // VALUES, 1)
        self.query, self.key = (nn.Conv2d(channels, narrow, 1, bias=False) for _ in range(2))
        self.value = nn.Conv2d(channels, values, 1, bias=False)
        self.output = nn.Conv2d(values, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)  # [B, C/8, N]
        key, value = (max_pool2d(made, 2, ceil_mode=True).flatten(2) for made in (self.key(x), self.value(x)))
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # [B, N, N/4]
        attended = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return torch.addcmul(x, self.gamma, self.output(attended))


def attended(maps: Sequence[int], attention: tuple[int, ...] | None, *, most: int, player: str) -> set[int]:
    """After which of a network's maps, by index, self-attention stands: the first one of each size in `attention`.

    `maps` are the shorter sides in the order in which the network makes them. Without sizes (None), it is the largest
    map of at most `most` pixels that is smaller than the picture. Raises ValueError, with the sizes that there are, for
    a map that the network does not make.
    """
    if attention is None:
        fitting = [size for size in maps if size <= most]
        attention = (max(fitting),) if fitting else ()
    for size in attention:
        if size not in maps:
            known = ", ".join(str(size) for size in sorted(set(maps)))
            raise ValueError(
                f"{player}.attention={list(attention)}: this network has no map of {size} px; its maps are {known} px "
                "on the shorter side, and [] is no attention"
            )
    return {list(maps).index(size) for size in attention}
