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
from gan_lab.config import presets
from gan_lab.datasets.decoding import decode
from gan_lab.datasets.exact import Unreadable, read_array
from gan_lab.tracking.server import decide_mode

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
        assert error.startswith("gan-lab: ")
        assert "unexpected" not in error
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


def test_a_preset_behind_a_link_is_refused(refused: Callable[..., str]) -> None:
    Path("far").mkdir()
    Path("far", "evil.yaml").write_text(f"# @package _global_.hydra.job_logging\n{FACTORY}")
    Path("mine").mkdir()
    Path("mine", "experiment").symlink_to(Path("far").absolute())
    assert "link" in refused("--config-dir", "mine", *TINY[1:], "experiment=evil")


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


def test_a_value_that_is_a_secret_is_not_written_down(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell puts it there: `tracking.wandb.project=$WANDB_API_KEY`."""
    monkeypatch.setenv("GITHUB_PAT_TOKEN", "canary-5f1c-0123456789")
    error = refused(*TINY, "tracking.wandb.project=canary-5f1c-0123456789")
    assert "canary" not in error
    assert "canary" not in refused(*TINY, "run_dir=/tmp/canary-5f1c-0123456789/x", "generator=none")
    assert "canary" not in refused("--cfg", "job", *TINY, "tracking.wandb.entity=canary-5f1c-0123456789")


@pytest.mark.parametrize("name", ["../../elsewhere", "a/b", ".."])
def test_a_sweeps_name_leads_nowhere_else(name: str, refused: Callable[..., str]) -> None:
    assert "sweep_name" in refused("-m", *TINY, "trainer.seed=1,2", f"sweep_name={name}")


@pytest.mark.slow
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


LAUNCHER = """\
# @package _global_
defaults:
  - override /hydra/launcher: slurm
hydra:
  launcher:
    {}
"""


@pytest.mark.parametrize("setting", ["setup: [touch marker]", "additional: {wrap: touch marker}"])
def test_a_preset_gives_a_launcher_no_shell_and_the_command_line_does(
    setting: str, refused: Callable[..., str]
) -> None:
    write("experiment/mine.yaml", LAUNCHER.format(setting))
    name = setting.partition(":")[0]
    words = ["-m", "--config-dir", "mine", *TINY[1:], "experiment=mine", "trainer.seed=1,2"]
    assert f"hydra.launcher.{name}=..." in refused(*words)
    # The next refusal comes later: this machine has no Slurm.
    assert "the presets set" not in refused(*words, f"hydra.launcher.{name}={'[true]' if name == 'setup' else '{a:1}'}")


def test_a_preset_may_name_a_clusters_queue(refused: Callable[..., str]) -> None:
    write("experiment/mine.yaml", LAUNCHER.format("partition: gpu\n    timeout_min: 10"))
    assert "the presets" not in refused("-m", "--config-dir", "mine", *TINY[1:], "experiment=mine", "trainer.seed=1,2")


def test_cmaes_reads_no_study_from_elsewhere(refused: Callable[..., str]) -> None:
    """Its sampler keeps a pickle in the study."""
    error = refused(
        "-m", *TINY[:2], TINY[3], "hydra/sweeper=optuna", "hydra.sweeper.sampler=cmaes",
        "hydra.sweeper.storage=sqlite:///evil.db", "optimizer.generator.learning_rate=interval(0.1,0.2)",
    )  # fmt: skip
    assert "sweep's own folder" in error


def test_evaluate_loads_no_weights_that_a_run_names(workdir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "run_dir=run", "trainer.threads=1"]
    assert main(["train", *words]) == 0
    config = Path("run/config.yaml")
    text = config.read_text().replace("feature_extractor:\n  name: auto\n", "")
    config.write_text(text + "feature_extractor: {name: clip, weights: evil.pt}\n")
    Path("evil.pt").write_bytes(b"anything")
    capfd.readouterr()
    assert main(["evaluate", "run"]) == 2
    assert "feature_extractor.weights=evil.pt" in capfd.readouterr().err


@pytest.mark.parametrize("setting", ["base_url = http://127.0.0.1:9", "https_proxy = http://127.0.0.1:9"])
def test_settings_of_wandb_in_the_current_folder_send_no_key_elsewhere(
    setting: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    Path("wandb").mkdir()
    Path("wandb/settings").write_text(f"[default]\n{setting}\n")
    assert decide_mode("auto")[0] == "offline"
    assert "wandb/settings" in refused(*TINY[:-1], "tracking.wandb.mode=online")
    Path("wandb/settings").write_text("[default]\nproject = mine\n")
    assert "settings" not in (decide_mode("auto")[1] or "")


# -- denial ------------------------------------------------------------------------------------------------------------

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
BOMBS = {
    "aliases of aliases": LAUGHS,
    "depth": "[" * 5_000,
    "a loop": "a: &a [*a]",
    "twice": "trainer: {seed: 1, seed: 2}",
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_preset_of_any_content_costs_no_memory_and_no_traceback(what: str, refused: Callable[..., str]) -> None:
    write("experiment/evil.yaml", f"# @package _global_\n{BOMBS[what]}\n")
    assert refused("--config-dir", "mine", *TINY[1:], "experiment=evil")


@pytest.mark.parametrize(
    "text", ["defaults: 5", "defaults: [{a: {b: c}}]", "defaults: [[experiment: evil]]", "hydra: null", "5", "[a]"]
)
def test_a_preset_whose_defaults_are_none_is_refused(text: str, refused: Callable[..., str]) -> None:
    write("experiment/evil.yaml", f"# @package _global_\n{text}\n")
    assert refused("--config-dir", "mine", *TINY[1:], "experiment=evil")


def test_presets_that_choose_each_other_are_no_recursion(refused: Callable[..., str]) -> None:
    write("experiment/evil.yaml", "# @package _global_\ndefaults: [evil]\n")
    assert "circle" in refused("--config-dir", "mine", *TINY[1:], "experiment=evil")


@pytest.mark.parametrize(
    "flags",
    [
        ("--cfg", "all", "--resolve"),
        ("--cfg", "job", "--package", "none"),
        ("-p", "--info"),
        ("--cfg", "job", "-p", "a["),
        ("--resolve",),
        ("--package", "trainer"),
        ("-r", "-m"),
        ("-m", "--cfg", "job"),
        ("--run", "-i"),
    ],
)
def test_flags_that_cannot_show_anything_are_refused_in_a_line(
    flags: tuple[str, ...], refused: Callable[..., str]
) -> None:
    assert refused(*TINY, *flags)


def test_a_folder_of_presets_is_no_disk(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "MOST_FILES", 5)
    for i in range(6):
        write(f"experiment/mine{i}.yaml", "{}")
    assert "more than 5 files" in refused("--config-dir", "mine", *TINY)


@pytest.mark.parametrize(
    "word",
    [
        "trainer.threads=1000000", "generator.latent_dim=10000000000", "trainer.batch_size=1000000000000",
        "evaluation.samples=1000000000000", "trainer.seed=99999999999999999999999999", "generator.depth=1000000000",
        "discriminator.width=100000000000",
    ],
)  # fmt: skip
def test_sizes_are_bounded_before_anything_is_allocated(word: str, refused: Callable[..., str]) -> None:
    assert refused(*TINY, word)


@pytest.mark.parametrize(
    "word",
    [
        "trainer.seed=range(1,1000000000)", "trainer.seed=shuffle(range(1,1000000000))", "trainer.seed=range(3,1)",
        "trainer.seed=range(0,1e308,1e-300)", "trainer.seed=glob(*)", "loss=glob(*)", "trainer.seed=choice()",
        "hydra.sweeper=null", "hydra.launcher=null", "~hydra/launcher", "hydra/sweeper=null", "trainer.seed=1,???",
        "hydra.sweeper.params={trainer.seed:'range(1,100000000)'}",
    ],
)  # fmt: skip
def test_a_sweep_is_counted_before_it_is_written_out(word: str, refused: Callable[..., str]) -> None:
    assert refused("-m", *TINY, word)


def test_three_ranges_are_counted_together(refused: Callable[..., str]) -> None:
    words = ("trainer.seed=range(1,1000)", "trainer.images=range(1,1000)", "trainer.batch_size=range(1,1000)")
    assert "10,000 jobs" in refused("-m", *TINY, *words)


# -- any value, anywhere -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    [
        "trainer.seed=???", "run_dir=???", "loss=???", "trainer=null", "optimizer=null", "optimizer/generator=null",
        "generator=null", "task=null", "regularizer=null", "schedule=null", "evaluation=null", "tracking.wandb=null",
        "trainer.seed=[1]", "trainer.seed={a:1}", "evaluation.metrics=[[a]]", "evaluation.metrics={a:1}", "init_from=1",
        "init_from=[a]", "run_dir=[a]", "run_dir='a\0b'", "resume=null", "resume=[auto]", "hydra.verbose=5",
        "hydra.verbose=[a,[b]]", "hydra.verbose={a:1}", "hydra.mode=FOO", "trainer.device=meta", "trainer.ema=nan",
        "optimizer.generator.learning_rate=inf", "trainer.seed=${trainer.seed}", "trainer.seed=${foo}",
        "trainer.seed=${foo:1}", "run_dir=${hydra:runtime.cwd}", "experiment=[ring]", "=3", "~loss", "+x=3",
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_in_a_line(word: str, refused: Callable[..., str]) -> None:
    assert "unexpected" not in refused(*TINY, word)


def test_what_nobody_foresaw_is_one_line_and_a_variable_shows_where(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(argv: object) -> int:
        raise RuntimeError("a\nlong\x1b story")

    monkeypatch.setattr("gan_lab.commands.train.train", fails)
    assert main(["train"]) == 2
    assert (
        capfd.readouterr().err == "gan-lab: unexpected RuntimeError: a long\\x1b story; GAN_LAB_DEBUG=1 shows where\n"
    )
    monkeypatch.setenv("GAN_LAB_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["train"])
