"""Whole steps in each precision, eager and compiled: beside a plain loop, and beside the card's own limits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_lab.core.loop import step
from gan_lab.run.assembly import Assembly
from tests.benchmarks import plain, steps
from tests.benchmarks.compiling import compiled_afresh
from tests.benchmarks.limits import operations
from tests.gpu.card import PRECISIONS, allocated, device, peak_since, refused, rounding, seconds
from tests.gpu.limits import BANDWIDTH, RATE
from tests.gpu.networks import NETWORKS, built, period
from tests.gpu.plain_loop import NetworkLoop
from tests.gpu.rows import Row, Setting

ROUNDS, SPAN = 5, 0.2  # rounds of about so many seconds of each side
COMPILE_NEEDS = 20.0  # seconds that must be left before a game is compiled


class Traffic(TorchDispatchMode):
    """Bytes that operators read and write, were nothing kept in a cache: each tensor argument and each result once."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = (x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor))
            self.total += sum(x.numel() * x.element_size() for x in tensors)
        return result


def eager(setting: Setting) -> Iterator[Row]:
    yield from _unregistered()
    for name, precision, what in _chosen("eager"):
        absent = _refused(precision, what)
        if absent is None and setting.tiny and name != "dcgan" and precision != "fp32":
            absent = Row(what, note="one precision is enough at tiny sizes", state="skipped")
        yield absent or _row(name, precision, what, setting, compile=False)


def compiled(setting: Setting) -> Iterator[Row]:
    """The precision first that one would compile for, since not all may be reached in time."""
    if not setting.card:
        yield Row("all", note="compiling takes a CPU longer than all the rest: nox -s bench has it", state="skipped")
        return
    for name, precision, what in sorted(_chosen("compiled"), key=lambda row: -PRECISIONS.index(row[1])):
        absent = _refused(precision, what)
        if absent is None and setting.left() < COMPILE_NEEDS:
            absent = Row(what, note=f"less than {COMPILE_NEEDS:.0f} s left to compile it in", state="skipped")
        if absent:
            yield absent
            continue
        with compiled_afresh():
            yield _row(name, precision, what, setting, compile=True)


def _chosen(kind: str) -> list[tuple[str, str, str]]:
    names = [name for name, network in NETWORKS.items() if network.registered]
    return [(name, precision, f"{name} {precision} {kind}") for name in names for precision in PRECISIONS]


def _unregistered() -> Iterator[Row]:
    for name, network in NETWORKS.items():
        if not network.registered:
            yield Row(name, note=f"no generator {network.needs} is registered", state="skipped")


def _refused(precision: str, what: str) -> Row | None:
    why = refused(precision)
    return Row(what, note=why, state="skipped") if why else None


def _row(name: str, precision: str, what: str, setting: Setting, *, compile: bool) -> Row:
    """An error of one game is its row, and the next game follows."""
    try:
        with rounding(precision):
            return _measured(name, precision, what, setting, compile)
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), "")
        return Row(what, note=f"{type(error).__name__}: {line}"[:300], state="error")


def _measured(name: str, precision: str, what: str, setting: Setting, compile: bool) -> Row:
    before = allocated()
    words = f"trainer.precision={'bf16' if precision == 'bf16' else 'fp32'}", f"trainer.compile={compile}"
    assembly = built(name, setting.tiny, str(device()), *words)
    game, every = assembly.game, period(assembly)

    def ours() -> None:
        for _ in range(every):
            step(game)

    warming = seconds(ours, 1)
    for _ in range(0 if setting.tiny else 2):
        ours()
    torch.cuda.reset_peak_memory_stats() if torch.cuda.is_available() else None
    once = seconds(ours, 1)
    peak = peak_since(before)
    theirs = _plain(name, assembly, setting.tiny, every)
    theirs()
    times = 1 if setting.tiny else max(1, round(SPAN / once))
    rounds = [
        (seconds(ours, times) / every, seconds(theirs, times) / every) for _ in range(1 if setting.tiny else ROUNDS)
    ]
    mine, other = (statistics.median(side) for side in zip(*rounds, strict=True))
    shown = game.batch_size * max(phase.repeat for phase in game.phases)
    figures = {
        "ms/step": mine * 1e3, "images/s": shown / mine, "ms/step of the plain loop": other * 1e3,
        "x as fast": statistics.median(b / a for a, b in rounds),
    }  # fmt: skip
    if peak is not None:
        figures["MB at most"] = peak
    if compile:
        figures["s until compiled"] = warming
    else:
        figures |= _shares(ours, every, mine, precision, setting)
    theirs_in = "fp32" if refused("tf32") else "tf32"
    note = f"the plain loop in {theirs_in}" if precision == "bf16" else ""
    return Row(what, figures, note)


def _plain(name: str, assembly: Assembly, tiny: bool, every: int) -> Callable[[], None]:
    """So many steps of the plain loop."""
    network, game = NETWORKS[name], assembly.game
    loop: Any
    if network.loss is None:
        loop = steps.beside(game, plain.PlainLoop, 8 if tiny else 64)
    else:
        loop = NetworkLoop(game, network.loss)

    def run() -> None:
        for _ in range(every):
            loop.step(*loop.draw())

    return run


def _shares(ours: Callable[[], None], every: int, taken: float, precision: str, setting: Setting) -> dict[str, float]:
    """How near a step comes to the card's limits: of the rate of a large matrix product, and of a large copy's."""
    with Traffic() as traffic:
        count = operations(ours)
    rates = {
        "of matmul": (count / every / taken / 1e12, setting.figure("limits", f"matmul {precision}", RATE)),
        "of copy": (traffic.total / every / taken / 1e9, setting.figure("limits", "copy", BANDWIDTH)),
    }
    return {name: rate / limit for name, (rate, limit) in rates.items() if limit}
