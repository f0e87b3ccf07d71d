"""What bash offers when Tab is pressed, by the script that the command itself prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gan_lab.cli import main

# As bash does on Tab: the line and the number of its last word are variables, and the answer is COMPREPLY.
ASK = """
eval "$(gan-lab --shell-completion install=bash)"
ask() {
    COMP_LINE="$1" COMP_POINT=${#1}
    COMP_WORDS=($1); [[ "$1" == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    hydra_bash_completion
    echo "${COMPREPLY[@]}"
}
ask "gan-lab train experiment=ri"
ask "gan-lab train -m generator=mlp generator.wi"
complete -p gan-lab
"""


def offered(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    return capsys.readouterr().out.split()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_choices_and_settings(tmp_path: Path) -> None:
    program = tmp_path / "gan-lab"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gan_lab "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ASK], env=environment, capture_output=True, text=True, cwd=tmp_path)
    experiment, width, rule = done.stdout.splitlines()
    assert experiment == "experiment=ring", done.stderr
    assert width == "generator.width="
    assert rule.endswith("hydra_bash_completion gan-lab")


def test_a_verb_is_completed_by_the_verbs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert offered("gan-lab tr", monkeypatch, capsys) == ["train"]
    assert {"train", "list", "sample", "compare"} <= {*offered("gan-lab ", monkeypatch, capsys)}


def test_list_is_completed_by_kinds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert offered("gan-lab list gen", monkeypatch, capsys) == ["generators"]


def test_of_other_verbs_the_shell_completes_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered("gan-lab sample runs/", monkeypatch, capsys) == []
