"""Whole processes: how long the light commands take, and how much memory a run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.measure import Goal, Result, alternate, build

ROOT = Path(__file__).parents[2]
IMAGES, BATCH = 3_200, 64

# A process starts with its parent's peak as its own, so the parent must be small: not us, who have torch loaded.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def python(*arguments: str, folder: Path = ROOT) -> str:
    """What a Python process prints, with this checkout importable and nothing chosen by the environment."""
    kept = {name: value for name, value in os.environ.items() if name not in ("GAN_LAB_PLUGINS", "GAN_LAB_DEBUG")}
    kept |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=kept, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def listing(rounds: int) -> Result:
    """`gan-lab list` against importing torch, which every part's module does."""
    result = Result("list", "s", "ours / importing torch", Goal("at most", 1.3))
    return _against(result, ("-c", "import torch"), ("list",), rounds)


def config(rounds: int) -> Result:
    """The same for composing a config, checking every part of it, and showing it."""
    result = Result("cfg", "s", "ours / importing torch", Goal("at most", 2))
    return _against(result, ("-c", "import torch"), ("train", "--cfg", "job"), rounds)


def usage(rounds: int) -> Result:
    """`gan-lab --help` against starting Python."""
    result = Result("help", "s", "ours / starting Python", Goal("at most", 3))
    return _against(result, ("-c", "pass"), ("--help",), rounds)


def _against(result: Result, baseline: tuple[str, ...], command: tuple[str, ...], rounds: int) -> Result:
    """Seconds of a command of ours and of another process."""
    sides = (lambda: python("-m", "gan_lab", *command)), (lambda: python(*baseline))
    alternate(*sides, 1)  # the disk's caches, and the bytecode
    for _ in range(max(rounds, 5)):
        times = alternate(*sides, 1)
        result.add(*times, times[0] / times[1])
    return result


def memory(rounds: int) -> Result:
    """Peak resident memory of a default run against the plain loop: same architecture, batch, images and steps."""
    result = Result("memory", "MB", "ours / baseline", Goal("at most", 1.5))
    assembly = build("experiment=dcgan_mnist5k", log_every=0)  # also fills the cache: decoding is done once ever
    threads = str(torch.get_num_threads())
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.save(folder / "images.npy", assembly.data.columns["sample"].numpy())
            sizes = f"trainer.images={IMAGES}", f"trainer.batch_size={BATCH}"
            train = ("train", *sizes, "trainer.device=cpu", "tracking.wandb.mode=disabled")
            ours = _peak(folder, "-m", "gan_lab", *train, "run_dir=run")
            plain = ("--width", "32", "--steps", str(IMAGES // BATCH), "--batch-size", str(BATCH), "--threads", threads)
            baseline = _peak(folder, "-m", "tests.benchmarks.plain", "images.npy", *plain)
        result.add(ours, baseline, ours / baseline)
    return result


def _peak(folder: Path, *arguments: str) -> float:
    """Megabytes that a Python process held at its peak."""
    peak = int(python("-c", PEAK, sys.executable, *arguments, folder=folder).split()[-1])
    return peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)  # bytes there, KiB elsewhere
