"""What the page says of a run besides its pictures: what it is, how it was trained, its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gan_lab.commands.card import how_taken
from gan_lab.interface.runs import Run
from gan_lab.metrics.base import is_headline, short_names
from gan_lab.tracking.run_directory import SELECTION, RunDirectory

PARTS = ("task", "generator", "discriminator", "loss", "dataset")


def facts(run: Run, name: str) -> dict[str, Any]:
    """Names, numbers and scores of the checkpoint that plays."""
    trained, summary = run.trained, run.summary
    about = [("run", name), ("status", run.status), ("images", f"{trained.images:,}"), ("weights", trained.weights)]
    about += [(part, str(trained.config[part].name)) for part in PARTS if trained.config.get(part) is not None]
    about += [(package, str(version)) for package, version in dict(trained.about.get("versions") or {}).items()]
    known = {name: entry for name, entry in scores(run, summary) if isinstance(entry.get("value"), (int, float))}
    headlines = short_names({key: entry for key, entry in known.items() if is_headline(key)})
    return {
        "name": name.rstrip("/").rpartition("/")[2],
        "summary": [f"{trained.config.task.name} on {trained.config.dataset.name}", f"{trained.images:,} images"],
        "about": about,
        "scores": [
            {"name": key, "short": headlines.get(key), "value": f"{entry['value']:.4g}", "how": how_taken(entry)}
            for key, entry in known.items()
        ],
    }  # fmt: skip


def scores(run: Run, summary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The scores of the checkpoint that is loaded: those at the run's end, or those seen while training."""
    at_end = summary.get("images") == run.trained.images
    if at_end and summary.get("metrics"):
        yield from summary["metrics"].items()
        return
    records = RunDirectory(run.path).read_metrics() if run.path.is_dir() else []
    taken = dict(summary.get("selection") or {})  # the same settings each time
    for record in records:
        if record["images"] == run.trained.images:
            for key, value in record.items():
                if key.startswith(SELECTION):
                    name = key.removeprefix(SELECTION)
                    yield name, dict(taken.get(name) or {}) | {"value": value}
