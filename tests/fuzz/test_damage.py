"""Random damage to run directories: every command goes on or refuses in one line, and changes nothing it should not."""

from __future__ import annotations

import pytest

from tests.fuzz.cases import KINDS
from tests.fuzz.lab import Lab
from tests.fuzz.search import check


@pytest.mark.slow
def test_whatever_is_damaged_in_a_run_commands_go_on_or_refuse_in_one_line(lab: Lab, counts: dict[str, int]) -> None:
    check(KINDS["damage"](lab), lab, counts["damage"])
