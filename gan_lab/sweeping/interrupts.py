"""Interrupting a sweep: running jobs save and end, no further job starts, and the table is still printed."""

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

POLL = 0.2  # seconds between two checks


class Interrupts:
    """Ends a sweep at a signal. Both ways raise KeyboardInterrupt.

    After the first SIGINT, SIGTERM or warning of Slurm, the running jobs save before the sweep ends. The second signal
    ends it at once. A job in this process handles signals itself. Worker processes must not get a terminal's Ctrl-C,
    which goes to all of them: an idle worker would die, and its launcher would then kill the others while they save. So
    workers start with these signals blocked, and a file tells them to stop.
    """

    def __init__(self, running: Callable[[], bool] | None = None, shared: Path | None = None) -> None:
        self.running = running  # whether a job in another process is still running; None: jobs run in this process
        self.shared = shared  # a folder that jobs on other machines can read, too
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
            # The watching thread starts before this thread blocks the signals, so that this process still gets them.
            threading.Thread(target=self._wait, args=(self.running, self.stop), daemon=True).start()
            if hasattr(signal, "pthread_sigmask"):
                resource_tracker.ensure_running()  # else the first worker starts it, with the signals unblocked
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
        """After a signal: write the stop file, wait until the running jobs have saved, and end the launcher."""
        while not self._done.wait(POLL):
            if self.received is None:
                continue
            if not stop.exists():
                print(
                    "gan-lab: stops once the running jobs have saved; interrupt again to stop at once", file=sys.stderr
                )
                stop.parent.mkdir(parents=True, exist_ok=True)
                stop.write_text(str(self.received))
                time.sleep(5 * POLL)  # until every worker has seen the file, also one whose job was just starting
            elif not running():
                _thread.interrupt_main()
                return


def stop_signal(stop: Path, parent: int | None) -> signal.Signals | None:
    """The signal that ended the sweep, or None. It is in the stop file; SIGTERM where the parent process is gone.

    `parent` is the process that started the sweep, or None for a job on another machine.
    """
    if parent is not None and os.getppid() != parent:
        return signal.SIGTERM
    return signal.Signals(int(stop.read_text() or signal.SIGTERM)) if stop.exists() else None


_job_running = threading.Event()  # in a worker process: whether it has a job


@functools.cache
def _leave_with(parent: int) -> None:
    """End this worker process once its parent is gone and its job has saved. Else it would wait for jobs for ever."""

    def watch() -> None:
        while os.getppid() == parent or _job_running.is_set():
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def stop_with_sweep(stop: Path, parent: int | None) -> Iterator[None]:
    """A context for a job in a worker process: it ends the job when the sweep stops.

    SIGTERM is unblocked, so that a signal to this process alone ends this job only.
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
        _job_running.set()
        undo.callback(_job_running.clear)
        for number in ending():  # while the run is being built; later it installs its own handlers
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
