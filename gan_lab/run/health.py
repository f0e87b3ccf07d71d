"""The health monitor: warns of common failures of adversarial training while there is time to change settings.

The monitor does not change training: it uses none of training's random numbers, moves no statistics, and is not part of
the game's state. Its own state is in the checkpoint beside the game, so that a resumed run gives the same warnings as a
run that was never stopped.
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

REMEMBERED = 16  # looks whose medians give the usual gradient norm


# -- rules -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """A rule for a warning: it is on while a signal is beyond its threshold, after so many looks in a row."""

    signal: str
    title: str
    found: str  # a format string that describes the value
    advice: str
    threshold: float
    critical: float | None = None
    below: bool = False  # whether values below the threshold are bad, instead of values above it
    looks: int = 3
    after: int = 0  # steps before which the rule is not applied

    def level(self, values: Sequence[float]) -> int:
        """The level from the values of the newest looks, oldest first: 0 healthy, 1 warning, 2 critical."""
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
        after=200,  # an untrained generator repeats itself, too
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
    Rule(
        "reconstruction",
        "the discriminator spoils the reconstruction",
        "its error is {:.0%} above that before the game",
        "lower task.adversarial_weight, let D learn first with task.head_start, or slow D down",
        threshold=0.08,  # recipes that pass the switch reach 0.04, those whose pictures are spoilt 0.13
        critical=0.5,
    ),
)

LEVELS = ("", "warning", "critical")


@dataclass
class HealthWarning:
    """A warning that is or was on, with its first and last number of images, and its highest level."""

    signal: str
    title: str
    level: str
    images: int  # at the first look at which it was on
    last: int  # at the last look at which it was on
    value: float  # of the signal at that look
    threshold: float
    found: str  # the value in words
    advice: str


class Health(Hook):
    """Collects values that training records. At each `look`, judges them and the task's own signals.

    `warn` receives each warning when it begins and when it becomes critical. `averaged` are the networks that make
    examples. `held_out` are data that training does not use, if there are any.
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
        # By phase: a lazy regularizer's gradients are larger by its interval.
        self._norms: dict[str, list[Tensor]] = {}  # gradient norms since the last look
        self._seen: dict[str, list[Tensor]] = {}  # accuracies and logits since the last look
        self._first: dict[str, float] = {}  # median norms at the first look
        self._usual: dict[str, list[float]] = {}  # median norms at the last looks
        self._margins: list[float] = []
        self._values: dict[str, list[float]] = {rule.signal: [] for rule in RULES}
        self.warned: dict[str, HealthWarning] = {}
        self.on: dict[str, int] = {}  # levels of the warnings that are on

    # -- between looks: the host does not wait for the device -------------------------------------------------------

    def after_play(self, game: Game, phase: Phase, values: Mapping[str, Sequence[Tensor]]) -> None:
        self._norms.setdefault(phase.name, []).extend(values["gradient_norm"])
        for name in ("real_accuracy", "fake_accuracy", "real_logits", "fake_logits"):
            if name in values:
                self._seen.setdefault(name, []).extend(values[name])

    # -- a look ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def look(self, game: Game) -> dict[str, float]:
        """Compute the signals since the last look, apply the rules, and clear the collected values.

        Returns {"health/<signal>": value} and, for warnings that are on, {"health/<signal>_warning": 1 or 2}.
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
        """The signals from values that the steps since the last look recorded."""
        values: dict[str, float] = {}
        for phase, recorded in self._norms.items():
            norms = torch.stack(recorded).double().cpu()
            norms = norms[norms.isfinite()]  # steps with other norms were skipped
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

    # -- state -------------------------------------------------------------------------------------------------------

    def memory(self) -> dict[str, Any]:
        """The monitor's state as plain types and tensors.

        Not called `state_dict`, so that it is not part of the game's state: a run can continue without it.
        """
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
        """Restore the state of `memory()`."""
        known = remembered(memory, self._device)
        self._norms, self._seen, self.warned = known["norms"], known["seen"], known["warned"]
        self._first, self._usual, self._margins = known["first"], known["usual"], known["margins"]
        self._values |= known["values"]


def remembered(memory: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The content of a monitor's `memory()`, on this device. Raises whatever it meets where it is none."""
    return {
        "norms": {name: list(values.to(device)) for name, values in memory["norms"].items()},
        "seen": {name: [values.to(device)] for name, values in memory["seen"].items()},
        "first": {name: float(value) for name, value in memory["first"].items()},
        "usual": {name: _numbers(values) for name, values in memory["usual"].items()},
        "margins": _numbers(memory["margins"]),
        "values": {signal: _numbers(values) for signal, values in memory["values"].items()},
        "warned": {signal: _warning(warned) for signal, warned in memory["warned"].items()},
    }


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in values]


def _warning(saved: Mapping[str, Any]) -> HealthWarning:
    numbers = {name: int(saved[name]) for name in ("images", "last")} | {
        name: float(saved[name]) for name in ("value", "threshold")
    }
    words = {name: str(saved[name]) for name in ("signal", "title", "level", "found", "advice")}
    return HealthWarning(**words, **numbers)  # type: ignore[arg-type]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten().float() for part in parts])
