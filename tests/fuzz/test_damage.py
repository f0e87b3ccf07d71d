"""Random damage to run directories: every command goes on or refuses in one line, and changes nothing it should not."""

from __future__ import annotations

import pytest

from tests.fuzz.cases import AGAIN, FURTHER, KINDS, READING, Damaged
from tests.fuzz.damage import NOTHING, Damage
from tests.fuzz.lab import Lab
from tests.fuzz.search import check


@pytest.mark.slow
@pytest.mark.parametrize("subject", READING)
def test_without_damage_every_command_does_its_work(lab: Lab, subject: str) -> None:
    """Or the damage would hide behind another refusal. Only W&B is out of reach."""
    further = () if subject == "sweep" else (FURTHER,)
    for command in (*READING[subject], AGAIN, *further):
        found = Damaged(subject, Damage("", NOTHING), command).run(lab)
        assert not found.cause, found
        assert found.code == (2 if "dashboard" in command else 0), found


@pytest.mark.slow
def test_whatever_is_damaged_in_a_run_commands_go_on_or_refuse_in_one_line(lab: Lab, counts: dict[str, int]) -> None:
    check(KINDS["damage"](lab), lab, counts["damage"])
