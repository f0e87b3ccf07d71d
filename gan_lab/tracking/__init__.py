"""Where a run's story goes: its directory always, the console, and W&B."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Told everything that a run records. A service that fails must never fail the run."""

    def record(self, record: Mapping[str, Any]) -> None: ...

    def picture(self, path: Path, images: int, name: str = "samples") -> None: ...

    def warn(self, warning: Mapping[str, Any]) -> None: ...

    def finish(self, summary: Mapping[str, Any]) -> None: ...
