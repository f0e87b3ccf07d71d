"""docs/tour.ipynb, executed in a kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOUR = ROOT / "docs" / "tour.ipynb"


@pytest.mark.slow
def test_the_tour_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the extra dev")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(TOUR, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [{kind for output in cell.outputs for kind in output.get("data", {})} for cell in cells]
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert "\x1b" not in printed  # neither colours nor moves of a cursor
    assert "finished: " in printed
    by_source = {cell.source.splitlines()[-1].split("(")[0]: kinds for cell, kinds in zip(cells, shown, strict=True)}
    assert "image/png" in by_source["run.show"]
    assert all("text/html" in by_source[name] for name in ("run", "scores", "sweep", "comparison", "comparison.table"))
    (progress, *_) = [output for output in cells[0].outputs if output.output_type == "display_data"]
    assert 'value="128000" max="128000"' in progress["data"]["text/html"]
    assert cells[-1].outputs[-1]["data"]["text/plain"] == "True"


def test_the_tour_shows_no_place_of_the_machine_it_was_made_on() -> None:
    text = TOUR.read_text()
    assert not any(word in text for word in ("/tmp/", "/home/", "/root/", "/work/", "site-packages"))
    assert TOUR.stat().st_size < 300_000
