"""Numbers that are none, and too little memory."""

from __future__ import annotations

import math
import os
import signal
from typing import Any

import torch

from gan_lab.datasets import store
from gan_lab.run.selection import Scoring
from tests.faults.breaking import before_step, gradients, in_step
from tests.faults.lab import EVERY, RUN, Fault, Lab, Progress, Trained
from tests.faults.outcome import BATCH, INTERVAL, PICTURES, Outcome, kill_at, row


@row("11", "NaN in batch k")
def nan_in_a_batch(lab: Lab) -> Outcome:
    """The move that saw it leaves no trace: the end is that of a run in which D sat out that step."""
    outcome = Outcome(times=2)
    for kind, words in (("points", RUN), ("pictures with batch norm", PICTURES)):
        step = 40

        def poison(progress: Progress, step: int = step) -> None:
            fetch = store.Store.fetch

            def broken(self: Any, name: str, *more: Any) -> Any:
                rows = fetch(self, name, *more)
                return rows * math.nan if name == "sample" and progress.images == step * BATCH else rows

            store.Store.fetch = broken

        def sit_out(progress: Progress, step: int = step) -> None:
            from gan_lab.core import loop

            play = loop.play

            def broken(game: Any, phase: Any, *more: Any) -> Any:
                return {} if phase.player == "discriminator" and game.step == step else play(game, phase, *more)

            loop.play = broken

        quiet = (*words, "tracking.health=false")
        folder = lab.new()
        ended = lab.run(folder, quiet, [poison])
        outcome.expect(ended.code == 0, f"{kind}: exit code {ended.code}:\n{ended.output}")
        outcome.lose_nothing(ended, folder)
        outcome.compare(folder, lab.reference(quiet, [sit_out], f"without D's step {step}"), records=False)
        skipped = [r for r in Trained(folder).records if r.get("discriminator/skipped")]
        outcome.expect(len(skipped) == 1, f"{kind}: {len(skipped)} records tell of a skipped update")
    outcome.notes.append("that move alone is skipped, and recorded")
    return outcome


@row("12", "gradients x 1e6, once")
def large_gradients(lab: Lab) -> Outcome:
    """Finite, and so a step like others; it is told. Killed behind it, the run ends as without the kill."""
    outcome = Outcome(times=1)

    def grow(gradient: torch.Tensor, game: Any) -> None:
        if game.step == 260:
            gradient.mul_(1e6)

    fault = gradients(grow)
    reference = lab.reference(RUN, [fault], "gradients x 1e6")
    told = [warning["signal"] for warning in Trained(reference).summary["health"]]
    outcome.expect("gradient_peak" in told, f"the monitor told of {told}")
    folder = lab.new()
    ended = lab.run(folder, faults=[fault, kill_at(290)])
    outcome.lose(ended.images - Trained(folder).newest, INTERVAL)
    outcome.recover(lab.finish(folder, RUN, [fault], wish=ended.images))
    outcome.compare(folder, reference)
    outcome.notes.append("goes on; the monitor warns")
    return outcome


def diverging(rate: float) -> Fault:
    """No finite gradient for 90 steps while learning rates are above a share of what they were: from the middle of a
    window on, which ends with a checkpoint that is no good to go back to.
    """

    def spoil(gradient: torch.Tensor, game: Any) -> None:
        group = game.optimizers["discriminator"].param_groups[0]
        start = next(hook for hook in game.hooks if type(hook).__name__ == "LearningRate")
        if 260 <= game.step < 350 and 0.5**start.halvings > rate and group["lr"] > 0:
            gradient.fill_(math.inf)

    return gradients(spoil)


def kill_when_back(game: Any) -> None:
    rates = next(hook for hook in game.hooks if type(hook).__name__ == "LearningRate")
    if rates.halvings and game.step == 220:
        os.kill(os.getpid(), signal.SIGKILL)


@row("12b", "no finite gradient any more: back, with half the rates")
def diverged(lab: Lab) -> Outcome:
    outcome = Outcome(times=3)
    words = (*RUN, "trainer.keep_checkpoints=1")
    reference = lab.reference(words, [diverging(0.6)], "diverges once")
    back = Trained(reference).summary["rollbacks"]
    outcome.expect([entry["to"] for entry in back] == [2 * EVERY], f"went back {back}")
    folder = lab.new()
    ended = lab.run(folder, words, [diverging(0.6), kill_at(320)])
    outcome.expect(ended.code == 137, f"exit code {ended.code}:\n{ended.output}")
    outcome.lose(ended.images - Trained(folder).newest, INTERVAL)
    outcome.recover(lab.finish(folder, words, [diverging(0.6)], wish=ended.images))
    outcome.compare(folder, reference)
    behind = lab.new()  # killed when it has gone back, and has not saved again by itself
    ended = lab.run(behind, words, [diverging(0.6), before_step(kill_when_back)])
    outcome.expect(ended.code == 137, f"exit code {ended.code}:\n{ended.output}")
    lab.finish(behind, words, [diverging(0.6)])
    outcome.compare(behind, reference)
    outcome.expect(len(Trained(behind).summary["rollbacks"]) == 1, "it went back again for the same trouble")
    hopeless = lab.new()
    ended = lab.run(hopeless, words, [diverging(0.0)])
    summary = Trained(hopeless).summary
    outcome.expect(ended.code == 1, f"exit code {ended.code}:\n{ended.output}")
    outcome.expect(summary["status"] == "diverged" and len(summary["rollbacks"]) == 2, f"{summary['status']}")
    outcome.expect("Traceback" not in ended.output and "lower the learning rate" in ended.output, ended.output)
    outcome.notes.append("twice at most; then status diverged, exit code 1")
    return outcome


def run_out(_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@row("13", "out of memory, in a step and in scoring")
def out_of_memory(lab: Lab) -> Outcome:
    outcome = Outcome(times=2)
    folder = lab.new()
    ended = lab.run(folder, faults=[in_step(260, run_out)])
    outcome.expect(ended.code == 1, f"exit code {ended.code}:\n{ended.output}")
    outcome.expect("trainer.micro_batches=2" in ended.output and "Traceback" not in ended.output, ended.output)
    outcome.lose(ended.images - Trained(folder).newest, INTERVAL)
    outcome.recover(lab.finish(folder, wish=ended.images))
    outcome.compare(folder, lab.reference())

    def while_scoring(_: Progress) -> None:
        Scoring.while_training = run_out

    beside = lab.new()
    ended = lab.run(beside, faults=[while_scoring])
    outcome.expect(ended.code == 0, f"in scoring: exit code {ended.code}:\n{ended.output}")
    outcome.expect("out of memory, this score is left out" in ended.output, ended.output)
    outcome.compare(beside, lab.reference(), records=False)
    outcome.notes.append("in a step: exit code 1, one line; in scoring: goes on")
    return outcome
