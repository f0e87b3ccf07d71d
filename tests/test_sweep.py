"""Sweeps: isolated jobs, finished ones skipped, a table and an exit code from what is on disk."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor

from gan_lab.cli import main
from gan_lab.config import identity, presets
from gan_lab.core import checkpoint
from gan_lab.display.terminal import OutputLabel, labelled_output
from gan_lab.losses import NonSaturating
from gan_lab.registry import losses
from gan_lab.sweeping import plan, table
from gan_lab.sweeping.job import score
from gan_lab.tracking.console import Console
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


@pytest.mark.slow
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
    assert [entry["to"] for entry in by_loss["explodes"]["rollbacks"]] == [0, 0]
    assert math.isnan(score(by_loss["explodes"]))
    assert score(by_loss["minimax"]) is None  # it was not scored
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
    return [(p.parent, yaml.safe_load(p.read_text())["loss"]["name"]) for p in sweep.glob("*/config.yaml")]


def _with_loss(sweep: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / "summary.json").read_text()) | {"loss": loss} for folder, loss in _folders(sweep)]


@pytest.mark.slow
def test_an_impossible_pair_is_one_failed_job_with_its_reason(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*(w for w in SWEEP if "width" not in w), "generator=mlp,dcgan"]) == 1
    said = capsys.readouterr()
    assert "1 of 2 jobs finished" in said.out
    assert "generator=dcgan needs image_size and image_channels" in said.out
    assert "Traceback" not in said.err


@pytest.mark.slow
def test_the_default_folder_is_the_same_for_the_same_command(workdir: Path) -> None:
    for words in (["trainer.seed=1,2"], ["trainer.seed=1,2", "tracking.log_every=128"], ["trainer.seed=3,4"]):
        assert main([*SWEEP, *words]) == 0
    folders = sorted(path.name for path in Path("sweeps").iterdir())
    assert len(folders) == 2
    assert all(name.startswith("ring-") for name in folders)
    assert {len(summaries(Path("sweeps") / name)) for name in folders} == {2}


@pytest.mark.slow
def test_the_table_shows_what_differs_and_only_this_commands_jobs(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SWEEP, "trainer.seed=1,2", "sweep_name=mine"]) == 0
    capsys.readouterr()
    assert main([*SWEEP, "trainer.seed=2", "loss=minimax,non_saturating", "sweep_name=mine"]) == 0
    table = capsys.readouterr().out.splitlines()
    header = next(line for line in table if "status" in line and "seconds" in line)
    assert header.split() == ["loss", "status", "seconds", "modes", "high_quality", "kl", "run"]
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


def test_a_job_that_asks_for_threads_does_not_leave_them_to_the_next(workdir: Path) -> None:
    own = torch.get_num_threads()
    assert main([*SWEEP, f"trainer.threads={own + 1},null", "sweep_dir=out"]) == 0
    threads = {folder: checkpoint.load_newest(folder / "checkpoints")["about"]["threads"] for folder in _jobs("out")}
    said = {
        folder: yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["threads"] for folder in _jobs("out")
    }
    assert {said[folder]: threads[folder] for folder in threads} == {own + 1: own + 1, None: own}
    torch.set_num_threads(own)


def _jobs(sweep: str) -> list[Path]:
    return sorted(path.parent for path in Path(sweep).glob("*/summary.json"))


def test_a_job_that_is_interrupted_while_it_is_built_ends_the_sweep(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gan_lab.run.preflight.assemble", interrupted)
    assert main([*SWEEP, "trainer.seed=1,2", "sweep_dir=out"]) == 130
    said = capsys.readouterr()
    assert "not started: 2" in said.out
    assert (
        said.err == "gan-lab: interrupted; the same command goes on: finished jobs are skipped, the others continue\n"
    )


@pytest.mark.parametrize("words", [["tracking.log_every=1,2"], ["run_dir=a,b"], ["trainer.device=cpu,auto"]])
def test_a_sweep_over_what_changes_nothing_is_refused(
    words: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SWEEP, *words]) == 2
    assert "all values would train the same" in capsys.readouterr().err
    assert not os.listdir(workdir)


# -- searches ----------------------------------------------------------------------------------------------------------

SEARCHES = sorted(path.stem for path in (presets.CONF / "search").glob("*.yaml"))
TINY = [word for word in SWEEP if word not in ("train", "-m", "experiment=ring")]


@pytest.fixture
def searches(workdir: Path) -> Path:
    """A user's own folder of searches."""
    folder = workdir / "mine" / "search"
    folder.mkdir(parents=True)
    return folder


