"""Steps of compiled networks against eager ones, and what compiling takes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from unittest.mock import patch

import torch

from gan_lab.core.loop import step, train
from tests.benchmarks.measure import Goal, Result, alternate, build, seconds
from tests.benchmarks.steps import PRIMER, PRIMER_STEPS

WARM = 8  # steps before any is timed: two rounds of the ring's R1, one of the default's


def default(rounds: int) -> Result:
    """The default with its lazy R1, which stays eager."""
    return _run("compile_default", ("experiment=dcgan_mnist5k",), 16, rounds)


def primer(rounds: int) -> Result:
    return _run("compile_primer", PRIMER, PRIMER_STEPS, rounds)


def mixture(rounds: int) -> Result:
    return _run("compile_mixture", ("experiment=ring",), 100, rounds)


def _run(name: str, words: Sequence[str], times: int, rounds: int) -> Result:
    """`times` steps a round: a multiple of the lazy R1's period."""
    result = Result(name, "s/step", "eager / compiled", Goal("at least", 1))
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        result.notes.append("skipped: torch.compile needs a C++ compiler, and there is none")
        return result
    torch.compiler.reset()
    # A cache of its own, or a second call would compile nothing.
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder):
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
