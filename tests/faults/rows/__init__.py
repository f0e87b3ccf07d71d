"""The rows of the fault matrix: each breaks runs in one way and says what was lost, how soon it was made good, and
whether the end is that of a run which nothing happened to. A module registers its rows when it is imported.
"""

import re

from tests.faults.outcome import ROWS, Outcome, Row
from tests.faults.rows import bench, beside, disk, game, pictures, several, stopped  # noqa: F401

ROWS.sort(key=lambda row: (not row.number[0].isdigit(), int(re.sub(r"\D", "", row.number) or 0), row.number))

__all__ = ["ROWS", "Outcome", "Row"]
