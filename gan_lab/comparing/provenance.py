"""The provenance that two scores must share to be ranked, and the message where it differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from gan_lab.comparing.runs import Reading, Run

# Fields that must be equal for two scores to be ranked. Versions and noise seeds may differ.
PROVENANCE = (
    "task", "samples", "split", "reference", "reference_samples", "extractor", "extractor_weights",
    "extractor_settings", "layer", "resize", "quantization", "weights", "batch_norm", "selection", "dataset",
    "made_from", "conditions",
)  # fmt: skip


def described_by(run: Run, reading: Reading) -> dict[str, Any]:
    """A reading's provenance as values that can be compared and counted."""
    about = reading.provenance
    values = {name: about.get(name) for name in PROVENANCE}
    if values["weights"] is not None:  # averaged or not; the average's decay may be the setting that is compared
        values["weights"] = str(values["weights"]).split()[0]
    if values["reference"] is None:  # a data set's own measure has no reference in its provenance
        data = {key: value for key, value in run.settings.items() if key.startswith("dataset.")}
        values["dataset"] = " ".join(f"{key}={value}" for key, value in data.items())
    values["task"] = run.config.get("task.name")
    versions = about.get("versions")
    text = " ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else ""
    return {name: value if isinstance(value, (int, float, bool)) else str(value) for name, value in values.items()} | {
        "versions": text
    }


def first_difference(readings: Iterable[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The first field in which readings differ, and its values, each with the number of runs that have it."""
    kept = list(readings)
    for name in PROVENANCE:
        values = Counter(about[name] for about in kept)
        if len(values) > 1:
            return name, " and ".join(f"{_as_text(value)} ({counted(n, 'run')})" for value, n in values.most_common())
    return None


def _as_text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def remedy(name: str) -> str:
    if name == "selection":
        return "compare scores of one kind, with --at images or --at seconds for those seen while training"
    return (
        "compare fewer of them with --where key=value, or score them alike with gan-lab evaluate RUN --json FILE and "
        "give the files, too"
    )


def counted(number: int, one: str, many: str | None = None) -> str:
    """`3 runs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
