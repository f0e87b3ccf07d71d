"""Ranks settings by a score over their seeds, or says why the scores cannot be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from gan_lab.comparing.provenance import PROVENANCE, counted, described_by, first_difference, remedy
from gan_lab.comparing.runs import Reading, Run, differing_settings, number
from gan_lab.comparing.settings import ENOUGH, Key, Setting, key_of, short
from gan_lab.comparing.statistics import interquartile_mean


@dataclass(frozen=True)
class At:
    """The point in training at which scores are compared: each run's end, or equal images or seconds.

    Without an amount, it is the largest one that all runs reach.
    """

    what: Literal["end", "images", "seconds"] = "end"
    amount: float | None = None


class Comparison:
    """Runs grouped into settings and ranked by a score.

    `metric` is a score's word (`fd`) or full name. None means the score by which most runs chose their best checkpoint.
    Raises ValueError where the scores cannot be ranked, with the field of their provenance that differs.
    """

    def __init__(self, runs: Sequence[Run], metric: str | None = None, at: At | None = None) -> None:
        self.notes: list[str] = []
        self.searches: list[dict[str, Any]] = []  # results of the searches in these folders
        self.runs = self._without_repeats(runs)
        self.differing = differing_settings(self.runs)
        self.settings = self._fold()
        self.metric = self._choose(metric)
        self.at = at or At()
        self.lower = True
        if self.metric is not None:
            self._read()
            self._check_provenance()
            self._rank()

    # -- settings --------------------------------------------------------------------------------------------------

    def _without_repeats(self, runs: Sequence[Run]) -> list[Run]:
        """The runs with each config and seed once: a repeated run is no further evidence."""
        kept: dict[Any, Run] = {}
        for run in runs:
            key = (tuple(sorted(run.settings.items(), key=str)), run.seed) if run.settings else run.path
            if key not in kept or (kept[key].status != "finished" and run.status == "finished"):
                kept[key] = run
        if repeats := len(runs) - len(kept):
            repeated = counted(repeats, "run repeats", "runs repeat")
            self.notes.append(f"{repeated} another's config and seed: counted once")
        if back := sum(bool(run.summary.get("rollbacks")) for run in kept.values()):
            rolled_back = counted(back, "run", "runs")
            self.notes.append(f"{rolled_back} diverged and went back: with lower learning rates than the settings say")
        return list(kept.values())

    def _fold(self) -> list[Setting]:
        groups: dict[tuple[Any, ...], list[Run]] = {}
        for run in self.runs:
            groups.setdefault(tuple(run.settings.get(key) for key in self.differing), []).append(run)
        labels = self._labels(list(groups.values()))
        return [
            Setting({key: label(members[0]) for key, label in labels.items()}, members) for members in groups.values()
        ]

    def _labels(self, groups: Sequence[Sequence[Run]]) -> dict[str, Callable[[Run], Any]]:
        """A small set of settings that distinguishes the groups, and for each a function that reads it from a run."""
        candidates: dict[str, Callable[[Run], Any]] = {}
        if all(len({run.config.get("experiment") for run in group}) == 1 for group in groups):
            candidates["experiment"] = lambda run: run.config.get("experiment")
        # Names of parts first: they are more important than settings of parts, and decide which settings exist.
        for key in sorted(self.differing, key=lambda key: not _names_a_part(key)):
            candidates[key] = lambda run, key=key: run.settings.get(key)  # type: ignore[misc]
        chosen: dict[str, Callable[[Run], Any]] = {}
        distinguished = 1
        for key, label in candidates.items():
            count = len({tuple(read(group[0]) for read in (*chosen.values(), label)) for group in groups})
            if count > distinguished:
                chosen[key], distinguished = label, count
        return chosen

    # -- the score that is ranked -----------------------------------------------------------------------------------

    def _choose(self, metric: str | None) -> Key | None:
        """The score to rank by: the one by which most runs selected, or the first one that has a direction."""
        if metric is not None:
            known = dict.fromkeys(name for run in self.runs for name in (*run.finals, *run.curves))
            keys = [key_of(name) for name in known if metric in (name, name.split("/")[0], short(key_of(name)))]
            if not keys:
                words = ", ".join(dict.fromkeys(short(key_of(name)) for name in known)) or "none"
                raise ValueError(f"--metric {metric}: these runs have no such score; they have {words}")
            return keys[0]
        chosen = Counter(key_of(run.selected_by) for run in self.runs if run.selected_by)
        if chosen:
            return chosen.most_common(1)[0][0]
        finals = [(name, reading) for run in self.runs for name, reading in run.finals.items()]
        return next((key_of(name) for name, reading in finals if reading.provenance.get("better")), None)

    def _read(self) -> None:
        """Read the score of each run at its end, or at equal images or seconds."""
        ended = self.at.what == "end"
        if ended:
            self._read_finals()
            if self._uneven():
                self._use_training_scores()
        if self.at.what == "images":
            self._read_at_images(self.at.amount, ("finished",) if ended else ("finished", "running"))
        elif self.at.what == "seconds":
            self._read_at_seconds(self.at.amount)
        if not self.readings:
            self.notes.append(f"no run has {short(self.metric)} yet")

    def _uneven(self) -> bool:
        """Whether the runs' final numbers of images differ by more than one batch."""
        images = {run: reading.images for setting in self.settings for run, reading in setting.readings.items()}
        batches = [int(number(run.config.get("trainer.batch_size")) or 0) for run in images]
        return bool(images) and max(images.values()) - min(images.values()) > max(batches)

    def _use_training_scores(self) -> None:
        """Use the scores from during training instead, unless scores were computed again after the end."""
        scored = [run for setting in self.settings for run in setting.readings]
        if any(run.scored_again for run in scored) or not all(self.curve(run, self.metric) for run in scored):
            low, *_, high = sorted(reading.images for reading in self.readings)
            self.notes.append(f"the scores were taken after unequal training, {low:,} to {high:,} images")
            return
        self.notes.append("the runs ended after unequal images: scores seen while training are compared")
        self.at = At("images")

    @property
    def readings(self) -> list[Reading]:
        return [reading for setting in self.settings for reading in setting.readings.values()]

    def _set(self, read: Callable[[Run], Reading | None]) -> None:
        for setting in self.settings:
            readings = {run: read(run) for run in setting.runs}
            setting.readings = {run: r for run, r in readings.items() if r is not None and r.value is not None}

    def _read_finals(self) -> None:
        self._set(lambda run: self.final(run, self.metric) if run.status == "finished" else None)

    def final(self, run: Run, key: Key | None) -> Reading | None:
        """A run's final score; for another split where there is only that one. The check of provenance reports it."""
        same = [reading for name, reading in run.finals.items() if key and key_of(name)[0] == key[0]]
        exact = [reading for name, reading in run.finals.items() if key_of(name) == key]
        return next(iter(exact or same), None)

    def curve(self, run: Run, key: Key | None) -> list[Reading]:
        return next((curve for name, curve in run.curves.items() if key_of(name) == key), [])

    def _read_at_images(self, amount: float | None, statuses: Sequence[str]) -> None:
        curves = {run: self._by_due_images(run) for run in self.runs if run.status in statuses}
        limit = float("inf") if amount is None else amount
        points = [{images for images in curve if images <= limit} for curve in curves.values() if curve]
        common = set.intersection(*points) if points else set()
        if points and not common:
            every = sorted({run.config.get("evaluation.every") for run in curves}, key=str)
            why = f"evaluation.every={','.join(map(str, every))}" if len(every) > 1 else "their first score comes later"
            within = f" up to {amount:,.0f}" if amount is not None else ""
            raise ValueError(f"there is no number of images{within} at which all runs were scored: {why}")
        images = max(common, default=0)
        self.at = At("images", images)
        self._set(lambda run: curves.get(run, {}).get(images))

    def _by_due_images(self, run: Run) -> dict[int, Reading]:
        """The scores during training by the images at which they were due, which a batch may exceed."""
        every, batch = (int(number(run.config.get(key)) or 0) for key in ("evaluation.every", "trainer.batch_size"))
        readings = self.curve(run, self.metric)
        return {r.images // every * every if every > batch else r.images: r for r in readings}

    def _read_at_seconds(self, amount: float | None) -> None:
        curves = {run: self.curve(run, self.metric) for run in self.runs if run.status in ("finished", "running")}
        ends = [curve[-1].seconds for curve in curves.values() if curve]
        seconds = amount if amount is not None else min(ends, default=0.0)
        self.at = At("seconds", seconds)
        self._set(lambda run: next((r for r in reversed(curves.get(run, ())) if r.seconds <= seconds), None))
        if late := sum(not curve or curve[0].seconds > seconds for curve in curves.values()):
            self.notes.append(f"{counted(late, 'run was', 'runs were')} not scored within {seconds:,.0f} s: left out")

    # -- whether they can be ranked ----------------------------------------------------------------------------------

    def _check_provenance(self) -> None:
        described = {
            run: described_by(run, reading) for setting in self.settings for run, reading in setting.readings.items()
        }
        if difference := first_difference(described.values()):
            name, values = difference
            raise ValueError(
                f"{short(self.metric)} of these runs cannot be ranked, its {name} differs: {values}; {remedy(name)}"
            )
        versions = Counter(about["versions"] for about in described.values())
        if len(versions) > 1:
            self.notes.append(f"scores were computed with different versions: {'; '.join(versions)}")
        better = {reading.provenance.get("better") for reading in self.readings} - {None}
        if self.readings and not better:
            raise ValueError(f"--metric {short(self.metric)}: more of it is neither better nor worse; give another")
        self.lower = "higher" not in better

    # -- the order, and how sure it is -------------------------------------------------------------------------------

    def _rank(self) -> None:
        sign = 1 if self.lower else -1
        scored = [setting for setting in self.settings if setting.values]
        scored.sort(key=lambda setting: sign * interquartile_mean(setting.values))
        self.settings = scored + [setting for setting in self.settings if not setting.values]
        steady = [setting for setting in scored if not setting.broken] or scored
        for setting in self.settings:
            setting.verdict = self._verdict(setting, steady)

    def _verdict(self, setting: Setting, steady: Sequence[Setting]) -> str:
        """The verdict on a setting, compared with the best setting that never diverged."""
        if setting.broken:
            return f"{len(setting.broken)} of {len(setting.runs)} diverged"
        if setting.mean is None:
            return "not scored"
        if len(steady) == 1:
            return "the only one"
        if len(setting.values) < ENOUGH:
            return "too few runs"
        if setting is not steady[0]:
            return "worse" if setting.differs_from(steady[0]) else "inconclusive"
        return "best" if all(setting.differs_from(other) for other in steady[1:]) else "inconclusive"

    @property
    def undecided(self) -> list[Setting]:
        """The best setting and those that do not differ from it clearly; empty where there are none of these."""
        steady = [setting for setting in self.settings if setting.mean is not None and not setting.broken]
        rivals = [other for other in steady[1:] if not other.differs_from(steady[0])]
        return [steady[0], *rivals] if rivals else []

    # -- other scores ------------------------------------------------------------------------------------------------

    @cached_property
    def others(self) -> list[Key]:
        """Further headline scores with a column. One whose provenance differs is left out, with a note."""
        from gan_lab import registry
        from gan_lab.metrics.base import is_headline

        registry.load()  # all measures, also those of plug-ins
        if self.at.what != "end":
            return []
        scored = [run for setting in self.settings for run in setting.readings]
        keys = dict.fromkeys(key_of(name) for run in scored for name in run.finals if is_headline(name))
        kept = []
        for key in keys:
            readings = {run: reading for run in scored if (reading := self.final(run, key)) is not None}
            abouts = [described_by(run, reading) for run, reading in readings.items()]
            uneven = [name for name in PROVENANCE if len({about[name] for about in abouts}) > 1]
            if uneven:
                self.notes.append(f"{short(key)} is left out: its {uneven[0]} differs")
            elif key != self.metric:
                kept.append(key)
        return kept

    def over_runs(self, setting: Setting, key: Key) -> float | None:
        """The interquartile mean of another final score over the setting's runs that are ranked."""
        finals = [self.final(run, key) for run in setting.readings]
        values = [reading.value for reading in finals if reading is not None and reading.value is not None]
        return interquartile_mean(values) if values else None

    @property
    def unfinished(self) -> list[Run]:
        return [run for run in self.runs if run.status != "finished"]


def _names_a_part(key: str) -> bool:
    return key.endswith(".name") or "." not in key
