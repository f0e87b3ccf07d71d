"""docs/python.md, run block by block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "python.md"


@pytest.mark.slow
def test_every_block_of_the_page_runs(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert tuple(names["points"].shape) == (64, 2)  # type: ignore[attr-defined]
    assert Path("points.png").exists()
    assert Path("page.html").exists()
    assert "Did you mean hinge?" in capsys.readouterr().out