def search(params: str) -> str:
    return f"# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      {params}\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_a_shipped_search_is_data_of_which_every_value_is_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = presets.CONF / "search" / f"{name}.yaml"
    presets.check_data(path)
    presets.check_search(path)
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"]
    missing = set(params.get("loss", "minimax").split(",")) - set(presets.options("loss"))
    if missing:
        pytest.skip(f"these losses are not here yet: {', '.join(sorted(missing))}")
    started: list[int] = []
    monkeypatch.setattr(
        "gan_lab.sweeping.supervise.supervise", lambda start, jobs, *_: started.append(len(jobs or "")) or 0
    )
    monkeypatch.chdir(tmp_path)  # a search that asks Optuna keeps its study there
    for experiment in ("grid", "dcgan_mnist5k"):
        assert main(["train", f"experiment={experiment}", f"search={name}", "tracking.wandb.mode=disabled"]) == 0
    if "optuna" in path.read_text():  # it makes the jobs up
        assert started == [0, 0]
        assert len(list(tmp_path.glob("sweeps/*/study.log"))) == 2
        return
    jobs = 1
    for values in params.values():
        jobs *= values.count(",") + 1
    assert set(started) == {jobs}


@pytest.mark.slow
def test_a_search_sweeps_without_a_flag_and_the_command_line_wins(
    searches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (searches / "both.yaml").write_text(search('"loss": minimax,non_saturating\n      trainer.seed: 1,2,3'))
    words = ["train", "--config-dir", "mine", "experiment=ring", *TINY, "search=both"]
    assert main([*words, "trainer.seed=7"]) == 0
    (sweep,) = Path("sweeps").iterdir()
    assert sweep.name.startswith("both-ring-"), "the sweep's name says search and experiment"
    jobs = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in _jobs(str(sweep))]
    assert sorted((job["loss"]["name"], job["trainer"]["seed"]) for job in jobs) == [
        ("minimax", 7), ("non_saturating", 7)
    ]  # fmt: skip

    # typed out, the jobs are the same ones, and done
    capsys.readouterr()
    typed = ["train", "-m", "experiment=ring", *TINY, "loss=non_saturating,minimax", "trainer.seed=7"]
    assert main([*typed, f"sweep_dir={sweep}"]) == 0
    assert capsys.readouterr().out.count("already finished") == 2
    assert len(_jobs(str(sweep))) == 2


def test_a_search_changes_neither_a_jobs_folder_nor_its_hash(searches: Path) -> None:
    (searches / "one.yaml").write_text(search("trainer.seed: 1,2"))
    assert identity.job_name(["experiment=ring", "search=one"]) == identity.job_name(["experiment=ring"])
    assert main(["train", "--config-dir", "mine", "experiment=ring", *TINY, "search=one", "sweep_dir=out"]) == 0
    assert main(["train", "experiment=ring", *TINY, "trainer.seed=1", "run_dir=alone"]) == 0
    hashes = {summary["config_hash"] for summary in summaries(Path("out")).values()}
    assert json.loads(Path("alone/summary.json").read_text())["config_hash"] in hashes


WRONG_SEARCHES = {
    "loss: minimax,hing": "search=wrong sweeps over loss=hing: there is no such choice",
    "trainer.sed: 1,2": "trainer has no key sed. Did you mean seed?",
    "trainer.seed: 1,two": "trainer.seed=two",
    "generator.depth: 2,0": "generator.depth=0: it must be at least 1",
    "regularizer: r1": "'regularizer=[r1]'",
    "optimizer.generator: adam,sgd": "write optimizer/generator=adam,sgd",
    "+loss: minimax": "write it without",
    "hydra.sweep.dir: a,b": "search=wrong sweeps over hydra.sweep.dir",
    "hydra.verbose: true,false": "cannot be swept",
    "tracking.log_every: 1,2": "sweep something else",
    "api_key: a,b": "looks like a secret",
    "trainer.seed: 1,2,1": "the same job twice",
}


