"""Runs with `trainer.deterministic=true` that are killed and go on, beside runs that nobody disturbed: equal bits."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults import breaking
from tests.faults.lab import Lab, Trained
from tests.gpu.rows import Row, Setting

BATCH, EVERY = 32, 10  # images in a batch, and steps between two checkpoints; tiny: 4 images
STEPS, KILLED_AT = 30, 16
COMMON = (
    "evaluation.metrics=[]", "evaluation.every=0", "tracking.samples_every=0", "trainer.deterministic=true",
    "trainer.threads=1",
)  # fmt: skip
PICTURES = ("dataset=toy_pictures", "dataset.image_size=32", "dataset.image_channels=3", "dataset.num=640")
DCGAN = ("experiment=dcgan_mnist5k", *PICTURES, "regularizer=[r1]", "regularizer.r1.every=4", "augment=diffaugment")
GAMES: dict[str, Sequence[str]] = {
    "dcgan fp32": DCGAN,
    "sngan bf16": ("experiment=sngan_cifar10", *PICTURES, "trainer.precision=bf16", "task.n_critic=2"),
}
SMALL = ("generator.width=8", "discriminator.width=8")


def measure(setting: Setting) -> Iterator[Row]:
    """This process forks the runs, and so must not touch the card."""
    device = "cuda" if setting.card else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        for name, words in GAMES.items():
            if setting.tiny and name != "dcgan fp32":
                continue
            more = (*COMMON, f"trainer.device={device}", *(SMALL if setting.tiny else ()))
            yield _row(lab, name, (*words, *more), 4 if setting.tiny else BATCH)


def _row(lab: Lab, name: str, words: Sequence[str], batch: int) -> Row:
    killed = lab.new(name.replace(" ", "-"))
    critic = next((int(word.partition("=")[2]) for word in words if word.startswith("task.n_critic")), 1)
    shown = batch * critic  # images in a step
    every, images = shown * EVERY, shown * STEPS
    words = (
        *words, f"trainer.batch_size={batch}", f"trainer.images={images}", f"trainer.checkpoint_every={every}",
        f"tracking.log_every={every // 2}",
    )  # fmt: skip

    def kill(game: Any) -> None:
        if game.step == KILLED_AT:
            breaking.send(signal.SIGKILL)(game)

    try:
        whole = lab.reference(words)
        first = lab.run(killed, words, [breaking.before_step(kill)])
        lab.finish(killed, words)
    except AssertionError as error:
        return Row(name, note=" ".join(str(error).split())[-300:], state="error")
    if first.code != 128 + signal.SIGKILL:
        return Row(name, note=f"was not killed, but ended with {first.code}: {first.output[-200:]}", state="error")
    differs = Trained(killed).differs(whole)
    figures = {"images": float(images), "images lost": float(first.images % every)}
    note = f"killed and repeated: {f'{differs} DIFFER' if differs else 'equal bits'}"
    return Row(name, figures, note, "FAILED" if differs else "ok")
