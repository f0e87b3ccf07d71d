"""The health of the game: what goes wrong while networks play, found while it can still be mended.

The monitor watches and changes nothing: it draws no random number that training would, moves no statistics, and is no
part of the game's state. What it remembers lies in the checkpoint beside the game, so that a run that goes on warns as
one that was never stopped.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.core.hooks import Every, Hook
from gan_lab.core.loop import Game
from gan_lab.core.types import Data, Phase

REMEMBERED = 16  # looks that say what is usual


# -- rules -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """A warning: on once a signal has been beyond its threshold at so many looks in a row, and while it stays there."""

    signal: str
    title: str
    found: str  # how to say a value
    advice: str
    threshold: float
    critical: float | None = None
    below: bool = False  # the bad side
    looks: int = 3
    after: int = 0  # steps

    def level(self, values: Sequence[float]) -> int:
        """0 healthy, 1 warning, 2 critical, from the newest values, the last one last."""
        newest = values[-self.looks :]
        if len(newest) < self.looks:
            return 0
        if self.critical is not None and all(self._beyond(value, self.critical) for value in newest):
            return 2
        return int(all(self._beyond(value, self.threshold) for value in newest))

    def _beyond(self, value: float, threshold: float) -> bool:
        return value < threshold if self.below else value > threshold  # NaN is never beyond


RULES = (
    Rule(
        "collapse",
        "G repeats itself",
        "its samples' nearest neighbours lie at {:.2f} of the data's distance",
        "raise the weight of regularizer=[r1], lower optimizer.generator.learning_rate, or try augment=diffaugment",
        threshold=0.6,
        critical=0.3,
        below=True,
        after=200,  # a generator that has learnt nothing yet repeats itself, too
    ),
    Rule(
        "overpowered",
        "D overpowers G",
        "accuracy {:.3f} on real and fake, and the margin grows",
        "lower optimizer.discriminator.learning_rate, or raise the weight of regularizer=[r1]",
        threshold=0.97,
    ),
    Rule(
        "overfitting",
        "D overfits",
        "held-out data lie {:.2f} of the way from training data to fakes",
        "try augment=diffaugment or regularizer=[r1], more data, or a smaller discriminator",
        threshold=0.5,
    ),
    Rule(
        "gradient_peak",
        "gradient norms are erratic",
        "one was {:.0f} times the usual",
        "lower the learning rates, or train with trainer.precision=fp32",
        threshold=30.0,
        looks=1,
    ),
    Rule(
        "gradient_share",
        "G's gradient has vanished",
        "{:.1g} of its norm is left",
        "try loss=non_saturating or loss=hinge, or lower optimizer.discriminator.learning_rate",
        threshold=0.03,
        below=True,
    ),
    Rule(
        "statistics_gap",
        "batch norm's running statistics do not fit G",
        "samples differ by {:.2f} from those with batch statistics",
        "score with evaluation.batch_norm=batch, lower trainer.ema, or try another generator.normalization",
        threshold=0.1,
    ),
)

LEVELS = ("", "warning", "critical")


@dataclass
class HealthWarning:
    """A warning that is or was on: since when, until when, and how bad it became."""

    signal: str
    title: str
    level: str
    images: int  # when it began
    last: int  # when it was last on
    value: float  # then
    threshold: float
    found: str  # the value in words
    advice: str


class Health(Hook):
    """Gathers what training records, and looks at it, and at the task's own signals, when it is asked to.

    `warn` receives each warning when it begins and when it becomes critical. `averaged` are the networks that examples
    are made with. `held_out` are data that training does not see, if there are any.
    """

    def __init__(
        self,
        game: Game,
        averaged: nn.ModuleDict,
        every: int,
        warn: Callable[[HealthWarning], object],
        held_out: Data | None = None,
    ) -> None:
        self.period, self.averaged, self.warn = Every(every), averaged, warn
        self._device = game.runtime.device
        task: Any = game.task
        self._signals = task.signals(game.data, held_out, self._device)
        # Of each phase apart: a lazy regularizer's gradients are larger by its interval.
        self._norms: dict[str, list[Tensor]] = {}  # of the steps since the last look
        self._seen: dict[str, list[Tensor]] = {}
        self._first: dict[str, float] = {}  # medians of the norms at the first look
        self._usual: dict[str, list[float]] = {}  # medians of the norms at the last looks
        self._margins: list[float] = []
        self._values: dict[str, list[float]] = {rule.signal: [] for rule in RULES}
        self.warned: dict[str, HealthWarning] = {}
        self.on: dict[str, int] = {}  # levels of the warnings that are on

    # -- between looks: nothing waits for the device ---------------------------------------------------------------

    def after_play(self, game: Game, phase: Phase, values: Mapping[str, Sequence[Tensor]]) -> None:
        self._norms.setdefault(phase.name, []).extend(values["gradient_norm"])
        for name in ("real_accuracy", "fake_accuracy", "real_logits", "fake_logits"):
            if name in values:
                self._seen.setdefault(name, []).extend(values[name])

    # -- a look ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def look(self, game: Game) -> dict[str, float]:
        """Measure, judge, and forget what was gathered since the last look. Returns {"health/<signal>": value} and, for
        warnings that are on, {"health/<signal>_warning": 1 or 2}.
        """
        values = self._of_training()
        if self._signals is not None:
            values |= self._signals(game.nets, self.averaged)
        self._norms, self._seen = {}, {}
        self.on = {}
        for rule in RULES:
            if rule.signal in values and game.step >= rule.after:
                history = [*self._values[rule.signal], values[rule.signal]][-rule.looks :]
                self._values[rule.signal] = history
                if level := rule.level(history):
                    self.on[rule.signal] = level
                    self._note(rule, level, game.images, values[rule.signal])
        named = {f"health/{name}": value for name, value in values.items()}
        return named | {f"health/{signal}_warning": level for signal, level in self.on.items()}

    def _note(self, rule: Rule, level: int, images: int, value: float) -> None:
        before = self.warned.get(rule.signal)
        if before is None:
            before = HealthWarning(rule.signal, rule.title, "", images, images, value, rule.threshold, "", rule.advice)
            self.warned[rule.signal] = before
        before.last, before.value, before.found = images, value, rule.found.format(value)
        if level > LEVELS.index(before.level):
            before.level = LEVELS[level]
            self.warn(before)

    def _of_training(self) -> dict[str, float]:
        """Signals of what the steps since the last look recorded."""
        values: dict[str, float] = {}
        for phase, recorded in self._norms.items():
            norms = torch.stack(recorded).double().cpu()
            norms = norms[norms.isfinite()]  # the others moved nothing, and are counted as skipped
            if not len(norms):
                continue
            median = float(norms.median())
            first = self._first.setdefault(phase, median)
            usual = [*self._usual.get(phase, []), median][-REMEMBERED:]
            self._usual[phase] = usual
            peak = float(norms.max()) / max(statistics.median(usual), 1e-12)
            values["gradient_peak"] = max(values.get("gradient_peak", 0.0), peak)
            if phase == "generator" and first:
                values["gradient_share"] = median / first
        seen = {name: float(_joined(parts).mean()) for name, parts in self._seen.items()}
        if "real_accuracy" in seen:
            margin = seen["real_logits"] - seen["fake_logits"]
            rising = not self._margins or margin > self._margins[0]
            self._margins = [*self._margins, margin][-3:]
            accuracy = min(seen["real_accuracy"], seen["fake_accuracy"])
            values |= {"margin": margin, "overpowered": accuracy if rising else math.nan}
        return values

    # -- what lasts --------------------------------------------------------------------------------------------------

    def memory(self) -> dict[str, Any]:
        """What the next looks depend on, as plain types. Not called `state_dict`: the game goes on without it."""
        return {
            "norms": {name: torch.stack(values).cpu() for name, values in self._norms.items()},
            "seen": {name: _joined(values).cpu() for name, values in self._seen.items()},
            "first": self._first,
            "usual": self._usual,
            "margins": self._margins,
            "values": self._values,
            "warned": {signal: asdict(warned) for signal, warned in self.warned.items()},
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from `memory()`."""
        device = self._device
        self._norms = {name: list(values.to(device)) for name, values in memory["norms"].items()}
        self._seen = {name: [values.to(device)] for name, values in memory["seen"].items()}
        self._first, self._usual, self._margins = memory["first"], memory["usual"], memory["margins"]
        self._values |= memory["values"]
        self.warned = {signal: HealthWarning(**warned) for signal, warned in memory["warned"].items()}


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten().float() for part in parts])
