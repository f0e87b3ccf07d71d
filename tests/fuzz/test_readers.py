"""Random bytes for every reader of a file: it reads them or refuses, in little time and memory."""

from __future__ import annotations

import pytest

from tests.fuzz.cases import KINDS
from tests.fuzz.lab import Lab
from tests.fuzz.search import check


@pytest.mark.slow
def test_whatever_bytes_a_file_has_its_reader_reads_it_or_refuses_in_one_line(lab: Lab, counts: dict[str, int]) -> None:
    check(KINDS["reads"](lab), lab, counts["reads"])
