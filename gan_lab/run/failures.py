"""Failures of the machine: a full or read-only disk, too little memory; how to recognize them, and their remedies."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator

import torch

# The disk is full, over quota or over a file's limit; it is read-only; or it, or its server, has an error.
DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
)  # fmt: skip
FULL = DISK[:3]
MORE_MEMORY = (
    "take trainer.micro_batches=2 or more (the same batch in parts), a smaller trainer.batch_size, or smaller nets; "
    "such a run needs a run_dir of its own, and init_from=RUN gives it this one's weights"
)


def is_disk_failure(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in DISK


def remedy(error: OSError) -> str:
    """The remedy for a failure of the disk."""
    return "free some space" if error.errno in FULL else "make the folder writable again"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out. On the CPU, torch raises a plain RuntimeError for it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


class RetryLater:
    """Ignores failures of the disk for files that can be written later, so that training goes on.

    `tell` receives a line at the first failure of a file and when it is written again.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.tell = tell
        self.waiting: dict[str, OSError] = {}  # what has not been written -> the error

    @contextlib.contextmanager
    def __call__(self, what: str, promise: str = "it is tried again") -> Iterator[None]:
        """A context for writing `what`. Errors that are not failures of the disk are raised."""
        try:
            yield
        except OSError as error:
            if not is_disk_failure(error):
                raise
            if what not in self.waiting:
                self.tell(
                    f"  {what} could not be written: {error.strerror}. Training goes on, {promise}: {remedy(error)}"
                )
            self.waiting[what] = error
        else:
            if self.waiting.pop(what, None):
                self.tell(f"  {what} is written again")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, 200 characters at most, or the error's type."""
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
