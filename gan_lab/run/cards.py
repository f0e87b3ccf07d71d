"""Which of this machine's cards a run of several processes has, where several such runs share them."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from gan_lab.config.sections import Trainer
from gan_lab.core.runtime import choose_device

POLL = 0.5


@contextlib.contextmanager
def cards(trainer: Trainer) -> Iterator[dict[str, str]]:
    """A context in which no other run has the same cards. Yields variables for the processes; none on the CPU.

    It waits until as many cards are free as there are processes. A lock file for each card ends with its process.
    """
    if choose_device(trainer.device).type != "cuda":
        yield {}
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    with contextlib.ExitStack() as held:
        yield {"CUDA_VISIBLE_DEVICES": ",".join(claim(names, trainer.processes, held))}


def claim(names: list[str], count: int, held: contextlib.ExitStack, folder: Path | None = None) -> list[str]:
    """Wait for `count` cards of these that no other run has. `held` gives them back."""
    folder = folder or Path(tempfile.gettempdir()) / f"gan-lab-cards-{os.getuid() if hasattr(os, 'getuid') else ''}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        with contextlib.ExitStack() as attempt:
            free = []
            for name in names:
                with contextlib.suppress(Timeout):
                    attempt.enter_context(FileLock(folder / f"{name.strip()}.lock").acquire(timeout=0))
                    free.append(name.strip())
                if len(free) == count:
                    held.enter_context(attempt.pop_all())
                    return free
        time.sleep(POLL)  # two runs that each have half of what they want give it back, and try again
