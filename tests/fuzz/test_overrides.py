"""Random words for `gan-lab train`: it runs, or it refuses in one line; no code of a config runs, nothing hangs."""

from __future__ import annotations

import pytest

from tests.fuzz.cases import KINDS
from tests.fuzz.lab import Lab
from tests.fuzz.search import check


@pytest.mark.slow
def test_whatever_words_are_given_train_runs_or_refuses_in_one_line(lab: Lab, counts: dict[str, int]) -> None:
    check(KINDS["overrides"](lab), lab, counts["overrides"])
