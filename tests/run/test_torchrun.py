"""torchrun itself starts the ranks: one that is killed or hangs ends all, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gan_lab.core import checkpoint
from gan_lab.run.place import free_port
from tests.core.toys import equal

ROOT = Path(__file__).parents[2]
RUN = [
    "experiment=ring", "trainer.images=9600", "trainer.batch_size=48", "trainer.checkpoint_every=2400",
    "tracking.log_every=2400", "tracking.samples_every=0", "tracking.health=false", "tracking.wandb.mode=disabled",
    "generator.width=16", "discriminator.width=16", "evaluation.metrics=[]", "evaluation.every=0", "trainer.timeout=5",
]  # fmt: skip
SAVED, STEP = 2400, 60  # images at the first checkpoint, and a step after it


def torchrun(folder: Path, name: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "GAN_LAB_PLUGINS": "tests.faults.ranks",
    }
    environment |= {"RANK_FAULT": fault} if fault else {}
    at = ["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port(os.getpid()))]
    command = [sys.executable, "-m", "torch.distributed.run", *at, "-m", "gan_lab", "train", *RUN, f"run_dir={name}"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", ["SIGKILL", "SIGSTOP"])
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs the signals of POSIX")
def test_a_rank_that_is_killed_or_hangs_ends_all_and_the_same_command_goes_on(tmp_path: Path, what: str) -> None:
    broken = torchrun(tmp_path, "run", f"1 {STEP} {what}")
    assert broken.returncode == 1
    (line,) = [line for line in broken.stderr.splitlines() if line.startswith("gan-lab:")]
    assert "rank 1 did not answer for 5 seconds (trainer.timeout), or was killed" in line
    assert "the same command goes on" in line
    newest = checkpoint.load_newest(tmp_path / "run/checkpoints")
    assert newest is not None
    assert newest["game"]["images"] == SAVED
    again = torchrun(tmp_path, "run")
    assert again.returncode == 0, again.stderr
    assert "goes on from 2,400 images" in again.stdout
    whole = torchrun(tmp_path, "whole")
    assert whole.returncode == 0, whole.stderr
    ours, theirs = (checkpoint.load_newest(tmp_path / name / "checkpoints") for name in ("run", "whole"))
    assert ours is not None
    assert theirs is not None
    assert equal(ours["game"], theirs["game"])
