"""Sweeps: isolated jobs, finished ones skipped, a table and an exit code from what is on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.losses import NonSaturating
from gan_lab.registry import losses
from tests.core.toys import equal

SWEEP = [
    "train", "-m", "experiment=ring", "trainer.images=512", "trainer.batch_size=64", "generator.width=8",
    "discriminator.width=8", "evaluation.samples=64", "tracking.samples_every=0", "tracking.wandb.mode=disabled",
]  # fmt: skip


class _Troubled(NonSaturating):
    """Does what a part under development does, while a file says so."""

    def trouble(self) -> None: ...

    def generator(self, forward: Any) -> Tensor:
        if not Path("mended").exists():
            self.trouble()
        return super().generator(forward)


if "raises" not in losses.classes:

    @losses.register("raises")
    class Raises(_Troubled):
        """Raises."""

        def trouble(self) -> None:
            raise RuntimeError("a part's own trouble")

    @losses.register("exits")
    class Exits(_Troubled):
        """Exits."""

        def trouble(self) -> None:
            raise SystemExit(7)

    @losses.register("explodes")
    class Explodes(NonSaturating):
        """A loss that is not finite."""

        def generator(self, forward: Any) -> Tensor:
            return super().generator(forward) * float("nan")


def summaries(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/summary.json")}


def game_of(folder: Path) -> Any:
    state = checkpoint.load_newest(folder / "checkpoints")
    assert state is not None
    return state["game"]


def test_trouble_in_one_job_neither_stops_nor_falsifies_another(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SWEEP, "loss=non_saturating,raises,exits,explodes,minimax", "sweep_dir=sweeps/trouble"]
    assert main(words) == 1
    said = capsys.readouterr()
    by_loss = {s["loss"]: s for s in _with_loss(workdir / "sweeps/trouble")}
    statuses = {loss: summary["status"] for loss, summary in by_loss.items()}
    assert statuses == {
        "non_saturating": "finished", "raises": "failed", "exits": "failed", "explodes": "diverged",
        "minimax": "finished",
    }  # fmt: skip
    assert by_loss["raises"]["error"] == "RuntimeError: a part's own trouble"
    assert by_loss["exits"]["error"] == "exited: 7"
    assert "no finite gradient in generator" in by_loss["explodes"]["error"]
    assert "2 of 5 jobs finished" in said.out
    for loss in ("raises", "exits", "explodes"):
        assert f"loss={loss}" in said.out.split("jobs finished")[1]
    # the job after all that trouble is the job that a run of its own would have been
    assert main([word for word in SWEEP if word != "-m"] + ["loss=minimax", "run_dir=alone"]) == 0
    folder = next(path for path, loss in _folders(workdir / "sweeps/trouble") if loss == "minimax")
    assert equal(game_of(folder), game_of(workdir / "alone"))

    # mended and repeated, the finished jobs are skipped and the others are done
    finished = {
        name for name, summary in summaries(workdir / "sweeps/trouble").items() if summary["status"] == "finished"
    }
    untouched = {name: (workdir / "sweeps/trouble" / name / "metrics.jsonl").stat().st_mtime_ns for name in finished}
    Path("mended").touch()
    assert main(words) == 1  # one still explodes
    said = capsys.readouterr()
    assert said.out.count("already finished") == 2
    assert "4 of 5 jobs finished" in said.out
    for name, written in untouched.items():
        assert (workdir / "sweeps/trouble" / name / "metrics.jsonl").stat().st_mtime_ns == written


def _folders(sweep: Path) -> list[tuple[Path, str]]:
    import yaml

    return [(p.parent, yaml.safe_load(p.read_text())["loss"]["name"]) for p in sweep.glob("*/config.yaml")]


def _with_loss(sweep: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / "summary.json").read_text()) | {"loss": loss} for folder, loss in _folders(sweep)]


def test_an_impossible_pair_is_one_failed_job_with_its_reason(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*(w for w in SWEEP if "width" not in w), "generator=mlp,dcgan"]) == 1
    said = capsys.readouterr()
    assert "1 of 2 jobs finished" in said.out
    assert "generator=dcgan needs image_size and image_channels" in said.out
    assert "Traceback" not in said.err


def test_the_default_folder_is_the_same_for_the_same_command(workdir: Path) -> None:
    for words in (["trainer.seed=1,2"], ["trainer.seed=1,2", "tracking.log_every=128"], ["trainer.seed=3,4"]):
        assert main([*SWEEP, *words]) == 0
    folders = sorted(path.name for path in Path("sweeps").iterdir())
    assert len(folders) == 2
    assert all(name.startswith("ring-") for name in folders)
    assert {len(summaries(Path("sweeps") / name)) for name in folders} == {2}


def test_the_table_shows_what_differs_and_only_this_commands_jobs(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SWEEP, "trainer.seed=1,2", "sweep_name=mine"]) == 0
    capsys.readouterr()
    assert main([*SWEEP, "trainer.seed=2", "loss=minimax,non_saturating", "sweep_name=mine"]) == 0
    table = capsys.readouterr().out.splitlines()
    header = next(line for line in table if "status" in line and "seconds" in line)
    assert header.split() == ["loss", "status", "seconds", "modes", "high_quality", "run"]
    rows = table[table.index(header) + 1 : table.index(header) + 3]
    assert [row.split()[:2] for row in rows] == [["minimax", "finished"], ["non_saturating", "finished"]]
    assert len(summaries(Path("sweeps/mine"))) == 4


def test_an_experiment_may_be_a_sweep(workdir: Path) -> None:
    presets = Path("presets/experiment")
    presets.mkdir(parents=True)
    (presets / "two.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /generator: mlp\n  - override /discriminator: mlp\n  - override /dataset: mixture\n"
        "trainer: {images: 128}\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      trainer.seed: 1,2\n"
    )
    words = ["train", "--config-dir", "presets", "experiment=two", "tracking.wandb.mode=disabled", "sweep_dir=out"]
    assert main(words) == 0
    assert len(summaries(Path("out"))) == 2


@pytest.mark.parametrize("words", [["tracking.log_every=1,2"], ["run_dir=a,b"], ["trainer.device=cpu,auto"]])
def test_a_sweep_over_what_changes_nothing_is_refused(
    words: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SWEEP, *words]) == 2
    assert "all values would train the same" in capsys.readouterr().err
    assert not os.listdir(workdir)
