"""Steps of compiled networks against eager ones, and what compiling takes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch

from gan_lab.core.loop import step, train
from tests.benchmarks import plain
from tests.benchmarks.measure import Goal, Result, alternate, build, seconds
from tests.benchmarks.pairs import timed
from tests.benchmarks.steps import BETTER, PRIMER, PRIMER_STEPS, beside, game_of

WARM = 8  # steps before any is timed: two rounds of the ring's R1, one of the default's


def default(rounds: int) -> Result:
    """The default with its lazy R1, which stays eager."""
    return _run("compile_default", ("experiment=dcgan_mnist5k",), 16, rounds)


def primer(rounds: int) -> Result:
    return _run("compile_primer", PRIMER, PRIMER_STEPS, rounds)


def primer_reuse(rounds: int) -> Result:
    """The primer's plain loop against our compiled game, whose G trains on the fakes that D saw."""
    result = Result("compile_primer_reuse", "s/step", BETTER, Goal("at least", 1.5))
    result.notes.append("another algorithm: our G trains on the fakes that D saw, so losses are not compared")
    if not _can_compile(result):
        return result
    with compiled_afresh():
        game = game_of(*PRIMER, "trainer.reuse_fakes=true", "trainer.compile=true")
        train(game, WARM * game.batch_size)
        return timed(result, game, beside(game, plain.PlainLoop, 64), rounds, PRIMER_STEPS)


def mixture(rounds: int) -> Result:
    return _run("compile_mixture", ("experiment=ring",), 100, rounds)


def _run(name: str, words: Sequence[str], times: int, rounds: int) -> Result:
    """`times` steps a round: a multiple of the lazy R1's period."""
    result = Result(name, "s/step", "eager / compiled", Goal("at least", 1))
    if not _can_compile(result):
        return result
    with compiled_afresh():
        ours, eager = (
            build(*words, f"trainer.compile={compile}", log_every=6_400).game for compile in ("true", "false")
        )
        train(eager, WARM * eager.batch_size)
        compiling = seconds(lambda: train(ours, WARM * ours.batch_size))
        for _ in range(rounds):
            mine, baseline = alternate(lambda: step(ours), lambda: step(eager), times)
            result.add(mine, baseline, baseline / mine)
    compiling -= WARM * min(result.ours)
    result.notes.append(f"compiling took {compiling:.0f} s, without a cache")
    return result


def _can_compile(result: Result) -> bool:
    """Whether this machine has a C++ compiler; a note where it has none."""
    found = any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++")))
    if not found:
        result.notes.append("skipped: torch.compile needs a C++ compiler, and there is none")
    return found


@contextmanager
def compiled_afresh() -> Iterator[None]:
    """A cache of its own, or a second call would compile nothing."""
    torch.compiler.reset()
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder):
        yield
