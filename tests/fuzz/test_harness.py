"""The judge of the cases: it sees each way of breaking the rule, and lets what keeps it pass."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import harness
from tests.fuzz.lab import Lab


def refuse(line: str = "gan-lab: no") -> int:
    print(line, file=sys.stderr)
    return 2


def fail() -> int:
    raise KeyError("a")


def write(path: str, then: Callable[[], int] = refuse) -> int:
    Path(path).write_text("x")
    return then()


def wait() -> int:
    time.sleep(60)
    return 0


def compute() -> int:
    while True:
        pass


def allocate() -> int:
    return len(bytearray(os.urandom(1)) * (200 << 20)) * 0


def die() -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


BROKEN: dict[str, tuple[Callable[[], int], str]] = {
    "a traceback": (fail, "traceback KeyError"),
    "an exit code of its own": (lambda: 3, "exit code 3"),
    "a crash": (die, "SIGSEGV"),
    "waiting": (wait, "hang"),
    "computing": (compute, "hang"),
    "memory": (allocate, "memory of"),
    "a file beside a refusal": (lambda: write("new"), "a refused command wrote"),
    "a file of others": (lambda: write("outside/treasure", lambda: 0), "outside changed"),
    "a file of a run": (lambda: write("folder/new", lambda: 0), "a reading command wrote"),
    "code": (lambda: write("marker", lambda: 0), "code of the case ran"),
    "no line": (lambda: 2, "0 lines of ours"),
    "two lines": (lambda: refuse() and refuse(), "2 lines of ours"),
    "an escape": (lambda: refuse("gan-lab: \x1b[2J"), "control characters"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_it_sees(what: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "PATIENCE", 1.0)
    monkeypatch.setattr(harness, "MEMORY", 100 << 20)
    do, cause = BROKEN[what]
    folder = lab.new()
    assert cause in harness.verdict(do, folder, read_only=folder / "folder").cause
    lab.drop(folder)


@pytest.mark.parametrize("do", [refuse, lambda: 0, lambda: write("page.html", lambda: 0)])
def test_it_passes_what_keeps_the_rule(do: Callable[[], int], lab: Lab) -> None:
    folder = lab.new()
    assert not harness.verdict(do, folder, read_only=folder / "folder").cause
    lab.drop(folder)
