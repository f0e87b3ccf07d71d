"""What online runs and `gan-lab dashboard` send to W&B, as a server on loopback receives it.

This proves the payloads: names, values, order, files, and that no secret is among them. It does not prove what the real
site shows of them; nothing here has talked to it.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml

from gan_lab.cli import main
from gan_lab.commands import dashboard
from gan_lab.config.presets import EXPERIMENTS
from gan_lab.losses import NonSaturating
from gan_lab.registry import losses
from gan_lab.tracking import wandb as tracking
from gan_lab.tracking.packages import requirements
from tests.tracking.stub_wandb import ENTITY, StubRun, StubWandb
from tests.tracking.test_wandb import COMMAND, metrics, summary

KEY = "5ec2e7beef" * 4
PLANTED = "a-value-that-must-stay-here"
SMALL = [
    *COMMAND.split()[1:-1], "trainer.threads=1", "tracking.wandb.project=tests", "tracking.wandb.mode=online",
    "trainer.images=256", "tracking.log_every=64", "tracking.samples_every=128", "evaluation.every=128",
]  # fmt: skip

if "troubled_online" not in losses.classes:

    @losses.register("troubled_online")
    class Troubled(NonSaturating):
        """Raises in the job of seed 2, with a secret in the message; interrupts a run once where it is told to."""

        interrupt_at: int | None = None

        def __init__(self) -> None:
            self.calls = 0

        def generator(self, forward: Any) -> Any:
            from hydra.core.hydra_config import HydraConfig

            self.calls += 1
            if HydraConfig.initialized() and "trainer.seed=2" in HydraConfig.get().overrides.task:
                raise RuntimeError(f"cannot open https://user:{PLANTED}@example.org/data")
            if Troubled.interrupt_at == self.calls:
                Troubled.interrupt_at = None
                signal.raise_signal(signal.SIGINT)
            return super().generator(forward)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StubWandb]:
    """A server for all tests of this module, in surroundings that hold two secrets."""
    path = tmp_path_factory.mktemp("online")
    with pytest.MonkeyPatch.context() as patch, StubWandb() as stub:
        patch.chdir(path)
        for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_GROUP", "WANDB_DATA_DIR"):
            patch.delenv(name, raising=False)
        for name in ("CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(path / f"wandb-{name.lower()}"))
        patch.setenv("NETRC", str(path / "netrc"))
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("WANDB_BASE_URL", stub.url)
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("DATA_SERVER_TOKEN", PLANTED)
        wandb.teardown()  # a process's first run decides for all which server it is
        yield stub
        wandb.teardown()


# -- a sweep -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep(server: StubWandb) -> dict[Path, StubRun]:
    """Two losses and three seeds, one job of which raises: the server's runs by their folders."""
    words = ["loss=non_saturating,troubled_online", "trainer.seed=1,2,3", "sweep_name=duel"]
    assert main(["train", "-m", *SMALL, *words, "trainer.checkpoint_every=128"]) == 1
    folders = [path.parent for path in Path("sweeps/duel").glob("*/summary.json")]
    return {folder.absolute(): server.runs[link(folder).rsplit("/", 1)[-1]] for folder in folders}


def link(folder: Path) -> str:
    return str(summary(folder)["wandb"])


def test_six_jobs_are_six_runs_of_one_group(sweep: dict[Path, StubRun]) -> None:
    assert len({run.id for run in sweep.values()}) == 6
    for run in sweep.values():
        assert (run.told("groupName"), run.told("jobType"), run.told("project")) == ("duel", "sweep", "tests")
        assert {"mixture", "mlp", run.config["loss.name"]} <= set(run.told("tags"))
        assert run.told("displayName") == f"loss={run.config['loss.name']} seed={run.config['trainer.seed']}"


def test_each_setting_is_a_column_under_its_name_on_the_command_line(sweep: dict[Path, StubRun]) -> None:
    told = {(run.config["loss.name"], run.config["trainer.seed"]) for run in sweep.values()}
    assert told == {(loss, seed) for loss in ("non_saturating", "troubled_online") for seed in (1, 2, 3)}
    for run in sweep.values():
        assert run.config["generator.name"] == "mlp"
        assert run.config["generator.width"] == 8
        assert run.config["optimizer.discriminator.name"] == "adam"
        assert run.config["regularizer"] == "none"
        assert not [key for key, value in run.config.items() if isinstance(value, dict)]


def test_the_failed_job_alone_is_failed_there(sweep: dict[Path, StubRun]) -> None:
    for run in sweep.values():
        failed = (run.config["loss.name"], run.config["trainer.seed"]) == ("troubled_online", 2)
        assert run.exit_code == (1 if failed else 0)
        assert run.summary["status"] == ("failed" if failed else "finished")
        if failed:
            assert run.summary["error"] == "RuntimeError: cannot open https://user:[redacted]@example.org/data"


