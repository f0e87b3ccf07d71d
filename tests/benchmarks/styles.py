"""StyleGAN2's training step, whose rows share one convolution, against one in which each row has weights of its own."""

from __future__ import annotations

from unittest.mock import patch

from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from gan_lab.core.loop import Game, step, train
from gan_lab.generators.modulated import EPSILON
from gan_lab.resampling import filtered
from tests.benchmarks.measure import Goal, Result, alternate, build

# With R1 every fourth step, so that a round has all phases; R1 is D's alone, path length goes through G twice.
WORDS = (
    "experiment=stylegan2_fashion_mnist", "dataset=toy_pictures", "dataset.image_size=32", "dataset.num=640",
    "evaluation.metrics=[]", "regularizer=[r1,path_length]", "regularizer.r1.every=4",
    "regularizer.path_length.every=4",
)  # fmt: skip
STEPS = 4  # timed in a round


def grouped(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, doubling: bool = False) -> Tensor:
    """What `modulated` computes, as one grouped convolution of all rows (Karras et al. 2020, appendix B)."""
    batch, channels, height, width = x.shape
    own = weight * style[:, None, :, None, None]
    if demodulate:
        own = own * (own.square().sum((2, 3, 4), keepdim=True) + EPSILON).rsqrt()
    rows = x.reshape(1, batch * channels, height, width)
    if doubling:
        kernels = own.transpose(1, 2).flatten(0, 1)
        maps = conv_transpose2d(rows, kernels, stride=2, groups=batch)
        return filtered(maps.view(batch, -1, *maps.shape[2:]), 1, gain=4)
    maps = conv2d(rows, own.flatten(0, 1), padding=weight.shape[2] // 2, groups=batch)
    return maps.view(batch, -1, height, width)


def grouped_step(game: Game) -> None:
    with patch("gan_lab.generators.stylegan2.modulated", grouped):
        step(game)


def step_ratio(rounds: int) -> Result:
    """Whole steps of the small twin's networks, grey 32 px, batches of 16."""
    result = Result("stylegan2_step", "s/step", "grouped / ours", Goal("at least", 1))
    ours, baseline = (build(*WORDS, log_every=6_400).game for _ in range(2))
    train(ours, STEPS * ours.batch_size)
    for _ in range(STEPS):
        grouped_step(baseline)
    for _ in range(rounds):
        mine, other = alternate(lambda: step(ours), lambda: grouped_step(baseline), STEPS)
        result.add(mine, other, other / mine)
    return result
