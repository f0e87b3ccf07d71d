"""Minutes of one run that is left alone beside the same run that is killed again and again.

Both save every few seconds and are scored; W&B is offline. The first must stay as it is in memory, file descriptors and
threads; the second must end in the same bits. Exit code 1 where one of them does not.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.lab import Trained

WORDS = ("experiment=dcgan_mnist5k", "trainer.threads=1", "trainer.device=cpu", "evaluation.selection_samples=1000")
SETTLED = 0.3  # of its time, in which a process may still grow: caches fill, the first scores are made
GROWTH = 1.05  # memory at the end over memory once settled, at most


@dataclass
class Life:
    """A process from its start to its end, looked at every second: memory in MB, file descriptors, threads."""

    process: subprocess.Popen[bytes]
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self) -> None:
        place = Path("/proc", str(self.process.pid))
        try:
            status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
            memory, threads = int(status["VmRSS"].split()[0]) / 1000, int(status["Threads"])
            files = len(list((place / "fd").iterdir()))
        except (OSError, KeyError):  # it has just ended
            return
        self.memory.append(memory)
        self.threads.append(threads)
        self.files.append(files)


def start(folder: Path, words: Sequence[str]) -> Life:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    with folder.with_suffix(".log").open("ab") as log:
        command = [sys.executable, "-m", "gan_lab", "train", *words, f"run_dir={folder}"]
        return Life(subprocess.Popen(command, stdout=log, stderr=log, env=environment))


def speed(folder: Path) -> float:
    """Images a second of this machine, with a neighbour at work."""
    words = (*WORDS, "trainer.images=6400", "evaluation.every=0", "evaluation.metrics=[]")
    lives = [start(folder / name, words) for name in ("first", "second")]
    if any(life.process.wait() for life in lives):
        raise SystemExit((folder / "first.log").read_text())
    return float(Trained(folder / "first").summary["images_per_second"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training (10)")
    parser.add_argument("--between", type=float, default=25.0, help="seconds between two kills, on average (25)")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        return soak(Path(temporary), arguments.minutes, arguments.between)


def soak(folder: Path, minutes: float, between: float) -> int:
    rate = speed(folder)
    save, score = (int(rate * seconds) // 64 * 64 for seconds in (3, 20))
    words = (
        *WORDS, f"trainer.images={int(rate * 60 * minutes)}", f"trainer.checkpoint_every={save}",
        f"evaluation.every={score}", f"tracking.log_every={save // 2}", f"tracking.samples_every={score}",
    )  # fmt: skip
    print(f"{rate:,.0f} images/s; a save every {save:,} images, a score every {score:,}: about 3 and 20 s", flush=True)
    chance, lost = random.Random(0), 0
    whole, killed = start(folder / "whole", words), start(folder / "killed", words)
    lives, begin = [killed], time.monotonic()
    next_kill = begin + between
    while whole.process.poll() is None or killed.process.poll() is None:
        time.sleep(1.0)
        for life in (whole, killed):
            life.look()
        if killed.process.poll() is None and time.monotonic() > next_kill:
            killed.process.kill()
            killed.process.wait()
            trained = Trained(folder / "killed")
            told = (
                [record["images"] for record in trained.records] if (folder / "killed/metrics.jsonl").exists() else []
            )
            lost = max(lost, max(told, default=0) - trained.newest)
            killed = start(folder / "killed", words)
            lives.append(killed)
            next_kill = time.monotonic() + chance.uniform(0.2, 1.8) * between
    return report(folder, whole, lives, lost, save, time.monotonic() - begin)


def report(folder: Path, whole: Life, lives: Sequence[Life], lost: int, save: int, took: float) -> int:
    failures = []
    for name, code in (("whole", whole.process.returncode), ("killed", lives[-1].process.returncode)):
        if code:
            failures.append(f"{name} ended with {code}:\n{(folder / name).with_suffix('.log').read_text()[-2000:]}")
    settled = int(len(whole.memory) * SETTLED)
    tenth = max(len(whole.memory) // 10, 1)
    before, after = statistics.median(whole.memory[settled : settled + tenth]), statistics.median(whole.memory[-tenth:])
    files, threads = whole.files[settled:], whole.threads[settled:]
    print(f"left alone: {took / 60:.1f} minutes, {len(whole.memory)} looks")
    print(f"  memory   {before:,.0f} MB once settled, {after:,.0f} MB at the end: x {after / before:.3f}")
    for title, values in (("files", files), ("threads", threads)):
        print(f"  {title:8} {min(values)} to {max(values)}; median of the first half {_half(values, 0):g}, ", end="")
        print(f"of the second {_half(values, 1):g}")
        if _half(values, 1) > _half(values, 0) + 1:
            failures.append(f"{title} grow")
    if after > before * GROWTH:
        failures.append("memory grows")
    differs = "" if failures else Trained(folder / "killed").differs(folder / "whole")
    if differs:
        failures.append(f"{differs} differ")
    peaks = [max(life.memory) for life in lives if life.memory]
    if lost > save:
        failures.append(f"{lost:,} images lost, of {save:,} at most")
    print(f"killed: {len(lives) - 1} times; records of at most {lost:,} images taken back, saved every {save:,}")
    print(f"  memory   peaks of {min(peaks):,.0f} to {max(peaks):,.0f} MB")
    print(f"  final state, records and scores: {'equal' if not differs else differs + ' DIFFER'}")
    for failure in failures:
        print(f"FAILED: {failure}")
    return int(bool(failures))


def _half(values: Sequence[int], which: int) -> float:
    middle = len(values) // 2
    return float(statistics.median(values[middle:] if which else values[:middle]))


if __name__ == "__main__":
    sys.exit(main())
