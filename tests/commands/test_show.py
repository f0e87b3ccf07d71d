"""`gan-lab show` and `watch`: what people on a server see."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gan_lab.cli import main
from gan_lab.commands import show as showing
from gan_lab.commands import watch as watching
from gan_lab.display.blocks import sheet_in_blocks
from gan_lab.display.curves import curves
from gan_lab.display.pictures import GREY, grid, save_image

QUICK = ["trainer.threads=1", "evaluation.samples=64", "evaluation.selection_samples=64"]
RING = ["train", "experiment=ring", "trainer.images=512", "evaluation.every=256", *QUICK]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("show") / "run"
    assert main([*RING, "tracking.log_every=128", f"run_dir={path}"]) == 0
    return path


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("watch") / "jobs"
    assert main([*RING, "-m", "loss=hinge,minimax", "trainer.seed=1,2", f"sweep_dir={path}"]) == 0
    return path


def terminal(width: int, **options: object) -> Console:
    """A terminal of 24-bit colours that can be read."""
    return Console(
        file=io.StringIO(), force_terminal=True, color_system="truecolor", width=width, height=40, **options  # type: ignore[arg-type]
    )  # fmt: skip


def said(output: Console) -> str:
    return output.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


# -- curves and pictures -----------------------------------------------------------------------------------------------


def test_a_line_goes_from_corner_to_corner() -> None:
    drawn = curves({"rise": [(0, 0.0), (100, 8.0)]}, width=9 + 10, height=5).plain.splitlines()
    assert [line[:9].strip() for line in drawn[:5]] == ["8", "", "", "", "0"]
    dots = [[ord(character) - 0x2800 for character in line[9:]] for line in drawn[:5]]
    assert dots[4][0] & 0x40  # the lowest dot at the left
    assert dots[0][9] & 0x08  # the highest at the right
    for row in range(5):  # y = x, so two characters of each line
        assert {column for column, value in enumerate(dots[row]) if value} == {2 * (4 - row), 2 * (4 - row) + 1}
    assert drawn[5].split() == ["0", "100", "images"]
    assert drawn[6].strip() == "━ rise 8"


@pytest.mark.parametrize("points", [[], [(1, float("nan"))], [(1, 2.0)], [(1, 2.0), (5, 2.0)], [(3, -1e30), (3, 1e30)]])
def test_curves_of_little_are_drawn_in_their_width(points: list[tuple[float, float]]) -> None:
    for width in (20, 80, 140):
        drawn = curves({"a": points, "a much longer name of a loss": points}, width, 6).plain.splitlines()
        assert max(map(len, drawn)) <= max(width, 32)


def test_a_single_jump_does_not_flatten_the_rest() -> None:
    points = [(i, float(i % 2)) for i in range(300)]
    points[150] = (150, 1e9)
    assert curves({"a": points}, 60, 5).plain.splitlines()[0].split()[0] == "1"


def pixels_of(text: str) -> np.ndarray:
    """The colours of half blocks, uint8 [2 * lines, characters, 3]."""
    rows = []
    for line in text.splitlines():
        found = re.findall(r"38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m(▀+)", line)
        cells = [list(map(int, cell[:6])) for cell in found for _ in cell[6]]
        rows += [[cell[:3] for cell in cells], [cell[3:] for cell in cells]]
    return np.array(rows, dtype=np.uint8)


def test_half_blocks_have_the_pixels_of_the_picture(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)
    save_image(pixels, tmp_path / "a.png")
    drawn = sheet_in_blocks(tmp_path / "a.png", 40, 20)
    assert drawn is not None
    output = terminal(80)
    output.print(drawn, soft_wrap=True)
    assert (pixels_of(said(output)) == pixels).all()


def test_a_large_grid_is_cut_between_its_pictures(tmp_path: Path) -> None:
    images = np.full((64, 28, 28, 1), 200, dtype=np.uint8)
    save_image(grid(images), tmp_path / "a.png")
    drawn = sheet_in_blocks(tmp_path / "a.png", 80, 26)
    assert drawn is not None
    lines = drawn.plain.splitlines()
    assert len(lines) <= 26
    assert 40 < len(lines[0]) <= 80
    output = terminal(200)
    output.print(drawn, soft_wrap=True)
    found = pixels_of(said(output))
    assert (found[0] == GREY).mean() > 0.9  # it begins with a gap
    assert abs(int(found[10, -1, 0]) - GREY) < 120  # and ends with one


def test_what_is_no_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"none")
    assert sheet_in_blocks(tmp_path / "a.png", 80, 20) is None
    assert sheet_in_blocks(tmp_path / "b.png", 80, 20) is None


# -- show --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 140])
def test_a_run_fits_the_terminal(run: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    output = terminal(width)
    monkeypatch.setattr(showing, "terminal", lambda: output)
    showing.show(run)
    lines = without_colours(said(output)).splitlines()
    assert max(map(len, lines)) <= max(width, len(str(run)) + 90)
    text = "\n".join(lines)
    for words in (
        "finished  512 images",
        "losses",
        "━ discriminator",
        "modes, seen while training",
        "samples after 512",
    ):
        assert words in text
    assert text.count("▀") > 500
    beside = next(line for line in lines if "samples after" in line)
    assert ("losses" in beside) == (width == 140)


def test_without_a_terminal_there_is_no_colour(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "▀" not in text
    assert str(run / "samples" / "512.png") in text


def test_health_and_errors_are_shown(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run" / "summary.json"
    warning = {"title": "\x1b[2Jcollapse", "images": 128, "last": 512, "level": "critical", "advice": "more data"}
    file.write_text(json.dumps(json.loads(file.read_text()) | {
        "status": "diverged", "error": "no finite gradient", "health": [warning],
    }))  # fmt: skip
    (tmp_path / "run" / "samples" / "512.png").write_bytes(b"none")
    assert main(["show", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "diverged" in text
    assert "no finite gradient" in text
    assert "collapse, 128 to 512 images: more data" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "none"], "none is no run directory"),
        (["show"], "the following arguments are required"),
        (["watch", "none"], "none is no sweep"),
        (["watch", "RUN"], "is no sweep"),
    ],
)
def test_what_is_not_there_is_one_line(
    words: list[str], message: str, run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert len(text.splitlines()) == 1


# -- watch -------------------------------------------------------------------------------------------------------------


def test_without_a_terminal_it_is_one_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(sweep)]) == 0
    first, head, *rows, last = capsys.readouterr().out.splitlines()
    assert first.endswith("4 of 4 jobs done")
    assert head.split()[:3] == ["loss", "seed", "status"]
    assert [row.split()[:3] for row in rows] == [
        [loss, seed, "finished"] for loss in ("hinge", "minimax") for seed in ("1", "2")
    ]
    assert last == "4 finished"


def test_a_terminal_is_left_when_all_is_done(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = terminal(80)
    monkeypatch.setattr(watching, "wide_terminal", lambda: output)
    watching.watch(sweep, pause=0, patience=1000)
    assert "4 of 4 jobs done" in without_colours(said(output))


def test_jobs_that_have_not_begun_and_that_run_are_shown(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sweep, tmp_path / "jobs")
    first, second, *_ = sorted(path.parent for path in (tmp_path / "jobs").glob("*/summary.json"))
    shutil.rmtree(first)
    summary = json.loads((second / "summary.json").read_text())
    (second / "summary.json").write_text(json.dumps(summary | {"status": "running", "metrics": {}}))
    lines = (second / "metrics.jsonl").read_text().splitlines()
    half = [line for line in lines if json.loads(line)["images"] <= 256]
    (second / "metrics.jsonl").write_text("\n".join(half) + "\n")
    from filelock import FileLock

    output = terminal(100)
    monkeypatch.setattr(watching, "wide_terminal", lambda: output)
    with FileLock(second / ".lock"):
        shown = watching.table(watching.Reader(tmp_path / "jobs")(), tmp_path / "jobs", 100, 40)
    output.print(shown)
    text = without_colours(said(output))
    assert "2 of 4 jobs done" in text
    statuses = [line.split()[2] for line in text.splitlines()[2:6]]
    assert statuses == ["running", "finished", "finished", "not"]
    assert "1 running  2 finished  1 not started  about" in text.splitlines()[-1]


def test_many_jobs_are_cut_to_the_terminal(sweep: Path) -> None:
    jobs = watching.Reader(sweep)() * 30
    output = terminal(60)
    output.print(watching.table(jobs, Path("sweep"), 60, 24))
    lines = without_colours(said(output)).splitlines()
    assert len(lines) <= 24
    assert "and 102 more" in lines[-2]
    assert max(map(len, lines)) <= 60
