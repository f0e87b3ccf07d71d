"""A run directory from a stranger, or a damaged one: one line with the file and the remedy, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_lab.cli import main
from gan_lab.core.files import BadFile, read_bytes, write_atomically
from gan_lab.tracking.run_directory import RunDirectory

WORDS = [
    "experiment=ring", "trainer.images=128", "trainer.threads=1", "evaluation.metrics=[]",
    "tracking.wandb.mode=disabled", "trainer.ema=0.9", "schedule/learning_rate=constant", "run_dir=run",
]  # fmt: skip
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here, folder = Path.cwd(), tmp_path_factory.mktemp("made")
    os.chdir(folder)
    try:
        assert main(["train", *WORDS]) == 0
    finally:
        os.chdir(here)
    return folder / "run"


@pytest.fixture
def run(made: Path, workdir: Path) -> Path:
    shutil.copytree(made, "run")
    return Path("run")


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused in one line, with exit code 2."""

    def command(*words: str) -> str:
        capfd.readouterr()
        assert main(list(words)) == 2
        error = capfd.readouterr().err.strip()
        assert error.startswith("gan-lab: ")
        assert "Traceback" not in error
        assert "unexpected" not in error
        return error

    return command


def state_file(run: Path) -> Path:
    return max(run.glob("checkpoints/*/state.pt"))


