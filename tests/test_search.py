"""Search with Optuna: spaces in Hydra's grammar, trials that are pruned, studies that go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from gan_lab.cli import main
from gan_lab.losses import NonSaturating
from gan_lab.registry import losses
from gan_lab.sweeping.findings import read_findings
from gan_lab.sweeping.optuna_sweeper import report_trial
from gan_lab.sweeping.study import ABANDONED, JOURNAL, StudyLocation
from tests.comparing.planted import plant

optuna = pytest.importorskip("optuna")
D = optuna.distributions

SEARCH = [
    "train", "-m", "hydra/sweeper=optuna", "experiment=ring", "trainer.images=1024", "trainer.batch_size=64",
    "generator.width=8", "discriminator.width=8", "evaluation.every=256", "evaluation.samples=64",
    "evaluation.selection_samples=64", "tracking.samples_every=0", "tracking.health=false", "sweep_dir=out",
]  # fmt: skip
RATE = "optimizer.generator.learning_rate=tag(log,interval(1e-4,1e-2))"


def study() -> Any:
    return StudyLocation("out", str(Path("out", JOURNAL)), "modes").open()


def states() -> list[str]:
    return [trial.state.name for trial in study().get_trials() if not trial.user_attrs.get(ABANDONED)]


# -- spaces ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a=x,y", D.CategoricalDistribution(["x", "y"])),
        ("a=choice([r1],[r1,lecam])", D.CategoricalDistribution(["[r1]", "[r1,lecam]"])),
        ("a=interval(0.5,2)", D.FloatDistribution(0.5, 2.0)),
        ("a=tag(log,interval(1e-5,1e-2))", D.FloatDistribution(1e-5, 1e-2, log=True)),
        ("a=int(interval(4,32))", D.IntDistribution(4, 32)),
        ("a=tag(int,log,interval(4,32))", D.IntDistribution(4, 32, log=True)),
        ("a=range(1,10,3)", D.IntDistribution(1, 7, step=3)),
        ("a=range(0.0,1.0,0.25)", D.FloatDistribution(0.0, 0.75, step=0.25)),
    ],
)
def test_hydras_grammar_as_optunas_distributions(word: str, expected: Any) -> None:
    from gan_lab.sweeping.space import distribution

    (override,) = OverridesParser.create().parse_overrides([word])
    assert distribution(override) == expected


# -- searching ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_tells_its_best_trials_and_does_no_more_than_it_was_asked_for(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SEARCH, "loss=hinge,minimax", RATE, "hydra.sweeper.n_trials=3", "hydra.sweeper.pruner=none"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "3 of 3 jobs finished" in said
    assert "3 trials: 3 finished, 0 pruned, 0 failed" in said
    assert "best      modes" in said
    runs = {path: path.stat().st_mtime_ns for path in Path("out").glob("*/summary.json")}
    assert len(runs) == 3
    values = [trial.value for trial in study().get_trials()]
    recorded = [max(r["selection/modes"] for r in records(path.parent) if "selection/modes" in r) for path in runs]
    assert sorted(values) == sorted(recorded)
    found = json.loads(Path("out/study.json").read_text())
    assert found["trials"] == 3
    assert read_findings(Path("out")) is not None
    # again: nothing is left to do; more: only what is missing
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("out").glob("*/summary.json")} == runs
    assert main([*words, "hydra.sweeper.n_trials=4"]) == 0
    assert states() == ["COMPLETE"] * 4


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_grid_ends_with_its_points_and_a_database_keeps_a_study(workdir: Path) -> None:
    storage = "hydra.sweeper.storage='sqlite:///study.db'"
    words = [*SEARCH, "loss=hinge,minimax", "trainer.seed=range(1,3)", "hydra.sweeper.sampler=grid", storage]
    assert main(words) == 0
    assert Path("study.db").exists()
    assert len(list(Path("out").glob("*/summary.json"))) == 4
    assert not Path("out", JOURNAL).exists()


def test_several_objectives_have_a_front(workdir: Path) -> None:
    words = [*SEARCH, "loss=hinge,minimax", RATE, "hydra.sweeper.metrics=[modes,high_quality]"]
    assert main([*words, "hydra.sweeper.sampler=nsga2", "hydra.sweeper.n_trials=2"]) == 0
    assert all(len(trial.values) == 2 for trial in study().get_trials())


@losses.register("troubled_search")
class Troubled(NonSaturating):
    """Raises where the seed is 2."""

    def generator(self, forward: Any) -> Any:
        if forward.game.seed == 2:
            raise RuntimeError("planted")
        return super().generator(forward)


@pytest.mark.slow
def test_a_trial_that_fails_stops_no_other(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SEARCH, "loss=troubled_search", "trainer.seed=1,2,3", "hydra.sweeper.sampler=grid"]
    assert main([*words, "hydra.sweeper.pruner=none"]) == 1
    assert sorted(states()) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert "RuntimeError: planted" in capsys.readouterr().out


def test_a_search_may_have_a_name(workdir: Path) -> None:
    words = [word for word in SEARCH if word not in ("-m", "hydra/sweeper=optuna")]
    assert main([*words, "search=learning_rates", "hydra.sweeper.n_trials=1"]) == 0
    assert states() == ["COMPLETE"]


def test_compare_tells_what_a_search_has_found(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(Path("out/a"))
    best = [{"trial": 3, "values": {"fd": 1.25}, "params": {"generator.width": 48}}]
    found = {"trials": 30, "told": "20 finished, 10 pruned, 0 failed", "best": best, "importances": {"loss": 0.75}}
    Path("out/study.json").write_text(json.dumps(found))
    assert main(["compare", "out", "--html", "page.html"]) == 0
    told = "search of 30 trials: 20 finished, 10 pruned, 0 failed; what matters: loss 75%"
    assert told in capsys.readouterr().out
    page = Path("page.html").read_text()
    assert told in page
    assert '"importances":[["loss",0.75]]' in page
    assert '"settings":"generator.width=48"' in page


# -- pruning -----------------------------------------------------------------------------------------------------------


def test_a_job_that_is_worse_than_others_were_gives_up(tmp_path: Path) -> None:
    place = StudyLocation("s", str(tmp_path / JOURNAL), "fd", "median", startup_trials=2)
    made = place.open(directions=["minimize"])
    for value in (1.0, 2.0, 3.0):
        trial = made.ask()
        for images in (100, 200):
            trial.report(value, images)
        made.tell(trial, value)
    for name in ("good", "bad", "collapsed"):
        made.ask().set_user_attr("job", name)
    told = {name: place.reporter(name) for name in ("good", "bad", "collapsed", "nobody")}
    assert told["nobody"] is None
    for name, value, stops in (("good", 1.5, False), ("bad", 2.5, True), ("collapsed", None, True)):
        report = told[name]
        assert report is not None
        assert bool(report(100, {"fd": value})) is stops, name


@pytest.mark.slow
def test_a_pruned_run_ends_as_that_and_is_no_failure(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two that are told apart by a rate of zero: the frozen generator never gets a mode."""
    words = [*SEARCH, "trainer.images=25600", "trainer.batch_size=128", "evaluation.every=6400"]
    words += ["evaluation.selection_samples=2000", "generator.width=128", "discriminator.width=128"]
    words += ["optimizer.generator.learning_rate=0.001,1e-9", "trainer.seed=1,2,3", "hydra.sweeper.sampler=grid"]
    words += ["hydra.sweeper.pruner=median", "hydra.sweeper.startup_trials=1"]
    assert main(words) == 0
    found = states()
    assert len(found) == 6
    assert found.count("PRUNED") >= 1
    pruned = [json.loads(path.read_text()) for path in Path("out").glob("*/summary.json")]
    pruned = [summary for summary in pruned if summary["status"] == "pruned"]
    assert len(pruned) == found.count("PRUNED")
    assert all(summary["images"] < 25600 and "worse than others" in summary["error"] for summary in pruned)
    assert f"{6 - len(pruned)} of 6 jobs finished, {len(pruned)} pruned" in capsys.readouterr().out


