"""A config from a stranger runs no code, moves no folder and reads no secret: presets, overrides, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gan_lab.cli import main
from gan_lab.datasets.decoding import decode
from gan_lab.datasets.exact import Unreadable, read_array

ROOT = Path(__file__).parent.parent

TINY = ["experiment=ring", "trainer.images=128", "evaluation.metrics=[]", "tracking.wandb.mode=disabled"]
# Python's logging calls what stands under "()" with the other keys: no `_target_`, and Hydra lets it pass.
FACTORY = """\
version: 1
handlers:
  evil:
    (): subprocess.Popen
    args: [touch, marker]
root:
  handlers: [evil]
"""


def write(path: str, text: str) -> None:
    file = Path("mine", path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def refused(workdir: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused in one line, with exit code 2, and touch nothing."""

    def run(*words: str) -> str:
        assert main(["train", *words]) == 2
        assert not Path("marker").exists(), "code of the preset ran"
        assert not Path("runs").exists()
        error = capfd.readouterr().err
        assert error.count("\n") == 1, error
        assert "Traceback" not in error
        return error

    return run


PRESETS = {
    "a header with a space before it": ("experiment/evil.yaml", f" # @package hydra.job_logging\n{FACTORY}"),
    "a header below another line": ("experiment/evil.yaml", f"\n# @package _global_.hydra.job_logging\n{FACTORY}"),
    "a header of the global hydra": (
        "experiment/evil.yaml", "# @package _global_.hydra\njob_logging:\n" + "".join(
            f"  {line}\n" for line in FACTORY.splitlines()
        ),
    ),
    "the folders": ("experiment/evil.yaml", "# @package _global_.hydra.run\ndir: elsewhere\n"),
    "the environment of jobs": ("experiment/evil.yaml", "# @package _global_.hydra.job\nenv_set: {PATH: evil}\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", PRESETS)
@pytest.mark.parametrize("flags", [(), ("--cfg", "job"), ("--help",)], ids=["train", "cfg", "help"])
def test_a_preset_changes_nothing_of_hydras(what: str, flags: tuple[str, ...], refused: Callable[..., str]) -> None:
    path, text = PRESETS[what]
    write(path, text)
    assert "hydra" in refused(*flags, "--config-dir", "mine", *TINY[1:], "experiment=evil")


def test_a_defaults_list_may_not_put_a_payload_into_the_logging(refused: Callable[..., str]) -> None:
    write("payload/evil.yaml", FACTORY)
    write("experiment/evil.yaml", "# @package _global_\ndefaults:\n  - /payload@hydra.job_logging: evil\n")
    assert "hydra" in refused("--config-dir", "mine", *TINY[1:], "experiment=evil")


def test_a_preset_behind_a_link_is_judged_like_any_other(refused: Callable[..., str]) -> None:
    Path("far").mkdir()
    Path("far", "evil.yaml").write_text(f"# @package _global_.hydra.job_logging\n{FACTORY}")
    Path("mine").mkdir()
    Path("mine", "experiment").symlink_to(Path("far").absolute())
    assert "hydra" in refused("--config-dir", "mine", *TINY[1:], "experiment=evil")


def test_an_override_may_not_move_a_part_into_hydras_node(refused: Callable[..., str]) -> None:
    write("hydra/launcher/evil.yaml", FACTORY)
    error = refused("--config-dir", "mine", *TINY, "+hydra/launcher@hydra.job_logging=evil")
    assert "@" in error


@pytest.mark.parametrize("flag", ["-sc", "--shell-completion"])
def test_completion_takes_no_other_words(flag: str, refused: Callable[..., str]) -> None:
    """Hydra would unpickle this one."""
    Path("evil.pickle").write_bytes(b"cos\nsystem\n(S'touch marker'\ntR.")
    assert "install=SHELL" in refused(flag, "--experimental-rerun", "evil.pickle")


@pytest.mark.parametrize(
    "word",
    ["tracking.wandb.project='${oc.env:\"WANDB_API_KEY\"}'", "tracking.wandb.project=${oc.env:AWS_ACCESS_KEY_ID}"],
)
def test_a_config_reads_no_secret_of_the_environment(
    word: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, "canary-5f1c")
    assert "canary" not in refused(*TINY, word)


def test_a_preset_reads_no_secret_either_and_a_place_may_be_read(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "canary-5f1c")
    monkeypatch.setenv("SCRATCH", "fast")
    write("experiment/evil.yaml", "# @package _global_\ntracking:\n  wandb:\n    project: ${oc.env:DATABASE_URL}\n")
    assert "canary" not in refused("--config-dir", "mine", *TINY[1:], "experiment=evil")
    assert main(["train", *TINY, "run_dir=${oc.env:SCRATCH}/run", "trainer.threads=1"]) == 0
    assert Path("fast/run/summary.json").exists()


@pytest.mark.parametrize("name", ["../../elsewhere", "a/b", ".."])
def test_a_sweeps_name_leads_nowhere_else(name: str, refused: Callable[..., str]) -> None:
    assert "sweep_name" in refused("-m", *TINY, "trainer.seed=1,2", f"sweep_name={name}")


def test_a_file_of_the_current_folder_stands_in_for_no_module(workdir: Path) -> None:
    """Hydra looks for plug-ins, and others for modules that are not installed, wherever Python looks."""
    Path("hydra_plugins/evil").mkdir(parents=True)
    for path in ("hydra_plugins/evil/mod.py", "not_installed_anywhere.py"):
        Path(path).write_text("import pathlib\npathlib.Path('marker').touch()\n")
    Path("mine.py").write_text("import sys\nassert sys.path[-1] != ''\n")
    script = "import sys; sys.path = [p for p in sys.path if p]\n"
    script += "from gan_lab.cli import main\nmain(['list', 'losses'])\n"
    script += f"main(['train', *{TINY!r}, 'run_dir=run', 'trainer.threads=1'])\n"
    script += "import importlib.util as u; sys.exit(u.find_spec('not_installed_anywhere') is not None)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GAN_LAB_PLUGINS": "mine"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not Path("marker").exists()


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg"])
def test_a_postscript_file_is_no_picture_whatever_its_name(name: str, tmp_path: Path) -> None:
    """Pillow would start Ghostscript for it."""
    file = tmp_path / name
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n8 8 scale\nshowpage\n%%EOF\n")
    with Image.open(file) as image:
        assert image.format == "EPS"
    assert "identify image file" in str(decode(file, (8, 8), 3))
    with pytest.raises(Unreadable, match="identify image file"):
        read_array(file)
