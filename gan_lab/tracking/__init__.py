"""Where a run's records are written: always its directory, and also the console and W&B."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Receives everything that a run records. A failure of the service must never fail the run."""

    def record(self, record: Mapping[str, Any]) -> None: ...

    def picture(self, path: Path, images: int, name: str = "samples") -> None: ...

    def warn(self, warning: Mapping[str, Any]) -> None: ...

    def finish(self, summary: Mapping[str, Any]) -> None: ...
