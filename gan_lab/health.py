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
from torch.nn.functional import adaptive_avg_pool2d

from gan_lab.core.hooks import Every, Hook
from gan_lab.core.loop import Game
from gan_lab.core.runtime import has_batch_statistics, inference
from gan_lab.core.types import Data, Phase

LOOKED_AT = 64  # samples, and examples of each split, at a look
FEWEST = 8  # examples whose neighbours say something
SEED = 0  # of the noise: the same at each look, so that a change is the generator's
SMALL = 8  # pixels that pictures are averaged to before their distances are taken
REMEMBERED = 16  # looks that say what is usual


# -- signals: pure functions -------------------------------------------------------------------------------------------


def nearest_distance(samples: Tensor) -> float:
    """The mean Euclidean distance to the nearest other sample, [N, ...]; pictures are averaged to 8 x 8 pixels first.

    A generator that has collapsed to a few modes still has a usual median distance between samples. Their nearest
    neighbours give it away.
    """
    if samples.dim() == 4:
        samples = adaptive_avg_pool2d(samples, SMALL)
    flat = samples.flatten(1).double()
    distances = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    return float(distances.min(1).values.mean())


def overfitting(known: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """How far D's mean output on held-out data has gone from that on training data to that on fakes: 0 not at all, 1
    all the way. NaN where D does not tell training data from fakes.

    Logits [N]; Karras et al. (2020, arXiv 2006.06676, eq. 1, r_v).
    """
    a, b, c = (float(logits.double().mean()) for logits in (known, held_out, fake))
    return (a - b) / (a - c) if a > c else math.nan


def statistics_gap(running: Tensor, batch: Tensor) -> float:
    """The mean absolute difference of samples [N, ...] by batch norm's running statistics and by the batch's own."""
    return float((running - batch).abs().mean())


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
class Warned:
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
    """Gathers what training records, and looks at it and at samples when it is asked to. `warn` is told each warning
    when it begins and when it becomes critical.

    `averaged` are the networks that samples are made with. `held_out` are data that training does not see, if there are
    any: without them D's overfitting is not judged.
    """

    def __init__(
        self,
        game: Game,
        averaged: nn.ModuleDict,
        every: int,
        warn: Callable[[Warned], object],
        held_out: Data | None = None,
    ) -> None:
        self.period, self.averaged, self.warn = Every(every), averaged, warn
        device = game.runtime.device
        self._real, self._label = _spread(game.data, device)
        self._held_out = _spread(held_out, device) if held_out is not None and hasattr(game.task, "logits") else None
        self._real_distance = nearest_distance(self._real) if len(self._real) >= FEWEST else math.nan
        # Of each phase apart: a lazy regularizer's gradients are larger by its interval.
        self._norms: dict[str, list[Tensor]] = {}  # of the steps since the last look
        self._seen: dict[str, list[Tensor]] = {}
        self._first: dict[str, float] = {}  # medians of the norms at the first look
        self._usual: dict[str, list[float]] = {}  # medians of the norms at the last looks
        self._margins: list[float] = []
        self._values: dict[str, list[float]] = {rule.signal: [] for rule in RULES}
        self.warned: dict[str, Warned] = {}
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
        values = self._of_training() | self._of_samples(game)
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
            before = Warned(rule.signal, rule.title, "", images, images, value, rule.threshold, "", rule.advice)
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

    def _of_samples(self, game: Game) -> dict[str, float]:
        """Signals of samples, and of what D makes of them."""
        task: Any = game.task
        values: dict[str, float] = {}
        count = len(self._real)
        with inference(self.averaged, "running") as nets:
            samples = task.sample(nets, count, SEED)
        values["collapse"] = nearest_distance(samples) / max(self._real_distance, 1e-12)
        if any(has_batch_statistics(net) for net in self.averaged.values()):
            with inference(self.averaged, "batch") as nets:
                values["statistics_gap"] = statistics_gap(samples, task.sample(nets, count, SEED))
        if self._held_out is not None:
            _, asked = task.latents(count, SEED)
            device = self._real.device
            with inference(game.nets, "running") as nets:
                fake = task.logits(nets, samples.to(device), None if asked is None else asked.to(device))
                known = task.logits(nets, self._real, self._label)
                held_out = task.logits(nets, *self._held_out)
            values["overfitting"] = overfitting(known, held_out, fake)
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
        device = self._real.device
        self._norms = {name: list(values.to(device)) for name, values in memory["norms"].items()}
        self._seen = {name: [values.to(device)] for name, values in memory["seen"].items()}
        self._first, self._usual, self._margins = memory["first"], memory["usual"], memory["margins"]
        self._values |= memory["values"]
        self.warned = {signal: Warned(**warned) for signal, warned in memory["warned"].items()}


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten().float() for part in parts])


def _spread(data: Data, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Examples evenly from the whole of some data, and so of each class even where these lie in order."""
    rows = torch.linspace(0, len(data) - 1, min(LOOKED_AT, len(data))).long()
    return data.fetch("sample", rows, device), data.fetch("label", rows, device) if "label" in data else None
