"""A run's summary.json: what each of its fields may hold, checked when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gan_lab.core.files import BadFile, Unparsable, is_count, read_object


def is_number(value: Any) -> bool:
    """Whether it is a number, or null in its place."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _score(value: Any) -> bool:
    """A score with its provenance; its value is a number, or null where it could not be measured."""
    return isinstance(value, dict) and is_number(value.get("value"))


def _scores(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_score, value.values()))


def _best(value: Any) -> bool:
    return value is None or (_score(value) and is_count(value.get("images")) and isinstance(value.get("metric"), str))


def _warnings(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("title"), str) and is_count(entry.get("last"))
        for entry in value
    )


def _rollbacks(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and is_count(entry.get("from"))
        and is_count(entry.get("to"))
        and is_number(entry.get("learning_rate", "missing"))
        for entry in value
    )


COUNT, NUMBER, TEXT = (is_count, "a count"), (is_number, "a number"), (_text, "text")
SCORES = (_scores, "an object of scores, each with a number as its value")
FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "status": TEXT, "error": TEXT, "config_hash": TEXT, "wandb": TEXT, "caption": TEXT,
    "images": COUNT, "step": COUNT, "seconds": NUMBER, "images_per_second": NUMBER,
    "metrics": SCORES, "selection": SCORES,
    "best": (_best, "null, or a metric with its value and images"),
    "health": (_warnings, "a list of warnings with title and last"),
    "rollbacks": (_rollbacks, "a list of objects with from, to and learning_rate"),
}  # fmt: skip


def read_summary(path: Path) -> dict[str, Any]:
    """The content of a summary. Empty where there is no such file, or one that a crash of the machine cut off.

    Raises BadFile, with the field and the remedy, for anything that no run has written.
    """
    try:
        content = read_object(path)
    except (OSError, Unparsable):
        return {}
    except BadFile as error:
        raise BadFile(f"{error}; {REMEDY}") from error
    for name, (fits, expected) in FIELDS.items():
        if name in content and not fits(content[name]):
            raise BadFile(f"{path}: {name} is not {expected}; {REMEDY}")
    return content


REMEDY = "move it away, and the run goes on from its checkpoints"
