"""Ranks that are killed, hang, or see numbers that the others do not."""

from __future__ import annotations

import signal
import time

from tests.faults.lab import RUN, Lab, Trained, environment
from tests.faults.outcome import BATCH, INTERVAL, Outcome, row

TWO = (*RUN, "trainer.processes=2", "trainer.timeout=5", "tracking.health=false")
STEP = 260


@row("19", "a rank is killed, or hangs; or sees no numbers", quick=False)
def rank_gone(lab: Lab) -> Outcome:
    outcome = Outcome()
    slowest: dict[str, float] = {}
    with environment(GAN_LAB_PLUGINS="tests.faults.ranks"):
        reference = lab.reference(TWO)
        for rank, what in ((1, "SIGKILL"), (0, "SIGKILL"), (1, "SIGSTOP"), (0, "SIGSTOP")):
            outcome.times += 1
            folder = lab.new(f"{what}-{rank}")
            with environment(RANK_FAULT=f"{rank} {STEP} {what}"):
                running = lab.start(folder, TWO)
                while Trained(folder).newest < (STEP * BATCH // INTERVAL) * (INTERVAL - BATCH):
                    time.sleep(0.05)
                begin = time.monotonic()
                ended = running.wait()
            slowest[what] = max(slowest.get(what, 0.0), time.monotonic() - begin)
            told = "was killed by SIGKILL" if what == "SIGKILL" else "did not answer for 5 seconds"
            outcome.one_line(ended, 1, f"rank {rank} {told}", "the same command goes on")
            outcome.expect(ended.output.count("gan-lab:") == 1, ended.output)
            outcome.lose(STEP * BATCH - Trained(folder).newest, INTERVAL)
            begin = time.monotonic()
            lab.finish(folder, TWO)
            outcome.seconds = max(outcome.seconds or 0.0, time.monotonic() - begin)
            outcome.compare(folder, reference)
            outcome.clean(folder)
        _told(lab, outcome)
        _poisoned(lab, outcome)
    outcome.notes.append(f"exit code 1 after at most {slowest['SIGKILL']:.0f} s, hung: {slowest['SIGSTOP']:.0f} s")
    return outcome


def _told(lab: Lab, outcome: Outcome) -> None:
    """SIGTERM to one rank is one to all: it is saved, and nothing is lost."""
    outcome.times += 1
    folder = lab.new("SIGTERM")
    with environment(RANK_FAULT=f"1 {STEP} SIGTERM"):
        ended = lab.run(folder, TWO)
    outcome.one_line(ended, 128 + signal.SIGTERM, "interrupted: signal 15")
    saved = Trained(folder).newest
    outcome.expect(saved in ((STEP + 1) * BATCH, (STEP + 2) * BATCH), f"saved at {saved} images")
    lab.finish(folder, TWO)
    # Saved in the middle of a window, a record is the mean of other rows: of rank 0's before it.
    outcome.compare(folder, lab.reference(TWO), records=False)


def _poisoned(lab: Lab, outcome: Outcome) -> None:
    """One rank's numbers decide for all: the move is skipped on every rank, and all go back together."""
    outcome.times += 1
    folder = lab.new("nan")
    with environment(RANK_FAULT=f"1 {STEP} nan"):
        ended = lab.run(folder, TWO)
    outcome.expect(ended.code == 0, f"exit code {ended.code}:\n{ended.output}")
    outcome.expect("learning rates x 0.5" in ended.output, ended.output)
