"""What README and SECURITY.md promise: a config and a preset from a stranger run no code, and nothing listens.

Each was attacked before; these attacks failed, and must go on failing. tests/hostile has those by run directories,
pictures, archives, caches, weights, the page and secrets.
"""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gan_lab.cli import main

ROOT = Path(__file__).parent.parent
TINY = [
    "experiment=ring", "trainer.images=128", "trainer.threads=1", "evaluation.metrics=[]",
    "tracking.wandb.mode=disabled",
]  # fmt: skip
Refused = Callable[..., str]


@pytest.fixture
def marker(workdir: Path) -> Iterator[Path]:
    """A file that only code of the stranger would make."""
    yield workdir / "marker"
    assert not (workdir / "marker").exists(), "code of the stranger ran"


@pytest.fixture
def refused(marker: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Train with these words, which must be refused in one line, with exit code 2, and write nothing."""

    def train(*words: str) -> str:
        before = sorted(Path().rglob("*"))
        assert main(["train", *words]) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1, error
        assert error.startswith("gan-lab: ")
        assert "unexpected" not in error
        assert not marker.exists(), "code of the stranger ran"
        assert sorted(Path().rglob("*")) == before
        return error

    return train


def preset(text: str, path: str = "experiment/evil.yaml") -> None:
    file = Path("mine", path)
    file.parent.mkdir(parents=True)
    file.write_text(text)


TAGS = ("!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system")


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_of_python_makes_no_object(tag: str, marker: Path, refused: Refused) -> None:
    preset(f'# @package _global_\nevil: {tag} ["touch {marker}"]\n')
    refused("--config-dir", "mine", *TINY[1:], "experiment=evil")


CALL = "os.system, command: 'touch {marker}'"
TARGETS = {
    "plain": "generator: {{_target_: " + CALL + "}}",
    "escaped": 'generator: {{"\\u005ftarget_": ' + CALL + "}}",
    "nested": "generator: {{name: mlp, width: {{_target_: " + CALL + "}}}}",
    "in a list": "evaluation: {{metrics: [{{_target_: " + CALL + "}}]}}",
    "at the top": "_target_: os.system\ncommand: 'touch {marker}'",
    "created": "generator: ${{oc.create:'{{_target_: os.system, command: \"touch {marker}\"}}'}}",
    "decoded": "generator: ${{oc.decode:'{{_target_: os.system, command: \"touch {marker}\"}}'}}",
    "partial": "loss: {{_target_: os.system, _partial_: true, _args_: ['touch {marker}']}}",
}


@pytest.mark.parametrize("where", TARGETS)
def test_no_target_of_a_preset_is_called(where: str, marker: Path, refused: Refused) -> None:
    preset(f"# @package _global_\n{TARGETS[where].format(marker=marker)}\n")
    refused("--config-dir", "mine", *TINY[1:], "experiment=evil")


WORDS = {
    "target": ["+generator._target_=os.system"],
    "callback": ["+hydra.callbacks.evil={_target_:os.system,command:'touch marker'}"],
    "callback of a known class": ["+hydra.callbacks.evil._target_=hydra.experimental.callbacks.LogJobReturnCallback"],
    "searchpath": ["hydra.searchpath=[file://mine]"],
    "config name": ["--config-name", "evil"],
    "config name, short": ["-cn", "evil"],
    "config name with its value": ["--config-name=evil"],
    "config path": ["--config-path", "mine"],
    "config path, short": ["-cp", "mine"],
    "hydra's folder": ["hydra.run.dir=elsewhere"],
    "working folder": ["hydra.job.chdir=true"],
    "pickle": ["--experimental-rerun", "evil.pickle"],
}


@pytest.mark.parametrize("what", WORDS)
def test_no_word_makes_hydra_load_what_is_not_ours(what: str, workdir: Path, refused: Refused) -> None:
    preset("hydra: {callbacks: {evil: {_target_: os.system, command: touch marker}}}\n", "evil.yaml")
    Path("evil.pickle").write_bytes(b"cposix\nsystem\n(X\x0c\0\0\0touch markertR.")
    refused(*TINY, "run_dir=other", *WORDS[what])


EVIL = "_target_: os.system\ncommand: touch marker\n"
SHADOWS = {
    "launcher": ("hydra/launcher/basic.yaml", EVIL, ["-m", "trainer.seed=1,2"]),
    "sweeper": ("hydra/sweeper/basic.yaml", EVIL, ["-m", "trainer.seed=1,2"]),
    "joblib": ("hydra/launcher/joblib.yaml", EVIL, ["-m", "trainer.seed=1,2", "hydra/launcher=joblib"]),
    "callbacks": ("hydra/callbacks/evil.yaml", f"evil:\n  {EVIL}".replace("\nc", "\n  c"), ["+hydra/callbacks=evil"]),
    "logging": ("hydra/job_logging/evil.yaml", "handlers: {x: {(): os.system}}", ["hydra/job_logging=evil"]),
    "config": ("config.yaml", f"defaults: [_self_]\n{EVIL}", []),
    "hydra's config": ("hydra/config.yaml", f"callbacks: {{evil: {{{EVIL.strip()}}}}}".replace("\n", ", "), []),
    "generator": ("generator/mlp.yaml", f"name: mlp\n{EVIL}", []),
    "schema": ("generator/schema_mlp.yaml", EVIL, []),
}


@pytest.mark.parametrize("what", SHADOWS)
def test_a_file_with_the_name_of_one_of_ours_stands_in_for_nothing(
    what: str, workdir: Path, marker: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is refused, or ours is taken."""
    path, text, words = SHADOWS[what]
    preset(text, path)
    code = main(["train", "--config-dir", "mine", *TINY, "sweep_name=s", "sweep_dir=sweeps", *words])
    error = capfd.readouterr().err
    assert code in (0, 2), error
    assert "Traceback" not in error
    if code == 2:
        assert error.count("\n") == 1, error


# -- servers -----------------------------------------------------------------------------------------------------------

LISTENS = "0A"  # in /proc/net/tcp


def addresses_of(mark: str) -> set[str]:
    """Where processes with this in their environment listen, in the kernel's own words."""
    inodes = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes():
                inodes |= {os.readlink(file) for file in (process / "fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS and f"socket:[{words[9]}]" in inodes:
                found.add(words[1].partition(":")[0])
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="it reads /proc")
def test_whatever_listens_while_a_run_is_tracked_listens_on_this_machine_alone(workdir: Path) -> None:
    """W&B's own process; nothing of ours listens."""
    loopback = {"0100007F", "0" * 24 + "01000000"}  # 127.0.0.1 and ::1
    mark = f"GAN_LAB_TEST={os.getpid()}-{time.time()}"
    name, _, value = mark.partition("=")
    environment = os.environ | {name: value, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    words = [TINY[0], "trainer.images=2048", *TINY[2:-1], "tracking.wandb.mode=offline", "run_dir=run"]
    seen: set[str] = set()
    job = subprocess.Popen([sys.executable, "-m", "gan_lab", "train", *words], env=environment, stdout=subprocess.PIPE)
    while job.poll() is None:
        seen |= addresses_of(mark)
        time.sleep(0.1)
    assert job.returncode == 0
    assert seen <= loopback


def test_nothing_of_ours_opens_a_port() -> None:
    """Ray's own dashboard is left out, too. Ports of loopback alone are opened, by two files: `run/launch.py`, where
    the processes of one run meet, and `playing/server.py`, which serves a page. `run/place.py` looks which port is free
    and does not listen.
    """
    names = {"bind", "listen", "HTTPServer", "ThreadingHTTPServer", "TCPServer", "create_server", "start_server"}
    launch, page = ROOT / "gan_lab/run/launch.py", ROOT / "gan_lab/playing/server.py"
    place = ROOT / "gan_lab/run/place.py"
    for file in {*(ROOT / "gan_lab").rglob("*.py")} - {launch, place}:
        for node in ast.walk(ast.parse(file.read_text())):
            called = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            assert called not in names, f"{file}:{node}"
    assert 'LOOPBACK = "127.0.0.1"' in place.read_text()
    assert place.read_text().count(".bind(") == 1
    assert not any(f"{name}(" in place.read_text() for name in names - {"bind"})
    assert "from gan_lab.run.place import LOOPBACK" in launch.read_text()
    assert launch.read_text().count(".bind(") == launch.read_text().count(".bind((LOOPBACK, 0))") == 1
    assert 'LOOPBACK = "127.0.0.1"' in page.read_text()
    assert page.read_text().count("super().__init__((LOOPBACK, port), Handler)") == 1
    assert '"include_dashboard": False' in (ROOT / "gan_lab/sweeping/ray_launcher.py").read_text()