def test_a_diverged_run_counts_as_the_worst_and_a_failed_one_teaches_nothing(tmp_path: Path) -> None:
    made = StudyLocation("s", str(tmp_path / JOURNAL), "fd").open(directions=["minimize"])
    told = {}
    for status in ("finished", "diverged", "failed"):
        trial = made.ask()
        report_trial(made, trial, plant(tmp_path / status, name="fd", fd=1.5, status=status), [("fd", True)])
        told[status] = made.get_trials()[trial.number]
    assert (told["finished"].state.name, told["finished"].value) == ("COMPLETE", 1.5)
    assert told["diverged"].state.name == "PRUNED"
    assert list(told["diverged"].intermediate_values.values()) == [float("inf")]
    assert told["failed"].state.name == "FAIL"
    assert told["failed"].intermediate_values == {}


# -- going on ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_a_study_that_is_killed_goes_on_to_its_total(launcher: list[str], workdir: Path) -> None:
    words = [*SEARCH, RATE, "trainer.images=32000", "evaluation.every=3200", "trainer.threads=1", *launcher]
    command = [sys.executable, "-m", "gan_lab", *words, "hydra.sweeper.n_trials=5"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(Path("out").glob("*/checkpoints/*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert "RUNNING" in states()
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0
    found = states()
    assert len(found) == 5
    assert set(found) <= {"COMPLETE", "PRUNED"}
    abandoned = [trial for trial in study().get_trials() if trial.user_attrs.get(ABANDONED)]
    assert abandoned
    tried_again = [t.params for t in study().get_trials() if not t.user_attrs.get(ABANDONED)]
    assert all(trial.params in tried_again for trial in abandoned)


# -- bad input ---------------------------------------------------------------------------------------------------------

BAD = {
    "an empty space": (["loss=hinge"], "searches nothing"),
    "a space upside down": (["generator.width=int(interval(9,3))"], "generator.width=int(interval(9,3))"),
    "a log of zero": (["optimizer.generator.learning_rate=tag(log,interval(0,1))"], "learning_rate"),
    "a strange tag": (["optimizer.generator.learning_rate=tag(odd,interval(1,3))"], "the tags are log and int"),
    "an interval on a grid": ([RATE, "hydra.sweeper.sampler=grid"], "takes choices and ranges"),
    "an unknown sampler": ([RATE, "hydra.sweeper.sampler=tpo"], "hydra.sweeper.sampler"),
    "an unknown pruner": ([RATE, "hydra.sweeper.pruner=mean"], "hydra.sweeper.pruner"),
    "no trial": ([RATE, "hydra.sweeper.n_trials=0"], "give 1 at least"),
    "no score": ([RATE, "evaluation.every=0"], "evaluation.every=0"),
    "an unknown score": ([RATE, "hydra.sweeper.metrics=[fidd]"], "fidd"),
    "an unreachable storage": (
        [RATE, "hydra.sweeper.storage='sqlite:////nowhere/at/all.db'"], "hydra.sweeper.storage=sqlite:////nowhere",
    ),
    "an unknown setting": ([RATE, "hydra.sweeper.trials=3"], "has no such setting"),
}  # fmt: skip


@pytest.mark.parametrize("line", ["true", "[]", "{}", "no json", '{"op_code": 99}'])
def test_a_journal_that_is_none_is_refused_in_a_line(
    line: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out", JOURNAL).write_text(f"{line}\n")
    assert main([*SEARCH, RATE]) == 2
    error = capsys.readouterr().err
    assert "study.log cannot be used" in error
    assert error.count("\n") == 1
    assert Path("out", JOURNAL).read_text() == f"{line}\n"


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, expected = BAD[name]
    assert main([*SEARCH, *words]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert expected in said
    assert not Path("out").exists()


def test_a_launcher_that_cannot_be_had_is_refused_before_a_study_is_made(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(workdir))
    assert main([*SEARCH, RATE, "hydra/launcher=slurm"]) == 2
    assert "there is no sbatch here" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_study_of_something_else_is_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SEARCH, "hydra.sweeper.n_trials=1", "loss=hinge"]
    assert main([*words, RATE]) == 0
    before = Path("out", JOURNAL).read_bytes()
    assert main([*words, "generator.width=int(interval(4,8))"]) == 2
    assert "searches something else; give another sweep_name" in capsys.readouterr().err
    assert Path("out", JOURNAL).read_bytes() == before


def test_without_the_package_the_extra_is_named(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main([*SEARCH, RATE]) == 2
    assert 'pip install "hydra-gan-lab[sweep]"' in capsys.readouterr().err
    assert not Path("out").exists()
