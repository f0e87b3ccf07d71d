"""Kills runs after chosen checkpoints, by SIGKILL, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# One process imports everything once; each run is a fork of it.
KILLER = """
import os, signal, sys
import torch, torch._inductor
import tests.tasks.labelled, tests.tasks.toys
from gan_lab.cli import main
from gan_lab.commands import train
from gan_lab.core import checkpoint
from gan_lab.run.start import run

torch.set_num_threads(1)
save = checkpoint.save

def saved_and_killed(state, folder, **more):
    path = save(state, folder, **more)
    if state["images"] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return path

checkpoint.save = saved_and_killed
folder, stages, *words = sys.argv[1:]
for at in map(int, stages.split(",")):
    if (pid := os.fork()) == 0:
        os._exit(main(["train", *words, f"run_dir={folder}/{at}"]))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def kill_after(images: Sequence[int], words: Sequence[str], folder: Path) -> None:
    """Train `words` in `folder/<images>` for each of these numbers, and kill each run when it has saved that many."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLER, str(folder), ",".join(map(str, images)), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    codes = [line for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    assert codes == ["-9"] * len(images), done.stderr
