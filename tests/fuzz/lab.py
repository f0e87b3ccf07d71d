"""What the cases start from: a warm process, tiny runs made once, and a working directory for each case."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import matplotlib.pyplot
import PIL.Image
import torch
from hypothesis.configuration import set_hypothesis_home_dir

import tests.toy_data
from gan_lab import registry
from gan_lab.cli import main
from gan_lab.commands import dashboard, evaluate, sample, train
from gan_lab.comparing import page
from gan_lab.config import composition, hydra_store
from gan_lab.run import start
from tests.fuzz.harness import OUTSIDE, snapshot

# What a case would import again is imported once.
WARM = (matplotlib.pyplot, PIL.Image, tests.toy_data, dashboard, evaluate, sample, train, page, start)
QUIET = ("trainer.threads=1", "tracking.wandb.mode=disabled", "trainer.device=cpu")
NARROW = ("generator.width=8", "discriminator.width=4")  # unbalanced
RING = (
    "experiment=ring", "trainer.images=128", "trainer.batch_size=32", "trainer.checkpoint_every=64",
    "tracking.log_every=32", "tracking.samples_every=64", "evaluation.every=64", "evaluation.samples=64",
    "evaluation.selection_samples=64", "schedule/learning_rate=constant", *NARROW, *QUIET,
)  # fmt: skip
PICTURES = (
    "experiment=none", "dataset=toy_pictures", "trainer.images=64", "trainer.batch_size=16",
    "trainer.checkpoint_every=32", "evaluation.every=0", "evaluation.metrics=[]", "regularizer=[r1,lecam]",
    "feature_extractor=mnist5k", *NARROW, *QUIET,
)  # fmt: skip
SWEEP = (
    "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", *RING,
    "optimizer.generator.learning_rate=tag(log,interval(1e-4,1e-2))",
)  # fmt: skip
LINK = "https://wandb.ai/somebody/gan_lab/runs/1a2b3c4d"
SUBJECTS = {"ring": RING, "pictures": PICTURES, "sweep": SWEEP}


class Lab:
    """A folder in which the subjects are trained once, and a case after the other gets a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._made = folder, 0
        os.environ.update(GAN_LAB_CACHE=str(folder / "cache"), WANDB_MODE="disabled", OMP_NUM_THREADS="1")
        for name in ("WANDB_API_KEY", "SLURM_JOB_ID", "GAN_LAB_DEBUG", "HYDRA_FULL_ERROR", "GAN_LAB_PLUGINS"):
            os.environ.pop(name, None)
        set_hypothesis_home_dir(folder / "hypothesis")  # or it would lie in the checkout
        torch.set_num_threads(1)
        registry.load()
        hydra_store.publish()
        composition.compose([*RING])

    @cached_property
    def subjects(self) -> dict[str, Path]:
        """The subjects' directories, by name."""
        folder = self.folder / "subjects"
        folder.mkdir()
        for name, words in SUBJECTS.items():
            where = f"{'sweep' if '-m' in words else 'run'}_dir={folder / name}"
            if main(["train", *words, where]):
                raise AssertionError(f"the subject {name} could not be trained")
        for file in folder.rglob("summary.json"):  # as if they had been online, or dashboard would refuse them all
            file.write_text(json.dumps(json.loads(file.read_text()) | {"wandb": LINK}))
        return {name: folder / name for name in SUBJECTS}

    def files(self, subject: str) -> list[str]:
        """The files of a subject, relative to its directory."""
        folder = self.subjects[subject]
        return [path for path in sorted(snapshot(folder)) if (folder / path).is_file() and not path.endswith(".lock")]

    def new(self) -> Path:
        """A working directory with a file, a folder, a FIFO, links, and something outside to be left alone."""
        self._made += 1
        folder = self.folder / f"case{self._made}"
        (folder / OUTSIDE).mkdir(parents=True)
        (folder / OUTSIDE / "treasure").write_text("precious\n")
        (folder / "folder").mkdir()
        (folder / "file").write_text("file\n")
        (folder / "link").symlink_to(folder / OUTSIDE)
        os.mkfifo(folder / "fifo")
        return folder

    @contextlib.contextmanager
    def debugging(self) -> Iterator[None]:
        """A context in which commands show where an error comes from."""
        os.environ["GAN_LAB_DEBUG"] = "1"
        try:
            yield
        finally:
            del os.environ["GAN_LAB_DEBUG"]

    def drop(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.log").unlink(missing_ok=True)