def test_the_history_is_the_run_directorys_against_images(sweep: dict[Path, StubRun]) -> None:
    for folder, run in sweep.items():
        defined = json.loads(run.told("config"))["_wandb"]["value"]["m"]  # 1: name, 2: pattern, 5: its step's place
        (everything,) = (metric for metric in defined if metric.get("2") == "*")
        assert defined[everything["5"] - 1]["1"] == "images"
        rows = [row for row in run.rows if "generator/adversarial" in row]
        records = [] if run.exit_code else [r for r in metrics(folder) if "generator/adversarial" in r]
        assert [row["images"] for row in rows] == [record["images"] for record in records]
        for row, record in zip(rows, records, strict=True):
            assert row["generator/adversarial"] == pytest.approx(record["generator/adversarial"])
        if run.exit_code == 0:
            assert [row["images"] for row in rows] == [64, 128, 192, 256]
            assert "max" in run.summary["selection/modes"]
            assert run.summary["final/modes"] == summary(folder)["metrics"]["modes"]["value"]


def test_the_pictures_arrive_as_they_lie_in_the_run_directory(sweep: dict[Path, StubRun]) -> None:
    for folder, run in sweep.items():
        pictures = {row["images"]: row["samples"]["path"] for row in run.rows if "samples" in row}
        assert pictures.keys() == ({128, 256} if run.exit_code == 0 else set())
        for images, path in pictures.items():
            assert run.files[path] == (folder / "samples" / f"{images}.png").read_bytes()


def test_a_table_shows_samples_and_score_by_images(sweep: dict[Path, StubRun], server: StubWandb) -> None:
    for folder, run in sweep.items():
        tables = [a for a in server.artifacts if a.name == f"run-{run.id}-samples_by_images"]
        assert len(tables) == (1 if run.exit_code == 0 else 0)
        for artifact in tables:
            table = json.loads(artifact.files["samples_by_images.table.json"])
            assert table["columns"] == ["images", "samples", "modes", "scored at"]
            scores = {r["images"]: r["selection/modes"] for r in metrics(folder) if "selection/modes" in r}
            assert [(row[0], *row[2:]) for row in table["data"]] == [(n, scores[n], n) for n in (128, 256)]


def test_without_being_asked_no_checkpoint_is_uploaded(sweep: dict[Path, StubRun], server: StubWandb) -> None:
    assert not {a.id for a in server.artifacts for run in sweep.values() if a.name == f"checkpoint-{run.id}"}


def test_no_secret_is_in_anything_that_is_sent(sweep: dict[Path, StubRun], server: StubWandb) -> None:
    assert len(server.requests) > 60
    for path, body in server.requests:
        assert KEY.encode() not in body, path
        assert PLANTED.encode() not in body, path
    for run in sweep.values():
        assert "remote" not in json.loads(run.files["wandb-metadata.json"]).get("git", {})
        assert not [name for name in run.files if name.endswith((".patch", ".py"))]


def test_each_run_has_the_list_of_packages(sweep: dict[Path, StubRun]) -> None:
    for run in sweep.values():
        assert run.files["requirements.txt"].decode() == requirements()


# -- the dashboard of that sweep ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def views(sweep: dict[Path, StubRun], server: StubWandb) -> dict[str, dict[str, Any]]:
    pytest.importorskip("wandb_workspaces")
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: told.extend(map(str, words)))
        assert main(["dashboard", "sweeps/duel"]) == 0
    assert re.fullmatch(rf"workspace  {server.url}/{ENTITY}/tests\?nw=\w+", told[0])
    assert re.fullmatch(rf"report     {server.url}/{ENTITY}/tests/reports/duel--\w+", told[1])
    return {view["type"]: view for view in server.views}


GROUP = [{"key": {"section": "run", "name": "group"}, "op": "=", "value": "duel", "disabled": False}]
BY_LOSS = [{"section": "config", "name": "loss.name.value"}]


def test_the_workspace_shows_the_group_by_what_differs(views: dict[str, dict[str, Any]]) -> None:
    view = views["project-view"]
    assert (view["entityName"], view["projectName"], view["displayName"]) == (ENTITY, "tests", "duel")
    (runs,) = view["spec"]["section"]["runSets"]
    assert runs["filters"]["filters"] == GROUP
    assert runs["grouping"] == BY_LOSS
    assert {"config:loss.name.value", "config:trainer.seed.value", "summary:final/modes"} <= set(
        runs["runFeed"]["columnOrder"]
    )
    assert view["spec"]["section"]["settings"]["xAxis"] == "images"
    sections = {s["name"]: s["panels"] for s in view["spec"]["section"]["panelBankConfig"]["sections"]}
    assert lines(sections["Scores while training"]) == ["selection/modes", "selection/high_quality", "selection/kl"]
    assert lines(sections["Losses"]) == ["discriminator/adversarial", "generator/adversarial"]
    assert set(lines(sections["Accuracies of the discriminator"])) == {
        "discriminator/real_accuracy", "discriminator/fake_accuracy",
    }  # fmt: skip
    assert {p["config"]["xAxis"] for name in ("Losses", "Scores while training") for p in sections[name]} == {"images"}
    assert next(p["config"]["mediaKeys"] for p in sections["Samples"]) == ["samples"]
    coordinates, *bars = sections["Final scores"]
    accessors = [column["accessor"] for column in coordinates["config"]["columns"]]
    assert accessors == ["config:loss.name.value", "config:trainer.seed.value", "summary:final/modes"]
    assert [bar["config"]["metrics"] for bar in bars] == [["final/modes"], ["final/high_quality"], ["final/kl"]]


