"""Starts the processes of a run on this machine, passes signals on to them, and ends all where one is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import distributed

from gan_lab.config.identity import resolved
from gan_lab.config.sections import Trainer
from gan_lab.display.terminal import current_label
from gan_lab.run.cards import cards
from gan_lab.run.place import LOOPBACK
from gan_lab.run.ranks import GRACE_SECONDS, POLL
from gan_lab.run.selection import Report
from gan_lab.run.signals import SAVE, ending

LATE_SECONDS = GRACE_SECONDS + 2  # for the others, once one has failed, until they are killed
FAILED = (1, 2)  # exit codes; others are those of a run that all have ended together


@dataclass(frozen=True)
class Order:
    """What each process is to do, as it goes through its standard input."""

    config: dict[str, Any]
    path: str
    experiment: str
    sweep: str | None
    name: str | None
    label: tuple[str, int] | None  # before each line of rank 0
    reports: bool  # whether somebody prunes by its scores
    parent: int


def launch(
    config: DictConfig,
    trainer: Trainer,
    path: Path,
    experiment: str,
    sweep: str | None,
    name: str | None,
    report: Report | None,
    refused: Callable[[str], object] | None,
) -> int:
    """Train with `trainer.processes` processes of this machine. Returns rank 0's exit code; 1 where it was lost."""
    label = current_label()
    told = (label.name, label.others) if label else None
    order = Order(resolved(config), str(path), experiment, sweep, name, told, report is not None, os.getpid())
    store, port = _store()
    with cards(trainer) as variables, _Processes(order, trainer.processes, port, variables) as processes:
        last = 0
        while not processes.ended(store):
            last = _answer(store, report, last)
            time.sleep(POLL)
    if refused and store.check(["refused"]):
        refused(store.get("refused").decode())
    return processes.code


def _store() -> tuple[distributed.Store, int]:
    """A store that no other machine can reach, and its port, which is free."""
    listener = socket.socket()
    listener.bind((LOOPBACK, 0))
    listener.listen(1024)
    port = listener.getsockname()[1]
    store = distributed.TCPStore(
        LOOPBACK, port, None, True, timedelta(seconds=30), wait_for_workers=False, master_listen_fd=listener.detach()
    )
    return distributed.PrefixStore("gan_lab/0", store), port


def _answer(store: distributed.Store, report: Report | None, last: int) -> int:
    """Pass rank 0's newest scores to the search, and its answer back. Returns the number of the newest."""
    if report and store.check([key := f"report/{last + 1}"]):
        asked = json.loads(store.get(key))
        store.set(f"answer/{last + 1}", report(asked["images"], asked["scores"]) or "")
        return last + 1
    return last


class _Processes:
    """The ranks' processes. They have a group of their own, so a terminal's Ctrl-C reaches them once, through us."""

    def __init__(self, order: Order, world: int, port: int, variables: Mapping[str, str]) -> None:
        self.order, self.world, self.port, self.variables = order, world, port, variables
        self.children: list[subprocess.Popen[str]] = []
        self._told: set[int] = set()  # ranks whose death is in the store
        self._failed: float | None = None  # the time at which the first was seen to have failed
        self._beat = b"", time.monotonic()  # rank 0's newest sign of life, and when it came
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> _Processes:
        if threading.current_thread() is threading.main_thread():
            for number in {*ending(), *([SAVE] if SAVE else [])}:
                self._undo.callback(signal.signal, number, signal.signal(number, lambda n, _: self._pass_on(n)))
        threads = max(torch.get_num_threads() // self.world, 1)
        common = {
            "MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(self.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0", "WORLD_SIZE": str(self.world), "OMP_NUM_THREADS": str(threads),
            "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
            **self.variables,
        }  # fmt: skip
        if any(name == "lo" for _, name in socket.if_nameindex()):
            common["GLOO_SOCKET_IFNAME"] = "lo"
        text = json.dumps(asdict(self.order))
        for rank in range(self.world):
            child = subprocess.Popen(
                [sys.executable, "-m", "gan_lab.run.rank"], stdin=subprocess.PIPE, text=True, process_group=0,
                env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )  # fmt: skip
            self.children.append(child)
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
                pipe.write(text)
        return self

    def __exit__(self, *_: object) -> None:
        self._pass_on(signal.SIGKILL)  # whatever is left, after an error here
        for child in self.children:
            child.wait()
        self._undo.close()

    def _pass_on(self, number: int) -> None:
        for child in self.children:
            child.send_signal(number)

    def ended(self, store: distributed.Store) -> bool:
        """Whether all have ended. One that was killed is named in the store; those that hang are killed."""
        codes = [child.poll() for child in self.children]
        for rank, code in enumerate(codes):
            if code is not None and code < 0 and rank not in self._told:
                self._told.add(rank)
                store.set(f"killed/{rank}", f"was killed by {signal.Signals(-code).name}")
        now = time.monotonic()
        beat = store.get("beat/0") if store.check(["beat/0"]) else b""
        if beat != self._beat[0]:
            self._beat = beat, now
        if self._failed is None and any(code is not None and (code < 0 or code in FAILED) for code in codes):
            self._failed = now
        if self._failed is not None and now - self._failed > LATE_SECONDS:
            # Rank 0 may have work to end, as long as it lives. The others have nothing to lose.
            stopped = codes[0] is None and now - self._beat[1] > LATE_SECONDS
            for child in self.children if stopped else self.children[1:]:
                child.send_signal(signal.SIGKILL)
        return None not in codes

    @property
    def code(self) -> int:
        code = self.children[0].returncode
        return 1 if code < 0 else code