@pytest.mark.parametrize("params", WRONG_SEARCHES)
def test_what_a_search_sweeps_over_is_checked_before_any_job(
    params: str, searches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (searches / "wrong.yaml").write_text(search(params))
    assert main(["train", "--config-dir", "mine", "experiment=ring", *TINY, "search=wrong"]) == 2
    error = capsys.readouterr().err
    assert WRONG_SEARCHES[params] in error
    assert error.count("\n") == 1
    assert os.listdir() == ["mine"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hydra: {mode: MULTIRUN}\n", "# @package _global_"),
        ("# @package _global_\ntrainer: {images: 8}\n", "belongs to an experiment"),
        ("# @package _global_\ndefaults:\n  - override /generator: mlp\n", "belong to an experiment"),
        ("# @package _global_\nhydra: {callbacks: {}}\n", "mode, sweeper, launcher only"),
        ("# @package _global_\nhydra: {sweeper: {_target_: os.getcwd}}\n", "_target_"),
    ],
)
def test_a_search_says_only_what_is_swept_and_how(
    text: str, expected: str, searches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (searches / "wrong.yaml").write_text(text)
    assert main(["train", "--config-dir", "mine", "experiment=ring", "search=wrong"]) == 2
    assert expected in capsys.readouterr().err
    assert os.listdir() == ["mine"]


# -- the table ---------------------------------------------------------------------------------------------------------

OVER_SEEDS = "over the seeds that finished: median (lowest to highest)"
LOSSES = ("minimax", "non_saturating", "least_squares", "hinge", "wasserstein", "relativistic")


def write_job(sweep: Path, overrides: list[str], **summary: Any) -> table.Job:
    job = table.Job.planned(sweep, overrides)
    (job.path / ".hydra").mkdir(parents=True)
    (job.path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    if summary:
        (job.path / "summary.json").write_text(json.dumps({"seconds": 1.0, "metrics": {}} | summary))
    return job


def shown(jobs: list[table.Job], capsys: pytest.CaptureFixture[str]) -> list[str]:
    table.report(jobs, 0.0, interrupted=False)
    return capsys.readouterr().out.splitlines()


def test_a_shootouts_table_fits_and_ends_with_what_the_seeds_make_of_it(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    names = ("modes", "high_quality", "fd/small_classifier-0123abcd/train", "fd/inception-89abcdef/train")
    jobs = []
    for i, loss in enumerate(LOSSES):
        for seed in (1, 2, 3):
            failed = (loss, seed) == ("hinge", 3)
            scores = {name: {"value": 100 * i + seed**2} for name in names}
            how = {"status": "failed", "error": "a reason"} if failed else {"status": "finished", "metrics": scores}
            jobs.append(write_job(workdir / "sweep", [f"loss={loss}", f"trainer.seed={seed}"], **how))
    lines = shown(jobs, capsys)
    first = next(i for i, line in enumerate(lines) if line.startswith("minimax"))
    rows = [line.split() for line in lines[first : first + 18]]
    assert [row[:2] for row in rows] == [[loss, str(seed)] for loss in LOSSES for seed in (1, 2, 3)], (
        "the sweep's order"
    )
    assert all(len(line) <= 100 for line in lines[: first + 18])
    assert "…" not in "".join(lines)
    assert "17 of 18 jobs finished" in lines[first + 18]
    over_seeds = [line.split() for line in lines[lines.index(OVER_SEEDS) + 1 :]]
    for start, ranges in (
        (["minimax", "3", "of", "3", "4"], "(1 to 9)"),
        (["hinge", "2", "of", "3", "302.5"], "(301 to 304)"),
    ):
        at = next(i for i, words in enumerate(over_seeds) if words[:5] == start)
        assert " ".join(over_seeds[at + 1]) == " ".join([ranges] * 4)
    assert "  a reason" in lines


def test_a_hundred_jobs_take_a_line_each_and_not_all_their_reasons(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [
        write_job(workdir / "sweep", [f"trainer.seed={seed}"], status="failed", error=f"reason {seed}")
        for seed in range(60)
    ]
    jobs += [table.Job.planned(workdir / "sweep", [f"trainer.seed={seed}"]) for seed in range(60, 100)]
    lines = shown(jobs, capsys)
    assert len(lines) < 150
    assert "and 50 more; each one's reason is in its summary.json" in lines
    assert "not started: 40" in lines
    assert not any("over the seeds" in line for line in lines), "no seed finished"


def test_a_value_in_brackets_is_shown_as_it_is(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [write_job(workdir / "sweep", [f"regularizer={r}"], status="finished") for r in ("[r1]", "[]")]
    rows = [line.split()[0] for line in shown(jobs, capsys) if "finished " in line]
    assert rows[:2] == ["[r1]", "[]"]


def test_what_differs_is_named_briefly_and_without_doubt() -> None:
    keys = ["loss", "trainer.seed", "optimizer.generator.learning_rate", "optimizer.discriminator.learning_rate"]
    jobs = [dict.fromkeys([*keys, "generator.width"], "1") | {key: str(i) for key in keys} for i in range(2)]
    assert list(plan.differing_keys(jobs).values()) == [
        "loss", "seed", "generator.learning_rate", "discriminator.learning_rate"
    ]  # fmt: skip
    clash = [{"a.b.c": str(i), "d.b.c": str(i)} for i in range(2)]
    assert list(plan.differing_keys(clash).values()) == ["a.b.c", "d.b.c"]


@pytest.mark.slow
def test_a_job_whose_folder_holds_another_configs_run_is_refused_in_the_table_too(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SWEEP, "trainer.seed=1,2", "sweep_dir=out"]
    assert main(words) == 0
    path = _jobs("out")[0] / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"config_hash": "0123456789abcdef"}))
    capsys.readouterr()
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "1 of 2 jobs finished" in said
    assert f"refused  {path.parent}" in said
    assert "holds a run of another config" in said
    assert json.loads(path.read_text())["status"] == "finished", "the old run is left alone"
    path.write_text(json.dumps(summary))
    assert main(words) == 0, "once it fits again the job is what it was"


# -- who speaks --------------------------------------------------------------------------------------------------------


def test_a_job_beside_others_signs_its_lines_and_says_little(capfd: pytest.CaptureFixture[str]) -> None:
    with labelled_output(OutputLabel("loss=hinge", others=3)):
        console = Console(100, 0, ["ring: runs/1", "networks", "data"], ["generator/adversarial"])
        for images in (50, 100):
            console.record({"images": images, "performance/images_per_second": 1.0, "generator/adversarial": 2.0})
        console.record({"images": 100, "selection/modes": 8})
        console.say("one\ntwo")
        print("unfinished", end="")
    print("mine again")
    lines = capfd.readouterr().out.splitlines()
    assert lines == [
        "[loss=hinge] ring: runs/1", "[loss=hinge] one", "[loss=hinge] two", "[loss=hinge] unfinished", "mine again"
    ]  # fmt: skip


def test_a_job_beside_others_has_no_live_line_even_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with labelled_output(OutputLabel("loss=hinge")):
        assert Console(100, 0, [], [])._progress is None


# -- who does the jobs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_jobs", "jobs", "count", "threads"),
    [(2, 10, 2, 4), (-1, 100, 8, 1), (-1, 3, 3, 2), (-3, 100, 6, 1), (16, 100, 16, 1), (1, 5, 1, 8), (4, None, 4, 2)],
)
def test_jobs_at_a_time_share_the_threads_that_one_would_have_alone(
    n_jobs: int, jobs: int | None, count: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    joblib = pytest.importorskip("joblib", reason="the extra sweep is not installed")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    hydra = OmegaConf.create(
        {"runtime": {"choices": {"hydra/launcher": "joblib"}}, "launcher": {"n_jobs": n_jobs, "batch_size": "auto"}}
    )
    workers = plan.workers(hydra, jobs)
    assert (workers.count, workers.threads) == (count, threads)
    assert workers.overrides == (f"hydra.launcher.n_jobs={count}", "hydra.launcher.batch_size=1")


def test_a_sweeper_sees_a_bad_score_of_what_diverged_and_no_crash() -> None:
    seen = {"best": {"metric": "fd", "value": 1.5}, "selection": {"fd": {"better": "lower"}}}
    assert score(seen | {"status": "finished"}) == 1.5
    assert score(seen | {"status": "diverged"}) == math.inf
    assert score(seen | {"status": "failed", "selection": {"fd": {"better": "higher"}}}) == -math.inf
    assert math.isnan(score({"status": "diverged", "best": None}) or 0.0)
