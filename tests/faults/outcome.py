"""What a row of the fault matrix found, and what several rows break runs with."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.breaking import in_step, send
from tests.faults.lab import EVERY, Ended, Fault, Lab, Trained

BATCH = 48
INTERVAL = EVERY + BATCH  # a kill may strike in the step that would have saved


@dataclass
class Outcome:
    """What a row found. Figures that do not apply are None."""

    lost: int | None = None  # images shown that had to be shown again, at most
    bound: int = 0  # how many may be
    seconds: float | None = None  # from the repeated command to where the run was, at most; without Python's start
    equal: bool | None = None  # whether the final state is the uninterrupted run's, bit for bit
    times: int = 0  # how often it was tried
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failures

    def expect(self, holds: object, what: str) -> None:
        if not holds:
            self.failures.append(what)

    def lose(self, images: int, bound: int) -> None:
        self.lost, self.bound = max(self.lost or 0, images), bound
        self.expect(images <= bound, f"{images:,} images lost, of {bound:,} at most")

    def lose_nothing(self, ended: Ended, folder: Path) -> None:
        """Every image that the process has shown is in the newest checkpoint."""
        self.lose(ended.images - Trained(folder).newest, 0)

    def one_line(self, ended: Ended, code: int, *words: str) -> None:
        """The run has ended with this code, and with these words and no traceback."""
        self.expect(ended.code == code, f"exit code {ended.code}, not {code}:\n{ended.output}")
        missing = [word for word in words if word not in ended.output]
        self.expect(not missing and "Traceback" not in ended.output, f"not said: {missing}:\n{ended.output}")

    def recover(self, ended: Ended) -> None:
        if ended.recovered is not None:
            self.seconds = max(self.seconds or 0.0, ended.recovered)

    def compare(self, folder: Path, reference: Path, *, records: bool = True) -> None:
        differs = Trained(folder).differs(reference, records=records)
        self.equal = self.equal is not False and not differs
        self.expect(not differs, f"{folder.name}: {differs} differ")

    def clean(self, folder: Path) -> None:
        remains = Trained(folder).remains
        self.expect(not remains, f"{folder.name}: left behind: {', '.join(remains)}")


@dataclass(frozen=True)
class Row:
    number: str
    name: str
    run: Callable[[Lab], Outcome]
    quick: bool = True  # or shortened where the lab is


ROWS: list[Row] = []


def row(number: str, name: str, quick: bool = True) -> Callable[[Callable[[Lab], Outcome]], Callable[[Lab], Outcome]]:
    def register(run: Callable[[Lab], Outcome]) -> Callable[[Lab], Outcome]:
        ROWS.append(Row(number, name, run, quick))
        return run

    return register


# A run with pictures and batch norm.
PICTURES = (
    "experiment=none", "dataset=toy_pictures", "generator.width=4", "discriminator.width=4", "evaluation.every=0",
    "discriminator.normalization=batch", f"trainer.batch_size={BATCH}", f"trainer.images={100 * BATCH}",
    f"trainer.checkpoint_every={25 * BATCH}", f"tracking.log_every={20 * BATCH}", "tracking.samples_every=0",
    "trainer.ema=0.99", "evaluation.metrics=[]",
)  # fmt: skip


def kill_at(step: int) -> Fault:
    return in_step(step, send(signal.SIGKILL))
