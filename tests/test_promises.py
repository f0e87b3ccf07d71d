"""What README and SECURITY.md promise: a config, a run directory and a preset from a stranger run no code.

Each was attacked before; these attacks failed, and must go on failing. tests/hostile has those by pictures, archives,
caches, weights, the page and secrets.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_lab.cli import main

TINY = [
    "experiment=ring", "trainer.images=128", "trainer.threads=1", "evaluation.metrics=[]",
    "tracking.wandb.mode=disabled",
]  # fmt: skip
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", *TINY, "run_dir=run"]) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, workdir: Path) -> Path:
    """A run of the stranger's, in the current folder."""
    shutil.copytree(trained, workdir / "run")
    return Path("run")


@pytest.fixture
def marker(workdir: Path) -> Iterator[Path]:
    """A file that only code of the stranger would make."""
    yield workdir / "marker"
    assert not (workdir / "marker").exists(), "code of the stranger ran"


@pytest.fixture
def refused(marker: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused in one line, with exit code 2, and leave every file as it is."""

    def command(*words: str) -> str:
        before = files()
        capfd.readouterr()
        assert main(list(words)) == 2
        error = capfd.readouterr().err.strip()
        assert error.startswith("gan-lab: ")
        assert "Traceback" not in error
        assert "unexpected" not in error
        assert not marker.exists(), "code of the stranger ran"
        assert files() == before
        return error

    return command


def files() -> dict[str, tuple[int, int]]:
    """Size and time of all files below the current folder, but for locks."""
    found = {}
    for path in Path().rglob("*"):
        if path.is_file() and not path.name.endswith(".lock"):
            status = path.lstat()
            found[str(path)] = status.st_size, status.st_mtime_ns
    return found


# -- checkpoints -------------------------------------------------------------------------------------------------------


class Reduce:
    """What a pickle may hold: a function and its arguments."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.marker}'",)


def _text(marker: Path) -> bytes:
    return f"touch '{marker}'".encode()


GADGETS: dict[str, Callable[[Path], bytes]] = {
    "REDUCE": lambda marker: pickle.dumps(Reduce(marker), protocol=2),
    "GLOBAL": lambda marker: b"cposix\nsystem\n(X" + len(_text(marker)).to_bytes(4, "little") + _text(marker) + b"tR.",
    "STACK_GLOBAL": lambda marker: pickle.dumps(Reduce(marker), protocol=4),
    "INST": lambda marker: b"(X" + len(_text(marker)).to_bytes(4, "little") + _text(marker) + b"iposix\nsystem\n.",
    "nested": lambda marker: pickle.dumps({"game": {"images": 128}, "about": [{"a": (Reduce(marker),)}]}, protocol=2),
}


def _in_an_archive(content: bytes) -> bytes:
    """As torch saves it."""
    packed = io.BytesIO()
    torch.save({}, packed)
    out = io.BytesIO()
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


def sign(state: Path, **changes: Any) -> None:
    """Make the manifest right for the state beside it."""
    manifest = json.loads((state.parent / "manifest.json").read_text())
    content = state.read_bytes()
    manifest |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} | changes
    (state.parent / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("packed", [False, True], ids=["bare", "archive"])
@pytest.mark.parametrize("gadget", GADGETS)
def test_no_pickle_in_a_checkpoint_is_called(
    gadget: str, packed: bool, run: Path, marker: Path, refused: Refused
) -> None:
    content = GADGETS[gadget](marker)
    pickle.loads(content)
    assert marker.exists(), "it would work"
    marker.unlink()
    for state in run.glob("checkpoints/*/state.pt"):
        state.write_bytes(_in_an_archive(content) if packed else content)
        sign(state)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"status": "interrupted"}))
    for words in ("sample", "evaluate"):
        assert "damaged" in refused(words, "run")
    assert main(["train", *TINY, "run_dir=run"]) == 2, "it would have gone on from there"


def test_a_program_of_torchscript_is_no_checkpoint(run: Path, refused: Refused) -> None:
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    for state in run.glob("checkpoints/*/state.pt"):
        module.save(str(state))
        sign(state)
    refused("sample", "run")


def test_a_state_that_does_not_match_its_manifest_is_not_loaded(run: Path, refused: Refused) -> None:
    for state in run.glob("checkpoints/*/state.pt"):
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
    assert "damaged" in refused("sample", "run")


@pytest.mark.parametrize("schema", [99, -1, "2", None, [2]])
def test_a_checkpoint_of_an_unknown_schema_is_not_loaded(schema: object, run: Path, refused: Refused) -> None:
    for state in run.glob("checkpoints/*/state.pt"):
        sign(state, schema=schema)
    assert refused("sample", "run")


# -- configs -----------------------------------------------------------------------------------------------------------

TAGS = ("!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system")


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_of_python_makes_no_object(tag: str, run: Path, marker: Path, refused: Refused) -> None:
    line = f'evil: {tag} ["touch {marker}"]\n'
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + line)
    refused("sample", "run")
    refused("evaluate", "run")
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/evil.yaml").write_text(f"# @package _global_\n{line}")
    refused("train", "--config-dir", "mine", *TINY[1:], "experiment=evil", "run_dir=other")


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
def test_no_target_is_called(where: str, run: Path, marker: Path, refused: Refused) -> None:
    text = TARGETS[where].format(marker=marker)
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/evil.yaml").write_text(f"# @package _global_\n{text}\n")
    refused("train", "--config-dir", "mine", *TINY[1:], "experiment=evil", "run_dir=other")
    config = run / "config.yaml"
    lines = [line for line in text.splitlines() if not line.startswith("_target_")]
    names = {line.partition(":")[0] for line in lines}
    kept, keeps = [], True
    for line in config.read_text().splitlines():  # the section that is replaced goes
        keeps = line.partition(":")[0] not in names if not line.startswith((" ", "-")) else keeps
        kept += [line] if keeps else []
    config.write_text("\n".join([*kept, text, ""]))
    for words in (("sample", "run"), ("evaluate", "run")):
        if main(list(words)) == 0:  # a section that the command has no need of
            assert where in ("at the top", "partial", "in a list")
        assert not marker.exists()


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
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/evil.yaml").write_text("hydra: {callbacks: {evil: {_target_: os.system, command: touch marker}}}\n")
    Path("evil.pickle").write_bytes(b"cposix\nsystem\n(X\x0c\0\0\0touch markertR.")
    refused("train", *TINY, "run_dir=other", *WORDS[what])


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
    file = Path("mine", path)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    code = main(["train", "--config-dir", "mine", *TINY, "sweep_name=s", "sweep_dir=sweeps", *words])
    error = capfd.readouterr().err
    assert code in (0, 2), error
    assert "Traceback" not in error
    if code == 2:
        assert error.count("\n") == 1, error
