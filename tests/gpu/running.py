"""Runs one section in a process of its own and passes on its rows, until it ends or its time is up."""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.gpu.needs import missing, needs
from tests.gpu.rows import Row, Setting

LEAST = 3.0  # seconds below which a section is not begun


@dataclass(frozen=True)
class Section:
    """`function` of `module` takes a Setting and yields rows. It is stopped after `budget` seconds."""

    name: str
    budget: float
    module: str
    function: str = "measure"
    package: bool = True  # whether it needs gan_lab, and so all that gan_lab imports


@dataclass(frozen=True)
class Options:
    """What the command line says of all sections."""

    tiny: bool | None  # None: on a CPU
    data: str | None  # a folder with Fashion-MNIST
    log: Path  # what the sections print


def run(section: Section, options: Options, left: float, found: Sequence[Row]) -> Iterator[Row]:
    """The section's rows. What keeps it from running, stops it or breaks it is a row, too."""
    if (lacking := missing()) and section.package:
        yield Row("all", note=needs(lacking), state="skipped", section=section.name)
        return
    if left < LEAST:
        yield Row("all", note="the script's time is used up", state="skipped", section=section.name)
        return
    try:
        measure = getattr(importlib.import_module(section.module), section.function)
        if section.package:
            _compose_once()
    except ModuleNotFoundError as error:
        yield Row("all", note=needs([str(error.name)]), state="skipped", section=section.name)
        return
    budget = min(section.budget, left)
    deadline = time.monotonic() + budget
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    tiny = not has_card() if options.tiny is None else options.tiny
    setting = Setting(tiny, has_card(), lambda: deadline - time.monotonic(), tuple(found), options.data)
    process = context.Process(target=_report, args=(sender, measure, setting, options.log))
    process.start()
    sender.close()
    try:
        yield from _received(receiver, section, deadline, budget)
    finally:
        assert process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group: compilers and runs that it began end with it
        process.join()


@functools.cache
def has_card() -> bool:
    """Whether torch finds a card. Another process asks: one that has asked cannot fork processes that use the card."""
    asked = multiprocessing.get_context("fork").Process(target=_ask)
    asked.start()
    asked.join()
    return asked.exitcode == 0


def _ask() -> None:
    import torch

    sys.exit(not torch.cuda.is_available())


@functools.cache
def _compose_once() -> None:
    """A config, here: what Hydra needs seconds for the first time, forked processes then have."""
    from tests.helpers import compose

    compose("experiment=ring")


def _received(receiver: Connection, section: Section, deadline: float, budget: float) -> Iterator[Row]:
    begin = time.monotonic()
    while True:
        try:
            row = receiver.recv() if receiver.poll(max(deadline - time.monotonic(), 0)) else None
        except EOFError:
            row = Row("its process", note="ended without a word (killed?)", state="error")
        if row is None:
            note = f"stopped: the {budget:.0f} s that it had are used up"
            row = Row("the rest", note=note, state="skipped")
        elif isinstance(row, str):
            return
        row.section, row.seconds = section.name, time.monotonic() - begin
        begin = time.monotonic()
        yield row
        if row.what in ("the rest", "its process"):
            return


def _report(sender: Connection, measure: Callable[[Setting], Iterator[Row]], setting: Setting, log: Path) -> None:
    """The forked process: rows, then a word that there are no more."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        for row in measure(setting):
            sender.send(row)
    except Exception as error:
        traceback.print_exc()
        line = next(iter(str(error).strip().splitlines()), "")
        sender.send(Row("stopped by an error", note=f"{type(error).__name__}: {line}"[:300], state="error"))
    sender.send("end")