def change_state(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the newest state, with a manifest that is right."""
    path = state_file(run)
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    sign(path)


def sign(path: Path) -> None:
    manifest = json.loads((path.parent / "manifest.json").read_text())
    content = path.read_bytes()
    manifest |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


def nets(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    parts: dict[str, torch.Tensor] = state["game"]["parts"]["task/nets"]
    return parts


def first(state: dict[str, Any]) -> str:
    return next(name for name, value in nets(state).items() if value.dim() == 2)


# -- a right manifest does not make content right ----------------------------------------------------------------------

CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another shape": (lambda s: nets(s).update({first(s): torch.zeros(3, 3)}), "another network"),
    "another dtype": (lambda s: nets(s).update({first(s): nets(s)[first(s)].half()}), "another network"),
    "not a number": (lambda s: nets(s)[first(s)].fill_(float("nan")), "not finite"),
    "text for a tensor": (lambda s: nets(s).update({first(s): "evil"}), "no plain tensor"),
    "a sparse tensor": (lambda s: nets(s).update({first(s): nets(s)[first(s)].to_sparse()}), "no plain tensor"),
    "a weight too few": (lambda s: nets(s).pop(first(s)), "lacks"),
    "a weight too many": (lambda s: nets(s).update({"more": torch.zeros(1)}), "in addition"),
    "no networks": (lambda s: s["game"]["parts"].pop("task/nets"), "task/nets"),
    "no game": (lambda s: s.pop("game"), "game"),
    "negative images": (lambda s: s["game"].update(images=-1), "no count"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_state_of_something_else_is_refused_before_it_is_loaded(
    what: str, run: Path, refused: Callable[..., str]
) -> None:
    change, why = CHANGES[what]
    change_state(run, change)
    assert why in refused("sample", "run")
    assert not Path("samples.png").exists()
    assert why in refused("train", *WORDS[:1], "trainer.images=256", *WORDS[2:])


OPTIMIZERS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a moment that is text": (lambda state: state.update(exp_avg="evil"), "exp_avg is no plain tensor"),
    "a list in a list": (lambda state: state.update(exp_avg=[[[]]]), "exp_avg is no plain tensor"),
    "a moment of another shape": (lambda state: state.update(exp_avg=torch.zeros(7)), "another network"),
    "a step that is text": (lambda state: state.update(step="evil"), "step is no number"),
    "two steps": (lambda state: state.update(step=torch.ones(2)), "step is no count"),
    "a moment left out": (lambda state: state.pop("exp_avg"), "lacks a part"),
}


@pytest.mark.parametrize("what", OPTIMIZERS)
def test_a_resume_takes_no_optimizer_of_something_else(what: str, run: Path, refused: Callable[..., str]) -> None:
    change, why = OPTIMIZERS[what]
    change_state(run, lambda state: change(state["game"]["optimizers"]["generator"]["state"][0]))
    assert why in refused("train", *WORDS[:1], "trainer.images=256", *WORDS[2:])


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("log", "values", {"x": {}}),
        ("log", "tally", 5),
        ("health", "norms", {"x": "evil"}),
        ("health", "warned", {"x": {}}),
    ],
)  # fmt: skip
def test_a_resume_takes_no_memory_of_something_else(
    part: str, name: str, value: object, run: Path, refused: Callable[..., str]
) -> None:
    def change(state: dict[str, Any]) -> None:
        assert state[part]
        state[part][name] = value

    change_state(run, change)
    assert "something else than it should" in refused("train", *WORDS[:1], "trainer.images=256", *WORDS[2:])
    assert json.loads((run / "summary.json").read_text())["status"] == "finished", "nothing is written"


PLACES = ["metrics.jsonl", "config.yaml", "summary.json", ".hydra/config.yaml", ".hydra/overrides.yaml"]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link to itself"])
def test_what_stands_in_the_place_of_a_file_is_refused_before_anything_is_written(
    kind: str, name: str, run: Path, refused: Callable[..., str]
) -> None:
    (run / name).unlink()
    if kind == "a pipe":
        os.mkfifo(run / name)
    elif kind == "a folder":
        (run / name).mkdir()
    else:
        (run / name).symlink_to(Path(name).name)
    assert Path(name).name in refused("train", *WORDS[:1], "trainer.images=256", *WORDS[2:])


def test_a_pipe_in_the_place_of_a_sweeps_file_is_refused(workdir: Path, refused: Callable[..., str]) -> None:
    Path("sweep").mkdir()
    os.mkfifo("sweep/multirun.yaml")
    words = [word for word in WORDS if not word.startswith("run_dir")]
    assert "is a pipe, and no file" in refused("train", "-m", *words, "trainer.seed=1,2", "sweep_dir=sweep")


@pytest.mark.parametrize("what", ["average", "step"])
def test_a_resume_takes_no_numbers_that_are_not_finite(what: str, run: Path, refused: Callable[..., str]) -> None:
    def change(state: dict[str, Any]) -> None:
        game = state["game"]
        if what == "average":
            next(iter(game["parts"]["hook/EMA"].values())).fill_(float("nan"))
        else:
            game["optimizers"]["generator"]["state"][0]["step"].fill_(float("nan"))

    change_state(run, change)
    assert "the checkpoint's" in refused("train", *WORDS[:1], "trainer.images=256", *WORDS[2:])


def test_an_optimizer_of_other_parameters_is_refused(run: Path, refused: Callable[..., str]) -> None:
    def change(state: dict[str, Any]) -> None:
        saved = state["game"]["optimizers"]["generator"]["state"]
        saved[0]["exp_avg"] = torch.zeros(2, 2)

    change_state(run, change)
    assert "exp_avg" in refused("train", *WORDS[:1], "trainer.images=256", *WORDS[2:])


def test_a_compressed_state_could_be_of_any_size(run: Path, refused: Callable[..., str]) -> None:
    path = state_file(run)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile("packed", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    shutil.move("packed", path)
    sign(path)
    assert "compressed" in refused("sample", "run")


# -- files of a run ----------------------------------------------------------------------------------------------------

SUMMARIES = {
    "images is null": ({"images": None}, "images"),
    "images is a list": ({"images": [1]}, "images"),
    "images is not whole": ({"images": 1.5}, "images"),
    "scores are a list": ({"metrics": [1]}, "metrics"),
    "a score is a number": ({"metrics": {"fd": 3}}, "metrics"),
    "best has no images": ({"best": {"metric": "fd", "value": 1}}, "best"),
    "health is text": ({"health": "fine"}, "health"),
    "a number beyond all": ({"seconds": 1e308}, "not finite, or too large"),
    "a long number": ({"images": 10**400}, "not finite, or too large"),
}


@pytest.mark.parametrize("what", SUMMARIES)
def test_a_summary_that_no_run_wrote_is_named_with_its_field_and_the_remedy(
    what: str, run: Path, refused: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    change, field = SUMMARIES[what]
    content = json.loads((run / "summary.json").read_text()) | change
    (run / "summary.json").write_text(json.dumps(content))
    error = refused("train", *WORDS)
    assert field in error
    assert "move it away" in error
    assert main(["compare", "run"]) == 0  # a comparison of many runs goes on, and says so
    assert "damaged" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["summary.json", "config.yaml", "metrics.jsonl"])
def test_a_pipe_in_place_of_a_file_makes_nobody_wait(name: str, run: Path) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    for command in (["compare", "run"], ["sample", "run"], ["train", *WORDS]):
        assert main(command) in (0, 2)


def test_a_link_out_of_the_folder_is_not_followed(run: Path, refused: Callable[..., str]) -> None:
    Path("elsewhere.json").write_text((run / "summary.json").read_text())
    (run / "summary.json").unlink()
    (run / "summary.json").symlink_to(Path("elsewhere.json").absolute())
    assert "link" in refused("train", *WORDS)


@pytest.mark.parametrize("text", [LAUGHS, "[" * 10_000, "5", "trainer: 5", "trainer: {images: .nan}"])
def test_a_config_that_is_none_is_named(text: str, run: Path, refused: Callable[..., str]) -> None:
    (run / "config.yaml").write_text(text)
    assert "config.yaml" in refused("sample", "run")


def test_deep_json_is_skipped_in_records_and_refused_in_a_summary(run: Path, refused: Callable[..., str]) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write("[" * 100_000 + "]" * 100_000 + "\n" + '{"images": [1]}\n{"images": 1e999}\n')
    assert [record["images"] for record in RunDirectory(run).read_metrics()] == [128]
    (run / "summary.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert "too deeply" in refused("train", *WORDS)


def test_a_summary_that_a_crash_cut_off_counts_as_none(run: Path) -> None:
    text = (run / "summary.json").read_text()
    (run / "summary.json").write_text(text[: len(text) // 2])
    assert RunDirectory(run).summary == {}
    assert main(["train", *WORDS]) == 0


# -- nothing is lost ---------------------------------------------------------------------------------------------------


def test_checkpoints_that_lead_to_another_folder_are_left_alone(run: Path, refused: Callable[..., str]) -> None:
    for number in range(4):
        Path("mine", f"{number:012d}").mkdir(parents=True)
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").symlink_to(Path("mine").absolute())
    error = refused("train", *WORDS[:1], "trainer.images=256", *WORDS[2:])
    assert "link" in error
    assert len(list(Path("mine").iterdir())) == 4


@pytest.mark.parametrize("name", [".hydra", ".hydra/overrides.yaml", ".lock", "metrics.jsonl"])
def test_a_run_writes_through_no_link_in_its_folder(name: str, run: Path, refused: Callable[..., str]) -> None:
    """Hydra writes its own files before any code of a run."""
    shutil.rmtree(run / ".hydra", ignore_errors=True)
    link = run / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    precious = Path("precious")
    if name == ".hydra":
        precious.mkdir()
        (precious / "config.yaml").write_text("old")
    else:
        precious.write_text("old")
    link.symlink_to(precious.absolute())
    assert "link" in refused("train", *WORDS[:1], "trainer.images=256", *WORDS[2:])
    assert (precious / "config.yaml" if name == ".hydra" else precious).read_text() == "old"


def test_only_folders_that_a_run_named_are_checkpoints(run: Path) -> None:
    for name in ("000000000064.bak", "7", "0000000000000009"):
        (run / "checkpoints" / name).mkdir()
    words = ["train", *WORDS[:1], "trainer.images=256", *WORDS[2:], "trainer.checkpoint_every=64"]
    assert main([*words, "trainer.keep_checkpoints=1"]) in (0, 2)
    assert {"000000000064.bak", "7", "0000000000000009"} <= {path.name for path in (run / "checkpoints").iterdir()}


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_no_command_writes_into_a_run_at_any_depth(option: str, run: Path, refused: Callable[..., str]) -> None:
    manifest = state_file(run).with_name("manifest.json")
    before = manifest.read_bytes()
    assert "stays as it is" in refused("compare", "run", option, str(manifest))
    assert "stays as it is" in refused("sample", "run", "--out", str(manifest.with_suffix(".png")))
    assert manifest.read_bytes() == before


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert not (tmp_path / "pipe").is_file()


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_planted_link_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("old")
    (tmp_path / f".file-{os.getpid()}").symlink_to("precious")
    write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "precious").read_text() == "old"


def test_a_file_larger_than_allowed_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadFile, match="at most"):
        read_bytes(tmp_path / "large")


# -- what is printed ---------------------------------------------------------------------------------------------------


def test_nothing_that_is_printed_controls_the_terminal(
    run: Path, refused: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b2J"
    content = json.loads((run / "summary.json").read_text()) | {"status": "failed", "error": evil}
    (run / "summary.json").write_text(json.dumps(content))
    shutil.copytree(run, f"sweep/a{evil.replace('/', '')}")
    capfd.readouterr()
    assert main(["compare", "sweep", "run"]) == 0
    printed = capfd.readouterr()
    assert not set("\x1b\x07\x9b") & set(printed.out + printed.err)
    assert not set("\x1b\x07\x9b") & set(refused("sample", f"none{evil}"))
