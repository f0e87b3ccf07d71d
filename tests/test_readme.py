"""The README, run word for word."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import pages

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return pages.blocks(ROOT / "README.md", language)


@pytest.mark.slow
def test_the_demonstration_does_what_it_says(tmp_path: Path) -> None:
    source, command = blocks("python")[0], next(block for block in blocks("bash") if "my_gan" in block)
    assert len(source.splitlines()) <= 16
    (tmp_path / "my_gan.py").write_text(source)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "WANDB_MODE": "offline",
        "COLUMNS": "110",
    }
    environment.pop("WANDB_API_KEY", None)
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    print(done.stdout[-2500:])
    assert done.returncode == 0, done.stderr
    assert "12 of 12 jobs finished" in done.stdout

    def rows(text: str) -> list[list[str]]:
        return [line.split()[:4] for line in text.splitlines() if re.match(r"\s*(mine|mlp) ", line)]

    shown = blocks("")[0]
    assert rows(done.stdout) == rows(shown), "the README's table has other jobs, or another order"
    header = next(line for line in shown.splitlines() if "status" in line)
    assert header.strip() in {line.strip() for line in done.stdout.splitlines()}
    runs = sorted((tmp_path / "sweeps").glob("*/*/wandb/offline-run-*"))
    assert len(runs) == 12
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(runs[0])]
    record = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout
    (sweep,) = (tmp_path / "sweeps").iterdir()
    assert sweep.name in record, "the sweep's name is the group in W&B"
    summaries = [json.loads(path.read_text()) for path in sweep.glob("*/summary.json")]
    assert all(summary["metrics"]["modes"]["value"] >= 1 for summary in summaries)


def test_there_are_exactly_two_set_up_commands() -> None:
    set_up = [block for block in blocks("bash") if "pip install" in block]
    assert len(set_up) == 2
    assert all(len(block.strip().splitlines()) == 1 for block in set_up)
    test_command = set_up[1].strip().replace("pip install", "pip install -q")
    assert test_command in (ROOT / ".ci/run").read_text()


def test_the_readme_is_one_screen_and_its_pictures_are_light() -> None:
    assert len(README.splitlines()) <= 120
    pictures = [ROOT / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)]
    assert len(pictures) == 2
    assert sum(path.stat().st_size for path in pictures) < 300_000
