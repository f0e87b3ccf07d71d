"""Services, sweeps and neighbours."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from gan_lab.losses import NonSaturating
from gan_lab.registry import losses
from tests.faults.breaking import before_step
from tests.faults.lab import EVERY, RUN, Lab, Trained, environment
from tests.faults.outages import outages
from tests.faults.outcome import BATCH, INTERVAL, Outcome, row


@row("17", "W&B unreachable, a black hole, dying, slow", quick=False)
def service_gone(lab: Lab) -> Outcome:
    outcome = Outcome()
    for outage in outages(lab):
        outcome.times += 1
        for failure in outage.failures:
            outcome.failures.append(f"W&B {outage.name}: {failure}")
        outcome.notes.append(f"{outage.name} {outage.share:.2%}")
        outcome.expect(outage.share < 0.01, f"W&B {outage.name} takes {outage.share:.2%} of the steps' time")
        outcome.compare(outage.folder, lab.reference(outage.words))
    outcome.notes[0] = "share of the steps' time: " + outcome.notes[0]
    return outcome


@losses.register("faulty")
class Faulty(NonSaturating):
    """Fails by the seed of its job while the environment wants it to: 2 raises, 3 exits, 4 is killed."""

    def generator(self, forward: Any) -> Any:
        if os.environ.get("FAULTY") and forward.game.step == 120:
            seed = forward.game.seed
            if seed == 2:
                raise RuntimeError("planted")
            if seed == 3:
                raise SystemExit(3)
            if seed == 4:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().generator(forward)


@row("18", "a sweep's job raises, exits, is killed")
def sweep_broken(lab: Lab) -> Outcome:
    outcome = Outcome(times=3)
    words = (*(word for word in RUN), "-m", "loss=faulty", "trainer.seed=1,2,3,4,5", "trainer.images=9600")
    words = tuple(word for word in words if word != "trainer.images=24000")
    sweep = lab.new("sweep")
    with environment(FAULTY="1"):
        broken = lab.run(sweep, words, where="sweep_dir={}")
    outcome.expect(broken.code == 137, f"exit code {broken.code}:\n{broken.output}")  # seed 4 took the sweep with it

    def by_seed() -> dict[int, Path]:
        found = {}
        for path in sweep.glob("*/config.yaml"):
            seed = next(line for line in path.read_text().splitlines() if line.strip().startswith("seed:"))
            found[int(seed.split(":")[1])] = path.parent
        return found

    states = {seed: Trained(path).summary["status"] for seed, path in by_seed().items()}
    outcome.expect(states == {1: "finished", 2: "failed", 3: "failed", 4: "running"}, f"{states}")
    first = (by_seed()[1] / "summary.json").read_bytes()
    for seed, most in ((2, INTERVAL), (3, INTERVAL), (4, INTERVAL)):
        outcome.lose(120 * BATCH - Trained(by_seed()[seed]).newest, most)
    begin = time.monotonic()
    again = lab.run(sweep, words, where="sweep_dir={}")
    outcome.seconds = time.monotonic() - begin
    outcome.expect(again.code == 0 and "5 of 5 jobs finished" in again.output, again.output)
    outcome.expect((by_seed()[1] / "summary.json").read_bytes() == first, "a finished job was touched")
    for seed, path in by_seed().items():
        alone = tuple(word for word in words if word != "-m" and not word.startswith("trainer.seed="))
        outcome.compare(path, lab.reference((*alone, f"trainer.seed={seed}")))
    outcome.notes.append("the same command redoes just these")
    return outcome


@row("20", "two processes in one run directory")
def two_at_once(lab: Lab) -> Outcome:
    outcome = Outcome(times=1)
    folder = lab.new()
    first = lab.start(folder, faults=[before_step(lambda game: time.sleep(0.002))])
    first.reach(EVERY)
    second = lab.run(folder)
    outcome.expect(second.code == 2 and "is in use" in second.output, f"{second.code}: {second.output}")
    ended = first.wait()
    outcome.expect(ended.code == 0, f"the first ended with {ended.code}")
    outcome.lose_nothing(ended, folder)
    outcome.compare(folder, lab.reference())
    outcome.notes.append("the second: exit code 2")
    return outcome
