"""How near a step comes to what the machine can do at most: the rate at which it multiplies matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, shape_wrapper

from gan_lab.core.loop import step
from gan_lab.run.profiling import Operations
from tests.benchmarks.measure import Goal, Result, alternate
from tests.benchmarks.steps import PRIMER, PRIMER_STEPS, game_of

SIZE = 2048  # of the square matrices
aten = torch.ops.aten


def operations(action: Callable[[], object]) -> int:
    """Floating point operations of matrix products and convolutions, forward and backward, products with padding aside.

    Torch's counter takes a convolution's border of zeros for work, which a kernel may leave out. Our own convolutions
    by matrix products do multiply what they pad, and are counted so.
    """
    convolutions = {aten.convolution: _convolution, aten.convolution_backward: _convolution_backward}
    with Operations(flop_registry | {kind: shape_wrapper(count) for kind, count in convolutions.items()}) as counter:
        action()
    return int(counter.total)


def _convolution(x: Any, weight: Any, *rest: Any, out_shape: Any) -> int:
    counted = flop_registry[aten.convolution](x, weight, *rest, out_val=out_shape)
    return round(counted * _inside(x, weight, out_shape, rest))


def _convolution_backward(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any) -> int:
    counted = flop_registry[aten.convolution_backward](grad, x, weight, *rest, out_val=out_shape)
    return round(counted * _inside(x, weight, grad, rest))


def _inside(x: Sequence[int], weight: Sequence[int], made: Sequence[int], rest: Sequence[Any]) -> float:
    """The share of the products of kernels with pixels in those of kernels with pixels and padding."""
    _, stride, padding, dilation, transposed, *_ = rest
    maps, pictures = (x, made) if transposed else (made, x)
    share = 1.0
    for places, pixels, taps, pace, border, gap in zip(
        maps[2:], pictures[2:], weight[2:], stride, padding, dilation, strict=True
    ):
        at = [place * pace + tap * gap - border for place in range(places) for tap in range(taps)]
        share *= sum(0 <= pixel < pixels for pixel in at) / len(at)
    return share


def matmul(rounds: int) -> Result:
    """The primer's step, and square matrices in single precision."""
    result = Result("matmul_limit", "GFLOP/s", "ours / torch.mm", Goal("at least", 0.7))
    game = game_of(*PRIMER)
    count = operations(lambda: step(game))
    result.notes.append(f"{count / 1e9:.0f} GFLOP a step, products with padding left out; matrices of size {SIZE}")
    left, right, product = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE), torch.empty(SIZE, SIZE)

    def multiply() -> None:
        torch.mm(left, right, out=product)

    multiply()
    for _ in range(rounds):
        ours, baseline = alternate(lambda: step(game), multiply, PRIMER_STEPS)
        rates = count / ours / 1e9, 2 * SIZE**3 / baseline / 1e9
        result.add(*rates, rates[0] / rates[1])
    return result
