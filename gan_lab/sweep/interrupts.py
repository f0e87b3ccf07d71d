"""Ending a sweep when asked to: running jobs save, no other begins, and the table still comes."""

from __future__ import annotations

import _thread
import contextlib
import functools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any

from gan_lab.run.signals import ending

POLL = 0.2  # seconds between two looks


class Interrupts:
    """The first SIGINT or SIGTERM, or Slurm's warning, ends the sweep with its jobs saved, the second at once; both by
    KeyboardInterrupt.

    Jobs in this process see to themselves. Worker processes must not see a terminal's Ctrl-C, which goes to all of
    them: one that is idle would die of it, and its launcher would then kill the others while they save. So they are
    started with these signals blocked, and a file tells them to stop.
    """

    def __init__(self, running: Callable[[], bool] | None = None, shared: Path | None = None) -> None:
        self.running = running  # whether a job in another process has yet to save; None: there are no others
        self.shared = shared  # a folder that jobs on other machines see, too
        self.received: int | None = None
        self.stop: Path | None = None
        self._done = threading.Event()
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in ending():
            self._undo.callback(signal.signal, number, signal.signal(number, self._receive))
        if self.running is not None:
            if self.shared is None:
                folder = self._undo.enter_context(tempfile.TemporaryDirectory(prefix="gan-lab-sweep-"))
                self.stop = Path(folder) / "stop"
            else:
                self.stop = self.shared / f".stop-{os.getpid()}"
                self.stop.unlink(missing_ok=True)
                self._undo.callback(self.stop.unlink, missing_ok=True)
            self._undo.callback(self._done.set)
            # Started before this thread blocks the signals, so that this process still gets them.
            threading.Thread(target=self._wait, args=(self.running, self.stop), daemon=True).start()
            if hasattr(signal, "pthread_sigmask"):
                resource_tracker.ensure_running()  # the first process would start it, and it lets both signals through
                before = signal.pthread_sigmask(signal.SIG_BLOCK, ending())
                self._undo.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, self.received or number
        if again or self.running is None:
            raise KeyboardInterrupt

    def _wait(self, running: Callable[[], bool], stop: Path) -> None:
        """Once asked to, tell the workers, wait until the running jobs have saved, and end the launcher."""
        while not self._done.wait(POLL):
            if self.received is None:
                continue
            if not stop.exists():
                print(
                    "gan-lab: stops once the running jobs have saved; interrupt again to stop at once", file=sys.stderr
                )
                stop.parent.mkdir(parents=True, exist_ok=True)
                stop.write_text(str(self.received))
                time.sleep(5 * POLL)  # for every worker to look, and for the job that was about to begin
            elif not running():
                _thread.interrupt_main()
                return


def stop_signal(stop: Path, parent: int | None) -> signal.Signals | None:
    """The signal that ended the sweep, if one did: a file says so, or the process that began it, if here, is gone."""
    if parent is not None and os.getppid() != parent:
        return signal.SIGTERM
    return signal.Signals(int(stop.read_text() or signal.SIGTERM)) if stop.exists() else None


_at_work = threading.Event()  # in a worker process: whether it has a job


@functools.cache
def _leave_with(parent: int) -> None:
    """End this worker process when its parent is gone and its job has saved: it would wait for another job for ever."""

    def watch() -> None:
        while os.getppid() == parent or _at_work.is_set():
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def stop_with_sweep(stop: Path, parent: int | None) -> Iterator[None]:
    """While a job runs in a worker process: end it when told to.

    A signal to this process alone, which ends this job only, is let through.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL):
            if number := stop_signal(stop, parent):
                _thread.interrupt_main(number)
                return

    if parent is not None:
        _leave_with(parent)
    with contextlib.ExitStack() as undo:
        _at_work.set()
        undo.callback(_at_work.clear)
        for number in ending():  # until the run's own handlers take over, while it is built
            undo.callback(signal.signal, number, signal.signal(number, _interrupt))
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, ending())
            before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            undo.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        threading.Thread(target=watch, daemon=True).start()
        undo.callback(done.set)
        yield


def _interrupt(number: int, frame: FrameType | None) -> Any:
    raise KeyboardInterrupt
