"""A StyleGAN2 with classes, ADA and path length, killed between two moves of p: it ends in the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.tasks.labelled  # noqa: F401  its data sets
from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.run.trained_run import TrainedRun
from tests.core.toys import equal
from tests.faults.lab import Trained
from tests.tasks.killing import kill_after
from tests.tasks.toys import QUICK, SCORED

WORDS = [
    *QUICK, *SCORED, "dataset=toy_labelled_16", "generator=stylegan2", "generator.width=4",
    "generator.conditioning=concat", "generator.mapping_layers=2",
    "discriminator=stylegan2", "discriminator.width=4", "discriminator.mapping_layers=2",
    "discriminator.conditioning=projection", "regularizer=[path_length,r1]", "regularizer.path_length.every=2",
    "regularizer.r1.gamma=null", "augment=ada", "augment.images=160", "augment.target=0", "trainer.images=96",
    "trainer.checkpoint_every=8", "trainer.keep_checkpoints=12", "evaluation.every=0", "tracking.samples_every=0",
    "tracking.log_every=8",
]  # fmt: skip


@pytest.mark.slow
def test_a_run_that_is_killed_ends_in_the_same_bits(tmp_path: Path) -> None:
    assert main(["train", *WORDS, f"run_dir={tmp_path / 'whole'}"]) == 0
    killed = (8, 56)  # p moves at 32, 64 and 96 images: neither kill falls on a move
    kill_after(killed, WORDS, tmp_path)
    whole = checkpoint.load_newest(tmp_path / "whole" / "checkpoints")
    assert whole is not None
    parts = whole["game"]["parts"]
    assert parts["task/augment"]["p"] > 0, "it was not put to the test"
    assert parts["task/augment"]["seen"].tolist() == [0, 0]
    assert parts["term/generator_path_length/path_length"]["mean"] > 0
    assert parts["task/nets"]["generator.mean_style"].any()
    for images in killed:
        folder = tmp_path / str(images)
        assert Trained(folder).newest == images
        assert checkpoint.load_newest(folder / "checkpoints")["game"]["parts"]["task/augment"]["seen"][1] > 0
        assert main(["train", *WORDS, f"run_dir={folder}"]) == 0
        state = checkpoint.load_newest(folder / "checkpoints")
        assert state is not None
        assert equal(state["game"], whole["game"]), images
        assert Trained(folder).differs(tmp_path / "whole") == ""
    assert TrainedRun(tmp_path / "whole").task.augment.p == parts["task/augment"]["p"]
