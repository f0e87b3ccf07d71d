"""Tasks whose games begin after a stage: a run that is killed in any of them ends as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_lab.cli import main
from gan_lab.core import checkpoint
from tests.core.toys import equal
from tests.faults.lab import Trained
from tests.tasks.killing import kill_after
from tests.tasks.labelled import ADAPTATION, ADDA, ANOMALY, ATTACK, GANOMALY, SEGMENTATION
from tests.tasks.toys import QUICK, SCORED

EACH = [
    *QUICK, *SCORED, "trainer.checkpoint_every=8", "trainer.keep_checkpoints=9", "evaluation.every=0",
    "tracking.samples_every=0", "tracking.log_every=8",
]  # fmt: skip
# A checkpoint of each stage. ADDA's source lasts 16 images; the attack begins at 16, the defence lasts from 24 to 40.
STAGES = {
    "fanogan": ([*ANOMALY, "dataset.image_size=16", "trainer.images=32"], (8, 24)),
    "ganomaly": ([*GANOMALY, "dataset.image_size=16", "trainer.images=32"], (16,)),
    "segmentation": (
        [*SEGMENTATION, "dataset.labelled=0.5", "task.supervised_images=16", "trainer.images=32"],
        (8, 24),
    ),
    "dann": ([*ADAPTATION, "task.ramp_images=32", "trainer.images=32"], (16,)),
    "adda": ([*ADDA, "trainer.images=32"], (8, 16, 24)),
    "attack": ([*ATTACK, "task.defence=[24,40]", "trainer.images=56"], (8, 16, 32, 48)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_a_run_that_is_killed_in_any_stage_ends_in_the_same_bits(name: str, tmp_path: Path) -> None:
    words, stages = [*EACH, *STAGES[name][0]], STAGES[name][1]
    assert main(["train", *words, f"run_dir={tmp_path / 'whole'}"]) == 0
    kill_after(stages, words, tmp_path)
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
