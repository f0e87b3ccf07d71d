"""Tasks whose games begin after a stage: a run that is killed in any of them ends as if nothing had been."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gan_lab.cli import main
from gan_lab.core import checkpoint
from tests.core.toys import equal
from tests.faults.lab import Trained
from tests.tasks.labelled import ADAPTATION, ADDA, ATTACK
from tests.tasks.toys import QUICK, SCORED

ROOT = Path(__file__).parents[2]
EACH = [
    *QUICK, *SCORED, "trainer.checkpoint_every=8", "trainer.keep_checkpoints=9", "evaluation.every=0",
    "tracking.samples_every=0", "tracking.log_every=8",
]  # fmt: skip
# A checkpoint of each stage. ADDA's source lasts 16 images; the attack begins at 16, the defence lasts from 24 to 40.
STAGES = {
    "dann": ([*ADAPTATION, "task.ramp_images=32", "trainer.images=32"], (16,)),
    "adda": ([*ADDA, "trainer.images=32"], (8, 16, 24)),
    "attack": ([*ATTACK, "task.defence=[24,40]", "trainer.images=56"], (8, 16, 32, 48)),
}
KILLER = """
import os, signal, sys
import torch, torch._inductor
import tests.tasks.labelled
from gan_lab.cli import main
from gan_lab.core import checkpoint

torch.set_num_threads(1)
save = checkpoint.save

def saved_and_killed(state, folder, **more):
    path = save(state, folder, **more)
    if state["images"] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return path

folder, stages, *words = sys.argv[1:]
for at in map(int, stages.split(",")):
    if (pid := os.fork()) == 0:
        checkpoint.save = saved_and_killed
        os._exit(main(["train", *words, f"run_dir={folder}/{at}"]))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("name", STAGES)
def test_a_run_that_is_killed_in_any_stage_ends_in_the_same_bits(name: str, tmp_path: Path) -> None:
    words, stages = [*EACH, *STAGES[name][0]], STAGES[name][1]
    assert main(["train", *words, f"run_dir={tmp_path / 'whole'}"]) == 0
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path), ",".join(map(str, stages)), *words],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split().count("-9") == len(stages), done.stderr
    whole = checkpoint.load_newest(tmp_path / "whole" / "checkpoints")
    assert whole is not None
    for images in stages:
        folder = tmp_path / str(images)
        assert Trained(folder).newest == images
        assert main(["train", *words, f"run_dir={folder}"]) == 0
        state = checkpoint.load_newest(folder / "checkpoints")
        assert state is not None
        assert equal(state["game"], whole["game"]), images
        assert Trained(folder).differs(tmp_path / "whole") == ""
