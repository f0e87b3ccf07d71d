"""The suite's tests that are marked `cuda`, as `pytest -m cuda` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.rows import Row, Setting

TESTS = Path(__file__).parents[1]
MARK = "@pytest.mark.cuda\n"


def files() -> list[Path]:
    """Files with such tests: the others take long to be imported."""
    return sorted(path for path in TESTS.rglob("test_*.py") if MARK in path.read_text())


class Reports:
    """A plug-in of pytest that turns its reports into rows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self._add(report.nodeid.rpartition("::")[2], report)

    def pytest_collectreport(self, report: Any) -> None:
        if not report.passed:
            self._add(report.nodeid, report)

    def _add(self, what: str, report: Any) -> None:
        if report.skipped:
            self.rows.append(Row(what, note=report.longrepr[2].removeprefix("Skipped: "), state="skipped"))
        elif report.failed:
            lines = str(report.longrepr).strip().splitlines()
            why = next((line[2:].strip() for line in lines if line.startswith("E ")), lines[-1])
            self.rows.append(Row(what, note=why[:300], state="FAILED"))
        else:
            self.rows.append(Row(what, {"s": report.duration}))


def measure(setting: Setting) -> Iterator[Row]:
    """A file at a time, so that what was found is known when time is up."""
    for path in files():
        reports = Reports()
        code = pytest.main(["-q", "-p", "no:cacheprovider", "-m", "cuda", str(path)], plugins=[reports])
        yield from reports.rows
        if not reports.rows:
            yield Row(path.name, note=f"pytest found no test and ended with {int(code)}", state="FAILED")
