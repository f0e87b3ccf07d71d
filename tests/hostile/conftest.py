"""No test of hostile input may hang or take much memory."""

from __future__ import annotations

import contextlib
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

SECONDS = 30.0
Bounded = Callable[[int], AbstractContextManager[None]]


class Hang(BaseException):
    """Not caught where any error of a decoder is."""


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """A reader that waits for a pipe fails its test and does not stop all others."""

    def late(*_: object) -> None:
        raise Hang(f"it has not ended after {SECONDS:.0f} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory_below() -> Bounded:
    """A context in which Python and numpy together may not hold more than so many bytes at any time."""

    @contextlib.contextmanager
    def below(most: int) -> Iterator[None]:
        tracemalloc.start()
        try:
            yield
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < most, f"{peak:,} bytes"

    return below
