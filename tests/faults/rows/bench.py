"""Does the bench see anything?"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

from gan_lab.core import checkpoint
from tests.faults.breaking import in_step, send
from tests.faults.lab import RUN, Fault, Lab, Progress, Trained
from tests.faults.outcome import Outcome, kill_at, row
from tests.faults.rows.game import diverging


def forgetting(*item: str) -> Fault:
    """A run that goes on without one item of the saved state."""

    def install(_: Progress) -> None:
        if not item:
            return
        from gan_lab.core import loop
        from gan_lab.core.hooks import Log
        from gan_lab.run.health import Health

        load = loop.Game.load_state_dict

        def broken(game: loop.Game, state: Any) -> None:
            fresh = game.state_dict()
            if len(item) == 1:
                state = state | {item[0]: fresh[item[0]]}
            else:
                state = state | {item[0]: state[item[0]] | {item[1]: fresh[item[0]][item[1]]}}
            load(game, state)

        if item == ("health",):
            Health.recall = lambda self, memory: None
        elif item == ("log",):
            Log.recall = lambda self, memory, device: None
        else:
            loop.Game.load_state_dict = broken

    return install


@row("M", "mutation: forget one item of the saved state")
def mutations(lab: Lab) -> Outcome:
    """Each in turn; the comparison that all rows make must notice. The run goes back once, so that rates are state."""
    outcome = Outcome()
    steady: Sequence[Fault] = (diverging(0.6),)
    reference = lab.reference(RUN, steady, "diverges once")
    game = checkpoint.load(Trained(reference).checkpoints[-1])["game"]
    items = [("step",), ("images",), *(("parts", name) for name in game["parts"])]
    items += [*(("optimizers", name) for name in game["optimizers"]), ("health",), ("log",)]
    unseen = []
    for item in [(), *items[:: 4 if lab.quick else 1]]:
        folder = lab.new()
        # Saved in the middle of a window, and killed behind it: all that is saved is needed.
        killed = lab.run(folder, faults=[*steady, in_step(375, send(signal.SIGUSR1)), kill_at(390)])
        outcome.expect(killed.code == 137, f"exit code {killed.code}:\n{killed.output}")
        ended = lab.run(folder, faults=[*steady, forgetting(*item)])
        differs = Trained(folder).differs(reference) if ended.code == 0 else "exit code"
        if not item:
            outcome.expect(not differs, f"with nothing forgotten {differs} differ")
            continue
        outcome.times += 1
        if not differs:
            unseen.append("/".join(item))
    outcome.expect(not unseen, f"forgotten unnoticed: {', '.join(unseen)}")
    outcome.notes.append(f"{outcome.times - len(unseen)} of {outcome.times} noticed")
    return outcome
