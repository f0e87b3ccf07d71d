"""Failures of the machine: a full or read-only disk, too little memory. What goes on, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator

import torch

# The disk is full, over quota or over a file's limit; it may not be written (any more); it, or its server, is ill.
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
    """What a person can do about a failure of the disk."""
    return "free some space" if error.errno in FULL else "make the folder writable again"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch has a type for it on devices only."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


class RetryLater:
    """Training goes on while the disk refuses something that can be written later; `tell` receives a line once."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.tell = tell
        self.waiting: dict[str, OSError] = {}  # what has not been written -> why

    @contextlib.contextmanager
    def __call__(self, what: str, promise: str = "it is tried again") -> Iterator[None]:
        """Write something here. Raises what is not a failure of the disk."""
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
    """The first line of its message, 200 characters at most, or its type."""
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
