"""What the page may ask of a run, and the answers. Questions are texts, as they stand in an address."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from gan_lab.commands.apply import Translator
from gan_lab.commands.sample import has_points
from gan_lab.commands.score import Detector
from gan_lab.datasets.decoding import LOSSLESS, LOSSY
from gan_lab.datasets.exact import SUFFIXES
from gan_lab.datasets.store import unscale
from gan_lab.interface.runs import Run
from gan_lab.playing.facts import facts
from gan_lab.playing.points import FARTHEST, FRAMES, Axes, Point, Points
from gan_lab.playing.uploads import LARGEST, data_url, normal_scores, png, score, translate
from gan_lab.tasks.contract import CHUNK

MOST = CHUNK  # samples of a page
PICTURES, LINES, CLOUD = (4, 9, 16, 36, 64), (10, 20, 50), (200, 1000, 5000)  # numbers to choose from
LARGEST_SEED = 2**53 - 1  # JavaScript's whole numbers

Query = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What an address has: JSON, or a picture as bytes of a PNG."""

    content: Any
    type: str = "application/json"


class Playground:
    """A run to play with. Raises ValueError for one that makes nothing of a seed or of a user's pictures.

    `asked` has the function behind each address, `given` the one behind each address that takes a file.
    """

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name, trained = run, name, run.trained
        task = trained.task
        picture = trained.columns.get("sample")
        self.pictures = bool(task.generates and picture and picture.kind == "picture" and picture.shape[0] in (1, 3, 4))
        self.lines = not task.deterministic and not self.pictures  # or points: one sheet for a seed
        if not (self.pictures or self.lines or task.translates or task.detects):
            raise ValueError(
                f"{name} is a run of task={trained.config.task.name}, which makes nothing of a seed or of a picture of "
                f"yours; gan-lab sample {name} shows what it does with its own data"
            )
        trained.settle()
        ways = (task.directions or {"": ()}) if task.translates else ()
        self.translators = {way: Translator(trained, None, way or None) for way in ways}
        self.detector = Detector(trained) if task.detects else None
        self.points = Points(trained)
        self.asked: dict[str, Callable[[Query], Answer]] = {"/about": self.about, "/sheet": self.sheet}
        if self.pictures:
            self.asked |= {"/samples": self.samples, "/picture.png": self.picture, "/path": self.path}
        self.given: dict[str, Callable[[Query, bytes], Answer]] = {}
        if self.translators:
            self.given["/apply"] = self.apply
        if self.detector:
            self.given["/score"] = self.score

    # -- addresses -----------------------------------------------------------------------------------------------------

    def about(self, query: Query) -> Answer:
        """What there is to play with."""
        trained = self.run.trained
        return Answer(
            facts(self.run, self.name)
            | {
                "pictures": self.pictures,
                "lines": self.lines,
                "counts": PICTURES if self.pictures else CLOUD if has_points(trained) else LINES,
                "classes": self.classes,
                "truncates": trained.truncates and (self.pictures or self.lines),
                "sliders": {axes: len(steps) for axes, steps in self.points.steps.items()} if self.pictures else {},
                "frames": FRAMES,
                "farthest": FARTHEST,
                "directions": [*self.translators],
                "detects": normal_scores(self.detector) if self.detector else None,
                "suffixes": sorted(SUFFIXES if self.translators else LOSSLESS | LOSSY),
                "largest": LARGEST,
            }
        )

    def samples(self, query: Query) -> Answer:
        """Samples of a seed as pictures, with their classes: those of `run.sample`."""
        num, seed = whole(query, "num", 16, 1, MOST), seed_in(query)
        found = self.run.examples(num, seed=seed, label=self._label(query), truncation=number(query, "truncation"))
        pictures = [data_url(pixels) for pixels in unscale(found["sample"]).numpy()]
        labels = found["label"].tolist() if self.classes and "label" in found else None
        return Answer({"pictures": pictures, "labels": labels})

    def picture(self, query: Query) -> Answer:
        """The picture at a point."""
        with self.run.trained.truncated(number(query, "truncation")):
            made = self.points.picture(self._point(query))
        return Answer(png(unscale(made)[0].numpy()), "image/png")

    def path(self, query: Query) -> Answer:
        """Pictures from a point to the first sample of the seed `end`."""
        with self.run.trained.truncated(number(query, "truncation")):
            made = self.points.path(self._point(query), seed_in(query, "end"))
        return Answer({"pictures": [data_url(pixels) for pixels in unscale(made).numpy()]})

    def sheet(self, query: Query) -> Answer:
        """What `gan-lab sample` shows: lines of text, or one picture. Of tasks that need data, held-out ones."""
        num, seed = whole(query, "num", 16, 1, CLOUD[-1]), seed_in(query)
        shown = self.run.show(num, seed=seed, label=self._label(query), truncation=number(query, "truncation"))
        if isinstance(shown.content, str):
            return Answer({"lines": shown.content.splitlines(), "caption": shown.caption})
        return Answer({"picture": data_url(shown.content), "caption": shown.caption})

    def apply(self, query: Query, content: bytes) -> Answer:
        """What a translator makes of a picture."""
        way = query.get("direction") or next(iter(self.translators))
        if way not in self.translators:
            raise ValueError(f"there is no direction {way}")
        return Answer(translate(self.translators[way], content))

    def score(self, query: Query, content: bytes) -> Answer:
        """What a detector says of a picture."""
        assert self.detector is not None
        return Answer(score(self.detector, content))

    # -- their words ---------------------------------------------------------------------------------------------------

    @functools.cached_property
    def classes(self) -> list[str]:
        """The names of the classes that the generator is told; none where it is told none."""
        trained = self.run.trained
        try:
            trained.labels("0")
        except ValueError:
            return []
        return list(trained.about.get("class_names") or map(str, range(trained.about["num_classes"])))

    def _label(self, query: Query) -> int | None:
        if not query.get("label"):
            return None
        return whole(query, "label", 0, 0, len(self.classes) - 1)

    def _point(self, query: Query) -> Point:
        moves = [finite(word, "moves") for word in query.get("moves", "").split(",") if word]
        if any(abs(move) > FARTHEST for move in moves):
            raise ValueError(f"moves: they go from {-FARTHEST:g} to {FARTHEST:g}")
        axes = query.get("axes", "directions")
        if axes not in get_args(Axes):
            raise ValueError(f"axes: choose from {', '.join(get_args(Axes))}")
        index = whole(query, "index", 0, 0, MOST - 1)
        return Point(seed_in(query), index, self._label(query), axes, tuple(moves))  # type: ignore[arg-type]


def whole(query: Query, name: str, usual: int, low: int, high: int) -> int:
    """A whole number from `low` to `high`. Raises ValueError for anything else."""
    word = query.get(name) or str(usual)
    if not (word.removeprefix("-").isascii() and word.removeprefix("-").isdigit() and len(word) < 20):
        raise ValueError(f"{name}: {word[:20]} is no whole number")
    if not low <= int(word) <= high:
        raise ValueError(f"{name}: {word} is not between {low} and {high}")
    return int(word)


def seed_in(query: Query, name: str = "seed") -> int:
    return whole(query, name, 0, 0, LARGEST_SEED)


def number(query: Query, name: str) -> float | None:
    return finite(query[name], name) if query.get(name) else None


def finite(word: str, name: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name}: {word[:20]} is no number")
    return value
