"""The end of a run: writes its status and the reason to the summary, and sets the exit code, whatever happened."""

from __future__ import annotations

import contextlib
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING

from gan_lab.config.redaction import redacted
from gan_lab.core import checkpoint
from gan_lab.core.files import BadFile, printable
from gan_lab.core.hooks import Diverged
from gan_lab.core.runtime import LostContact
from gan_lab.run.failures import MORE_MEMORY, first_line, is_disk_failure, out_of_memory, remedy
from gan_lab.run.ranks import DONE, Differing
from gan_lab.run.selection import Pruned
from gan_lab.run.signals import Interrupted, Signals
from gan_lab.tracking.console import last_words

if TYPE_CHECKING:
    from gan_lab.run.training_run import TrainingRun


class Ending:
    """A context for training. What ends it becomes a status and a reason in the summary, and the exit code `code`.

    0 finished or pruned, 1 failed or diverged, 2 the disk or the checkpoints, 128 + n interrupted by signal n.
    """

    def __init__(self, run: TrainingRun, signals: Signals) -> None:
        self.run, self.signals, self.code = run, signals, 1

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        status, why, code = self._finished() if error is None else self._stopped(error)
        self.run.ranks.end("failed" if status in ("failed", "diverged") else DONE)
        self.code = self._write(status, why, code)
        return True

    def _finished(self) -> tuple[str, str | None, int]:
        run, received = self.run, self.signals.received
        if received and run.game.images < run.trainer.images:
            return "interrupted", f"signal {received}", 128 + received
        return "finished", None, 0

    def _stopped(self, error: BaseException) -> tuple[str, str, int]:
        if isinstance(error, Interrupted):
            return "interrupted", f"signal {error.number}: trained and saved, not scored", 128 + error.number
        if isinstance(error, KeyboardInterrupt):
            return "interrupted", "a second interrupt: not saved", 130
        if isinstance(error, (checkpoint.DamagedCheckpoints, BadFile)):
            return "failed", str(error), 2
        if isinstance(error, LostContact):
            return "failed", f"{self.run.ranks.roll_call(error)}; {self._repeat()}", 1
        if isinstance(error, Differing):
            return "failed", str(error), 1
        if isinstance(error, Diverged):
            return "diverged", str(error), 1
        if isinstance(error, Pruned):
            return "pruned", str(error), 0
        return "failed", *self._failed(error)

    def _repeat(self) -> str:
        return f"{self.run.saving.what_is_kept()}, and the same command goes on"

    def _failed(self, error: BaseException) -> tuple[str, int]:
        """The reason with the remedy, and the exit code. Prints a traceback for an error in code."""
        kept = self.run.saving.what_is_kept()
        if isinstance(error, OSError) and is_disk_failure(error):
            return f"{error.strerror or error}; {kept}: {remedy(error)}, and repeat the command", 2
        if out_of_memory(error):
            trained = self.run.game.images >= self.run.trainer.images
            advice = "it is trained; repeat the command with fewer evaluation.samples" if trained else MORE_MEMORY
            return f"out of memory ({first_line(error)}); {kept}: {advice}", 1
        with contextlib.suppress(OSError):
            print(redacted("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        what = "exited" if isinstance(error, SystemExit) else type(error).__name__
        return f"{what}: {error}", 1

    def _write(self, status: str, why: str | None, code: int) -> int:
        run, directory = self.run, self.run.directory
        try:
            directory.update_summary(status=status, error=why, **run.counters())
        except OSError as error:  # the full disk that ended the run may refuse this, too
            why = f"{why or status}; the summary could not be written: {error.strerror}"
            code = code or 2
        run.records.finish()
        if why:
            with contextlib.suppress(OSError):  # stderr may be a log file on a full disk
                print(printable(redacted(f"gan-lab: {status}: {why}")), file=sys.stderr)
        for line in last_words(directory.summary, directory.path, run.records.sheet, short=run.sweep is not None):
            run.records.say(line)
        return code
