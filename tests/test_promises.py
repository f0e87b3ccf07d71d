"""What README and SECURITY.md promise: a config and a preset from a stranger run no code, and nothing listens.

Each was attacked before; these attacks failed, and must go on failing. tests/hostile has those by run directories,
pictures, archives, caches, weights, the page and secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gan_lab.cli import main

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
