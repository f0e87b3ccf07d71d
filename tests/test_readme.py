"""The README's first screen, run word for word."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import hydra
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language, "" for those without one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.S | re.M)
    return [content for name, content in fenced if name == language]


@pytest.mark.slow
def test_the_demonstration_does_what_it_says(tmp_path: Path) -> None:
    source, command = blocks("python")[0], blocks("bash")[0]
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


@pytest.mark.slow
def test_every_command_of_the_readme_composes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `gan-lab train` line is accepted up to where it would train."""
    import shlex

    from gan_lab.cli import main

    tried: list[str] = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    monkeypatch.setattr("gan_lab.run.preflight.preflight", lambda config, path: None)
    monkeypatch.setattr(hydra, "main", lambda **_: lambda job: lambda: tried.append(" ".join(sys.argv[1:])))
    lines = [line.split("#")[0].strip() for block in blocks("bash")[3:] for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("gan-lab train")]
    assert len(commands) >= 6
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    assert len(tried) == len(commands)


def test_every_launcher_of_the_readme_composes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to where jobs would be sent: as if sbatch and ray were here."""
    import importlib.util
    import shlex
    import shutil

    from gan_lab.cli import main

    pytest.importorskip("joblib")
    find, which, sweep, tried = importlib.util.find_spec, shutil.which, "", []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name == "ray" or find(name, *more))
    monkeypatch.setattr(shutil, "which", lambda name, *more, **named: name == "sbatch" or which(name, *more, **named))
    monkeypatch.setattr(hydra, "main", lambda **_: lambda job: lambda: tried.append(" ".join(sys.argv[1:])))
    monkeypatch.chdir(tmp_path)
    for line in blocks("sh")[0].splitlines():
        if line.startswith("SWEEP="):
            sweep = shlex.split(line)[0].removeprefix("SWEEP=")
        elif line.startswith("gan-lab train"):
            words = shlex.split(line.replace("$SWEEP", sweep))[1:]
            if "cifar10" in sweep:  # whose files are not here
                words = [word.replace("dcgan_cifar10", "dcgan_mnist5k") for word in words]
            assert main(words) == 0, line
    assert [re.findall(r"hydra/launcher=(\w+)", words) for words in tried] == [["laptop"], ["slurm"], ["ray"]]


def test_there_are_exactly_two_set_up_commands() -> None:
    set_up = [block for block in blocks("bash") if "pip install" in block]
    assert len(set_up) == 2
    assert all(len(block.strip().splitlines()) == 1 for block in set_up)
    test_command = set_up[1].strip().replace("pip install", "pip install -q")
    assert test_command in (ROOT / ".ci/run").read_text()


@pytest.mark.slow
def test_contributing_adds_a_generator_in_one_file(workdir: Path) -> None:
    from gan_lab.cli import main

    source = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.S)[0]
    Path("linear.py").write_text(textwrap.dedent("   " + source.lstrip()))
    words = ["generator=linear", "generator.latent_dim=8", "dataset=toy_pictures", "trainer.images=64", "run_dir=run"]
    script = f"import tests.toy_data, sys; from gan_lab.cli import main; sys.exit(main({['train', *words]!r}))"
    environment = os.environ | {"GAN_LAB_PLUGINS": "linear", "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "generator linear (9,216 parameters)" in done.stdout  # 8 x 1024 weights and 1024 biases
    assert main(["sample", "run"]) == 2  # the plug-in is missing here
