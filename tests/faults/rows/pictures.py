"""Data that cannot be read, and processes that read them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_lab.datasets import cache, decoding
from tests.faults.lab import Fault, Lab, Progress, environment
from tests.faults.outcome import PICTURES, Outcome, row


def picture_folder(path: Path, count: int = 60) -> Path:
    path.mkdir(parents=True)
    drawn = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(drawn.integers(0, 255, (12, 12, 3), np.uint8)).save(path / f"{i:03d}.png")
    return path


def of_folder(path: Path) -> tuple[str, ...]:
    rest = [word for word in PICTURES if not word.startswith("dataset=")]
    return (*rest, "dataset=image_folder", f"dataset.path={path}", "dataset.image_size=32")


def quarantined(lab: Lab, spoil: Callable[[Path], dict[str, str]]) -> Outcome:
    """Spoiled files are as if they were not there, and a report names them."""
    outcome = Outcome(times=1)
    good = picture_folder(lab.new("pictures"))
    bad = picture_folder(lab.new("pictures"))
    wanted = spoil(bad)
    folder = lab.new()
    ended = lab.run(folder, of_folder(bad))
    outcome.expect(ended.code == 0, f"exit code {ended.code}:\n{ended.output}")
    report = {Path(entry["path"]): entry["reason"] for entry in json.loads((folder / "quarantine.json").read_text())}
    outcome.expect(report.keys() == {bad / name for name in wanted}, f"reported: {report}")
    for name, reason in wanted.items():
        outcome.expect(reason in report.get(bad / name, ""), f"{name}: {report.get(bad / name)}")
    outcome.lose_nothing(ended, folder)
    outcome.compare(folder, lab.reference(of_folder(good), key="good pictures"))
    outcome.notes.append(f"{len(wanted)} named in quarantine.json")
    return outcome


@row("14", "truncated, empty and foreign files among the pictures")
def truncated(lab: Lab) -> Outcome:
    def spoil(folder: Path) -> dict[str, str]:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "cut.jpg")
        content = (folder / "cut.jpg").read_bytes()
        (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
        (folder / "empty.png").touch()
        (folder / "text.png").write_text("no picture")
        return {"cut.jpg": "runcated", "empty.png": "cannot identify", "text.png": "cannot identify"}

    return quarantined(lab, spoil)


@row("15", "a picture that is a bomb")
def bomb(lab: Lab) -> Outcome:
    def spoil(folder: Path) -> dict[str, str]:
        Image.new("1", (12_000, 12_000)).save(folder / "bomb.png")  # 144 megapixels in 18 kB
        Image.new("1", (20_000, 20_000)).save(folder / "larger.png")  # PIL itself refuses this one
        return {"bomb.png": "too many", "larger.png": "decompression bomb"}

    return quarantined(lab, spoil)


@row("16", "a process that decodes is killed, or hangs")
def decoder_gone(lab: Lab) -> Outcome:
    """There are no worker processes: pictures are decoded once, into a store that several runs may wait for."""
    outcome = Outcome(times=2)
    pictures = picture_folder(lab.new("pictures"), 400)
    words = of_folder(pictures)

    def at_the_300th(number: int) -> Fault:
        def install(_: Progress) -> None:
            decode, seen = decoding.decode, []

            def broken(*arguments: Any) -> Any:
                seen.append(1)
                if len(seen) == 300:
                    os.kill(os.getpid(), number)
                return decode(*arguments)

            decoding.decode = broken

        return install

    def impatient(_: Progress) -> None:
        cache.PATIENCE = 0.2

    with environment(GAN_LAB_CACHE=str(lab.new("cache"))):
        killed = lab.run(lab.new(), words, [at_the_300th(signal.SIGKILL)])
        outcome.expect(killed.code == 137, f"exit code {killed.code}:\n{killed.output}")
        folder = lab.new()
        lab.finish(folder, words)
        outcome.expect(not list(Path(os.environ["GAN_LAB_CACHE"]).glob(".image_folder-*")), "remains of the store")
    reference = lab.reference(words, key="400 pictures")
    outcome.compare(folder, reference)
    with environment(GAN_LAB_CACHE=str(lab.new("cache"))):
        hanging = lab.start(lab.new(), words, [at_the_300th(signal.SIGSTOP)])
        os.waitpid(hanging.pid, os.WUNTRACED)
        folder = lab.new()
        waiting = lab.start(folder, words, [impatient])
        waiting.hear("waiting for another process that prepares")
        outcome.expect(waiting.progress.images == 0, "it did not wait")
        hanging.kill()
        begin = time.monotonic()
        ended = waiting.wait()
        hanging.wait()
        outcome.seconds = time.monotonic() - begin
        outcome.expect(ended.code == 0, f"exit code {ended.code}:\n{ended.output}")
    outcome.compare(folder, reference)
    outcome.lose_nothing(ended, folder)
    outcome.notes.append("whoever waits says for what, and takes over")
    return outcome
