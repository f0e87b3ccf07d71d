"""The quick rows of the fault bench, in a process that has never trained: the bench forks its runs from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rows import ROWS

QUICK = [row for row in ROWS if row.quick]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    report = tmp_path_factory.mktemp("faults") / "report.json"
    command = [sys.executable, "-m", "tests.faults", "--quick", "--json", str(report)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert report.exists(), done.stderr
    return {entry["number"]: entry for entry in json.loads(report.read_text())}


@pytest.mark.slow
@pytest.mark.parametrize("row", QUICK, ids=lambda row: f"{row.number} {row.name}")
def test_a_broken_run_ends_as_if_nothing_had_been(row: Any, found: dict[str, dict[str, Any]]) -> None:
    outcome = found[row.number]
    assert outcome["failures"] == []
    assert outcome["times"] > 0
    assert outcome["equal"] in (True, None)
    assert (outcome["lost"] or 0) <= outcome["bound"]
