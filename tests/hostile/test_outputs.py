"""What commands write lies where they were told to, and never in a run, through a link, or above a folder of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_lab.cli import main
from tests.hostile.conftest import TINY, Refused

PLACES = {
    "in the run": "run/a{}",
    "over a record of it": "run/summary.json",
    "in a folder of it": "run/checkpoints/a{}",
    "by the parent's name": "elsewhere/../run/samples/a{}",
    "by a link to it": "link/a{}",
    "by a link into it": "inner/a{}",
    "in a folder that is not there": "nowhere/a{}",
    "over a folder": "elsewhere",
}


@pytest.fixture
def places(run: Path) -> Path:
    Path("elsewhere").mkdir()
    Path("elsewhere/file").write_text("somebody's")
    Path("link").symlink_to("run")
    Path("inner").symlink_to("run/samples")
    (run / "samples").mkdir(exist_ok=True)
    return run


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("words", "suffix"),
    [
        ("sample run --out", ".npz"), ("compare run --json", ".json"), ("compare run --html", ".html"),
        ("evaluate run --json", ".json"),
    ],
)  # fmt: skip
def test_nothing_is_written_into_a_run_or_over_a_folder(
    words: str, suffix: str, where: str, places: Path, refused: Refused
) -> None:
    refused(*words.split(), PLACES[where].format(suffix))


def test_samples_go_into_no_folder_that_holds_anything(places: Path, refused: Refused) -> None:
    for out in ("elsewhere", "link", "run/samples/more", "inner"):
        refused("sample", "run", "--out", out)


def test_a_file_is_written_through_a_link_and_the_link_stays(places: Path) -> None:
    Path("target.json").write_text("{}")
    Path("a.json").symlink_to("target.json")
    assert main(["compare", "run", "--json", "a.json"]) == 0
    assert Path("a.json").is_symlink()
    assert len(Path("target.json").read_text()) > 10


def test_a_device_stays_a_device(places: Path) -> None:
    assert main(["compare", "run", "--json", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    "label", ["../../a", "/etc/passwd", "$(touch marker)", "0;touch marker", "\0", "-1", "9" * 400]
)
def test_the_name_of_a_class_is_no_path(label: str, places: Path, refused: Refused) -> None:
    refused("sample", "run", f"--label={label}", "--out", "a.npz")


@pytest.mark.parametrize("name", ["..", ".", "../up", "a/b", "/tmp/a", "a\0b", "up/.."])
def test_the_name_of_a_sweep_is_no_path(name: str, refused: Refused) -> None:
    refused("train", "-m", *TINY, "trainer.seed=1,2", f"sweep_name='{name}'")


@pytest.mark.slow
def test_a_link_to_another_folder_is_no_sweep_of_ours(workdir: Path) -> None:
    """Its files stay."""
    Path("elsewhere").mkdir()
    Path("elsewhere/file").write_text("somebody's")
    Path("sweeps").mkdir()
    Path("sweeps/mine").symlink_to("../elsewhere")
    main(["train", "-m", *TINY, "trainer.seed=1,2", "sweep_name=mine"])
    assert Path("elsewhere/file").read_text() == "somebody's"
