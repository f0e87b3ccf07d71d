"""The samples of runs, pictures or text, made small enough for the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.comparing.comparison import Comparison
from gan_lab.comparing.runs import Run
from gan_lab.comparing.settings import Setting
from gan_lab.core.files import read_bytes, read_text
from gan_lab.display.pictures import open_picture
from gan_lab.tracking.run_directory import RunDirectory

PICTURE_BYTES = 420_000  # of all samples together; text holds them in a third more
PICTURE_WIDTH = 320  # pixels
LINES = 24  # of a text
STEPS = 8  # numbers of images that samples are shown at
SETTINGS = 24  # settings whose samples are shown


def samples(comparison: Comparison) -> dict[str, Any]:
    """Grids of samples at equal images, from one run of each setting: the one whose score is nearest to the mean.

    Returns {"at": numbers of images, "rows": one for each setting, "more": settings left out}. A row has the run's
    path, its caption, and for each number of images a data URL, lines of text as {"text": ...}, or None.
    """
    chosen = [_typical(setting) for setting in comparison.settings[:SETTINGS]]
    files = [RunDirectory(run.path).sheets() if run else {} for run in chosen]
    counts = sorted(set().union(*files)) if files else []
    counts = [counts[int(i)] for i in np.unique(np.linspace(0, len(counts) - 1, STEPS).round())] if counts else []
    shown: dict[int, list[str | dict[str, str] | None]] = {}
    left = PICTURE_BYTES
    for images in reversed(counts):  # the last ones matter most
        row = [_small(sheets[images]) if images in sheets else None for sheets in files]
        left -= sum(len(sheet) for sheet in row if sheet)
        if shown and left < 0:
            break
        shown[images] = [_embedded(sheet) for sheet in row]
    at = sorted(shown)
    rows = [
        {
            "setting": place,
            "path": str(run.path),
            "pictures": [shown[images][place] for images in at],
            "caption": run.summary.get("caption"),
        }
        for place, run in enumerate(chosen)
        if run is not None and any(shown[images][place] for images in at)
    ]
    return {"at": at, "rows": rows, "more": len(comparison.settings) - len(chosen)}


def _typical(setting: Setting) -> Run | None:
    mean = setting.mean
    scored = {run: reading.value for run, reading in setting.readings.items() if reading.value is not None}
    if mean is not None and scored:
        return min(scored, key=lambda run: abs(scored[run] - mean))
    return next(iter(setting.runs), None)


def _small(file: Path) -> bytes | str | None:
    """A picture small enough for a page, or the first lines of a text. None where it cannot be read."""
    try:
        if file.suffix == ".txt":
            return "\n".join(read_text(file, errors="replace")[: 200 * LINES].splitlines()[:LINES])
        small = open_picture(read_bytes(file))
    except (OSError, ValueError, SyntaxError):  # BadFile, and what Pillow raises for damaged pictures
        return None
    if small is None:
        return None
    small.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
    packed = io.BytesIO()
    small.save(packed, "WEBP", quality=60)
    return packed.getvalue()


def _embedded(sheet: bytes | str | None) -> str | dict[str, str] | None:
    if isinstance(sheet, str):
        return {"text": sheet}
    return None if sheet is None else "data:image/webp;base64," + base64.b64encode(sheet).decode()
