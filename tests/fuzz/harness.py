"""One case in a process of its own: forked from a warm parent, offline, limited, and judged.

What holds for every case: an exit code of `CODES`, no traceback, at most `PATIENCE` seconds and `MEMORY` bytes, no code
of the case run, nothing outside changed, and nothing at all changed where the command refuses.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import resource
import signal
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_lab.core import loop

CODES = (0, 1, 2, 130)
PATIENCE = 10.0  # seconds of computing, or of waiting without any: a busy machine makes no case a failure
STARVED = 60.0  # seconds of waiting at all
MEMORY = 2 << 30  # bytes of resident memory beyond an idle child's
ADDRESSES = 8 << 30  # bytes of address space beyond the parent's; the machine survives what asks for more
FILE_SIZE = 1 << 30
STEPS = 10  # of training in one case, then it is interrupted: more than a subject has left, fewer than a sweep
MARKER = "marker"  # what a case's code would write into the working directory
OUTSIDE = "outside"  # a folder beside the run, which nothing may change
LIMIT = 100_000  # bytes of output that are looked at, at either end

Snapshot = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Verdict:
    """What became of a case. `cause` is empty where the rule holds; equal causes are one bug."""

    code: int  # as a shell has it: 128 + the signal that killed it; -1: it hung
    seconds: float  # of computing or of waiting, whichever the patience is compared with
    memory: int  # bytes beyond an idle child's
    output: str
    cause: str = ""


def verdict(case: Callable[[], int], folder: Path, *, read_only: Path | None = None) -> Verdict:
    """Run the case in `folder` and judge it. `read_only` is a directory that it may never change."""
    before, outside = snapshot(folder), snapshot(folder / OUTSIDE)
    kept = snapshot(read_only) if read_only else {}
    log = folder.with_name(f"{folder.name}.log")
    code, seconds, memory = _ended(_forked(case, folder, log))
    output = _read(log)
    changed = [
        what for what, differs in (
            (f"{OUTSIDE} changed", outside != snapshot(folder / OUTSIDE)),
            ("a refused command wrote", code == 2 and before != snapshot(folder)),
            ("a reading command wrote", read_only is not None and kept != snapshot(read_only)),
            ("code of the case ran", any(folder.rglob(MARKER))),
        ) if differs
    ]  # fmt: skip
    return Verdict(code, seconds, memory, output, "; ".join([*changed, *_broken(code, seconds, memory, output)]))


def _read(log: Path) -> str:
    """The beginning and the end of what was printed."""
    content = log.read_bytes()
    kept = content if len(content) <= 2 * LIMIT else content[:LIMIT] + b"\n" + content[-LIMIT:]
    return kept.decode(errors="backslashreplace")


def _broken(code: int, seconds: float, memory: int, output: str) -> Iterator[str]:
    """What of the rule does not hold, each named by the place in the package where it went wrong."""
    if code == -1:
        yield f"hang at {_place(output)}"
        return
    if "Traceback (most recent call last)" in output:
        kind = re.search(r"^([A-Za-z_][\w.]*)", output.rpartition("recent call last):\n")[2], re.MULTILINE)
        yield f"traceback {kind[1] if kind else '?'} at {_place(output)}"
    if code not in CODES:
        name = signal.Signals(code - 128).name if code > 128 and code != 255 else f"exit code {code}"
        yield f"{name} at {_place(output)}"
    if memory > MEMORY:
        yield f"memory of {memory / 2**30:.1f} GB"
    lines = [line for line in output.splitlines() if line.startswith("gan-lab: ")]
    if code == 2 and len(lines) != 1:
        yield f"{len(lines)} lines of ours for a refusal"
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]", output):
        yield "control characters printed"


def _place(output: str) -> str:
    """The innermost line of the package in the last stack of the output."""
    if "most recent call first" in output:  # faulthandler's
        frames = re.findall(r'File "\S*?/(gan_lab/[^"]+)", line (\d+)', output.rpartition("most recent call first")[2])
        return ":".join(frames[0]) if frames else "?"
    frames = re.findall(r'File "\S*?/(gan_lab/[^"]+)", line (\d+)', output.rpartition("Traceback (most recent")[2])
    return ":".join(frames[-1]) if frames else "outside"


def snapshot(folder: Path) -> Snapshot:
    """Everything below a folder: kind, size and time of files, targets of links. Locks may be touched, not filled."""
    found: Snapshot = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            about = path.lstat()
            kind = stat.S_IFMT(about.st_mode)
            link = os.readlink(path) if stat.S_ISLNK(about.st_mode) else ""
            regular = stat.S_ISREG(about.st_mode)
            time_ns = about.st_mtime_ns if regular and name != ".lock" else 0
            found[str(path.relative_to(folder))] = (kind, about.st_size if regular else 0, time_ns, link)
    return found


# -- the process -------------------------------------------------------------------------------------------------------


def _forked(case: Callable[[], int], folder: Path, log: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        os.chdir(folder)
        _limit()
        faulthandler.enable(sys.stderr)
        _offline()
        _stop_training_soon()
        code = case()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code & 255)


def _limit() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _offline() -> None:
    """No name resolves and no address is reached, so no case depends on a network."""

    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(101, "Network is unreachable")

    socket.getaddrinfo = refused
    socket.socket.connect = refused  # type: ignore[method-assign]


def _stop_training_soon() -> None:
    """Interrupt a training after `STEPS` steps, as Ctrl-C would: a case asks for the lines, not for the training."""
    step, taken = loop.step, 0

    def counted(game: Any) -> None:
        nonlocal taken
        step(game)
        taken += 1
        if taken == STEPS:
            os.kill(os.getpid(), signal.SIGINT)

    loop.step = counted


def _ended(pid: int) -> tuple[int, float, int]:
    """(exit code, seconds, bytes) of a child; one that takes too long is killed with all that it has started."""
    begin, hung = time.monotonic(), False
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if not hung and _too_long(pid, time.monotonic() - begin):
            hung = True
            os.kill(pid, signal.SIGABRT)  # faulthandler shows where it is
            time.sleep(0.2)
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # grandchildren; before it is reaped, so that the number is still its own
    _, status, usage = os.wait4(pid, 0)
    computing, waited = usage.ru_utime + usage.ru_stime, time.monotonic() - begin
    code = -1 if hung else 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return code, waited if hung else computing, max(usage.ru_maxrss * 1024 - idle(), 0)


def _too_long(pid: int, waited: float) -> bool:
    if waited < PATIENCE:
        return False
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    computing = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return computing > PATIENCE or computing < waited / 50 or waited > STARVED


_IDLE: list[int] = []


def idle() -> int:
    """Bytes of a child that does nothing."""
    if not _IDLE:
        pid = os.fork()
        if not pid:
            os._exit(0)
        _IDLE.append(os.wait4(pid, 0)[2].ru_maxrss * 1024)
    return _IDLE[0]