def lines(panels: list[dict[str, Any]]) -> list[str]:
    return [metric for panel in panels for metric in panel["config"]["metrics"]]


def test_the_report_says_what_differed_and_how_to_repeat_it(views: dict[str, dict[str, Any]]) -> None:
    report = views["runs"]
    text = json.dumps(report["spec"])
    grids = [block for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]
    runsets = [runs for grid in grids for runs in grid["metadata"]["runSets"]]
    assert len(runsets) == len(grids) > 4
    assert {json.dumps(runs["filters"]["filters"]) for runs in runsets} == {json.dumps(GROUP)}
    assert {json.dumps(runs["grouping"]) for runs in runsets} == {json.dumps(BY_LOSS), "[]"}
    assert "loss=non_saturating,troubled_online" in text
    assert "gan-lab train -m " in text
    assert re.search(r"`loss.name`: (non_saturating, troubled_online|troubled_online, non_saturating)", text)
    assert "5 finished" in text
    assert "1 failed" in text
    assert PLANTED not in text


def test_a_single_runs_dashboard_shows_that_run_alone(sweep: dict[Path, StubRun]) -> None:
    folder, run = next(iter(sweep.items()))
    assert dashboard.subject(folder).filter == f"Metric('ID') == {run.id!r}"


def test_runs_that_are_no_sweep_are_shown_by_their_ids_and_repeated_one_by_one(
    sweep: dict[Path, StubRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their group is their experiment, which other runs of the project have, too."""
    subject = dashboard.subject(next(iter(sweep)).parent)
    assert subject.filter == "Metric('Group') == 'duel'"
    shown = dashboard.Subject(subject.path, subject.runs, "lab", "tests")
    monkeypatch.setattr(dashboard, "_of_sweep", lambda run: False)
    assert shown.filter == f"Metric('ID') in {[dashboard._id(run) for run in shown.runs]!r}"
    words = iter([{"experiment": "ring"}, {"experiment": "ring", "loss": "hinge"}] * len(shown.runs))
    monkeypatch.setattr(dashboard, "_overrides", lambda run: next(words))
    shown.runs = shown.runs[:2]
    assert shown.command.splitlines() == ["gan-lab train experiment=ring", "gan-lab train experiment=ring loss=hinge"]


# -- checkpoints, and going on -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resumed(server: StubWandb) -> StubRun:
    """A run with checkpoints as artifacts, interrupted once, that has gone on to its end."""
    Troubled.interrupt_at = 6
    words = ["train", *SMALL, "loss=troubled_online", "run_dir=resumed", "tracking.wandb.checkpoints=true"]
    before = set(server.runs)
    assert main([*words, "trainer.checkpoint_every=64"]) == 130
    (run,) = (run for id, run in server.runs.items() if id not in before)
    assert run.exit_code == 1
    assert run.summary["status"] == "interrupted"
    assert main([*words, "trainer.checkpoint_every=64"]) == 0
    assert server.runs.keys() - before == {run.id}
    return run


def test_a_run_that_goes_on_is_the_same_run(resumed: StubRun) -> None:
    assert (resumed.finishes, resumed.exit_code, resumed.summary["status"]) == (2, 0, "finished")
    drawn = [row["images"] for row in resumed.rows if "generator/adversarial" in row]
    assert drawn == [64, 128, 192, 256]
    steps = [row["_step"] for row in resumed.rows]
    assert steps == sorted(set(steps))


def test_its_table_has_the_pictures_of_before_the_interrupt(resumed: StubRun, server: StubWandb) -> None:
    *_, last = (a for a in server.artifacts if a.name == f"run-{resumed.id}-samples_by_images")
    table = json.loads(last.files["samples_by_images.table.json"])
    assert [row[0] for row in table["data"]] == [128, 256]


def test_checkpoints_are_artifacts_latest_and_best(resumed: StubRun, server: StubWandb) -> None:
    sent = [artifact for artifact in server.artifacts if artifact.name == f"checkpoint-{resumed.id}"]
    images = [artifact.metadata["images"] for artifact in sent]
    assert images == sorted(set(images))
    assert images[-1] == 256
    assert {artifact.input["artifactTypeName"] for artifact in sent} == {"model"}
    assert all(artifact.committed and "latest" in artifact.aliases for artifact in sent)
    assert all(artifact.metadata["config_hash"] == summary(Path("resumed"))["config_hash"] for artifact in sent)
    *_, best = (artifact for artifact in sent if "best" in artifact.aliases)
    told = summary(Path("resumed"))["best"]
    assert {key: best.metadata[key] for key in ("images", "metric", "value")} == {
        key: told[key] for key in ("images", "metric", "value")
    }
    kept = Path("resumed/checkpoints", f"{best.metadata['images']:012}", "state.pt")
    assert best.files["state.pt"] == kept.read_bytes()


# -- W&B's own sweep agent ---------------------------------------------------------------------------------------------


def test_a_run_of_wandbs_sweep_agent_is_the_agents(server: StubWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first command line of the shipped search, in the surroundings that `wandb agent` makes for it."""
    search = yaml.safe_load((EXPERIMENTS / "wandb" / "sweep.yaml").read_text())
    assert search["command"] == ["${env}", "gan-lab", "train", "${args_no_hyphens}"]
    chosen = {key: entry.get("value", entry.get("values", [None])[0]) for key, entry in search["parameters"].items()}
    Path("chosen.yaml").write_text(
        yaml.safe_dump({"wandb_version": 1} | {key: {"value": value} for key, value in chosen.items()})
    )
    for name, value in (("ID", "sweep0"), ("PARAM_PATH", "chosen.yaml")):
        monkeypatch.setenv(f"WANDB_SWEEP_{name}", value)
    monkeypatch.setenv("WANDB_RUN_ID", "agents1")
    wandb.teardown()
    words = [f"{key}={value}" for key, value in chosen.items()]
    words += ["trainer.images=256", "evaluation.samples=64", "dataset.samples=256", "trainer.device=cpu"]
    assert main(["train", *words, "run_dir=agents"]) == 0
    wandb.teardown()
    run = server.runs["agents1"]
    assert run.told("sweep") == "sweep0"
    assert run.exit_code == 0
    assert chosen.items() <= run.config.items()
    assert run.config["loss.name"] == chosen["loss"]
    assert search["metric"]["name"] in run.summary
    assert Path("agents/wandb/run_id").read_text() == "agents1"


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_server_that_dies_costs_a_warning_and_nothing_else(
    server: StubWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tracking.WandbTracker.record

    def dies_after(self: tracking.WandbTracker, told: Any) -> None:
        record(self, told)
        if told["images"] == 128:
            mortal.stop()

    monkeypatch.setattr(tracking.WandbTracker, "record", dies_after)
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 1.0)
    with StubWandb() as mortal:
        monkeypatch.setenv("WANDB_BASE_URL", mortal.url)
        wandb.teardown()
        words = ["run_dir=orphan", "tracking.wandb.checkpoints=true", "trainer.checkpoint_every=64"]
        with pytest.warns(UserWarning, match="W&B") as warned:
            assert main(["train", *SMALL, *words]) == 0
    wandb.teardown()
    assert [run.exit_code for run in mortal.runs.values()] == [None]
    told = [str(warning.message) for warning in warned if "W&B" in str(warning.message)]
    assert len(told) == 1
    assert "wandb sync --no-skip-online orphan/wandb/run-" in told[0]
    assert summary(Path("orphan"))["status"] == "finished"
    assert [r["images"] for r in metrics(Path("orphan")) if "generator/adversarial" in r] == [64, 128, 192, 256]
    assert "WANDB_DATA_DIR" not in os.environ


# -- what the dashboard refuses ----------------------------------------------------------------------------------------


def test_a_folder_without_runs_is_refused(
    server: StubWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboard", str(tmp_path)]) == 2
    assert "there is no run in it" in capsys.readouterr().err
    assert main(["dashboard", str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_offline_runs_are_told_how_to_get_there(
    server: StubWandb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"wandb": "run/wandb/offline-run-1", "images": 0}))
    assert main(["dashboard", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"wandb sync {tmp_path}/*/wandb/offline-run-*" in line
    assert "--entity" in line


def test_without_a_key_the_dashboard_says_so_in_one_line(
    sweep: dict[Path, StubRun], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    assert main(["dashboard", "sweeps/duel"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "wandb login" in line


def test_without_the_package_the_dashboard_names_the_extra(
    sweep: dict[Path, StubRun], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces.workspaces", None)
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces.reports.v2", None)
    assert main(["dashboard", "sweeps/duel"]) == 2
    assert 'pip install "hydra-gan-lab[dashboard]"' in capsys.readouterr().err
