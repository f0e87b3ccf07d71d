"""What may be ranked, what may not, and what is said of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gan_lab.cli import main
from gan_lab.comparing.command import parse_at
from gan_lab.comparing.comparison import At, Comparison
from gan_lab.comparing.runs import find
from gan_lab.tracking.run_directory import RunDirectory
from tests.comparing.planted import COVERAGE, FD, plant, provenance, sweep


def compared(*paths: Path, **wishes: Any) -> Comparison:
    return Comparison(find(paths), **wishes)


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {setting.name: setting.verdict for setting in comparison.settings}


# -- the ranking -------------------------------------------------------------------------------------------------------


def test_seeds_are_folded_and_settings_ranked(tmp_path: Path) -> None:
    sweep(tmp_path, {"hinge": [3.0, 3.1, 3.3], "minimax": [1.0, 1.1, 1.2], "least_squares": [1.15, 1.3, 1.4]})
    comparison = compared(tmp_path)
    assert verdicts(comparison) == {
        "loss=minimax": "inconclusive", "loss=least_squares": "inconclusive", "loss=hinge": "worse"
    }  # fmt: skip
    best = comparison.settings[0]
    assert best.mean == pytest.approx(1.1)
    assert best.interval == (1.0, 1.2)
    assert [setting.name for setting in comparison.undecided] == ["loss=minimax", "loss=least_squares"]


def test_a_setting_apart_from_all_others_is_best(tmp_path: Path) -> None:
    sweep(tmp_path, {"hinge": [3.0, 3.1, 3.3], "minimax": [1.0, 1.1, 1.2]})
    comparison = compared(tmp_path)
    assert verdicts(comparison) == {"loss=minimax": "best", "loss=hinge": "worse"}
    assert comparison.undecided == []


def test_where_more_is_better_the_highest_is_first(tmp_path: Path) -> None:
    sweep(tmp_path, {"hinge": [3, 3.1, 3.3], "minimax": [1, 1.1, 1.2]}, about={"better": "higher"})
    assert verdicts(compared(tmp_path)) == {"loss=hinge": "best", "loss=minimax": "worse"}


def test_two_seeds_settle_nothing(tmp_path: Path) -> None:
    sweep(tmp_path, {"hinge": [9.0, 9.1, 9.2], "minimax": [1.0, 1.1]})
    assert verdicts(compared(tmp_path)) == {"loss=minimax": "too few runs", "loss=hinge": "inconclusive"}


def test_a_setting_that_diverges_is_never_the_best(tmp_path: Path) -> None:
    sweep(tmp_path, {"hinge": [3.0, 3.1, 3.3], "minimax": [1.0, 1.1, 1.2], "wasserstein": [0.1, 0.2]})
    plant(tmp_path / "gone", seed=2, loss="wasserstein", status="diverged", error="no finite gradient")
    found = verdicts(compared(tmp_path))
    assert found == {"loss=wasserstein": "1 of 3 diverged", "loss=minimax": "best", "loss=hinge": "worse"}


def test_settings_are_named_by_the_fewest_keys_that_tell_them_apart(tmp_path: Path) -> None:
    for seed in range(2):
        plant(tmp_path / f"a{seed}", seed=seed, generator="dcgan", generator__width=16, generator__latent_dim=8)
        plant(tmp_path / f"b{seed}", seed=seed, generator="dcgan", generator__width=64, generator__latent_dim=32)
        plant(tmp_path / f"c{seed}", seed=seed, generator="mlp", generator__depth=3)
    comparison = compared(tmp_path)
    assert [set(setting.labels) for setting in comparison.settings] == [{"generator.name", "generator.width"}] * 3
    assert set(comparison.differing) == {
        "generator.name", "generator.width", "generator.latent_dim", "generator.depth"
    }  # fmt: skip


def test_how_a_run_is_watched_scored_and_where_it_lies_makes_no_other_setting(tmp_path: Path) -> None:
    plant(tmp_path / "a", seed=0, tracking__log_every=5, evaluation__every=50, trainer__threads=1)
    plant(tmp_path / "b", seed=1, trainer__threads=2, trainer__seed=1, trainer__images=400)
    comparison = compared(tmp_path)
    assert "trainer.threads" not in comparison.differing
    assert not any(key.startswith(("tracking", "evaluation", "run_dir")) for key in comparison.differing)


def test_settings_that_came_later_are_none_at_what_they_were_before(tmp_path: Path) -> None:
    plant(tmp_path / "older", seed=0)
    plant(tmp_path / "now", seed=1, trainer__seed=1, trainer__images=400, evaluation__validation=0)
    plant(
        tmp_path / "seen", trainer__seed=2, trainer__images=400, trainer__compile_mode="default", trainer__profile=True
    )
    assert not compared(tmp_path).differing


def test_runs_that_trained_on_fewer_pictures_are_another_setting(tmp_path: Path) -> None:
    plant(tmp_path / "all", seed=0)
    plant(tmp_path / "fewer", seed=0, evaluation__validation=1_000)
    comparison = compared(tmp_path)
    assert len(comparison.runs) == 2, "neither repeats the other"
    assert list(comparison.differing) == ["evaluation.validation"]


def test_the_same_config_and_seed_twice_counts_once(tmp_path: Path) -> None:
    sweep(tmp_path / "one", {"hinge": [3.0, 3.1, 3.3]})
    sweep(tmp_path / "two", {"hinge": [3.0, 3.1, 3.3]})
    comparison = compared(tmp_path)
    assert len(comparison.runs) == 3
    assert "3 runs repeat another's config and seed: counted once" in comparison.notes
    assert len(compared(tmp_path / "one", tmp_path / "one").runs) == 3


# -- numbers that are not comparable -----------------------------------------------------------------------------------

MISMATCHES: dict[str, Any] = {
    "samples": 500, "split": "test", "reference": "ffff", "reference_samples": 10, "extractor": "inception",
    "extractor_weights": "ab" * 32, "extractor_settings": {"layer": 3}, "layer": "logits", "resize": "bilinear",
    "quantization": "none", "weights": "last", "batch_norm": "batch", "selection": True,
}  # fmt: skip


@pytest.mark.parametrize("field", MISMATCHES)
def test_another_provenance_is_refused_and_the_field_named(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path / "runs", {"hinge": [3.0, 3.1, 3.3]})
    plant(tmp_path / "runs/other", loss="minimax", about={field: MISMATCHES[field]})
    assert main(["compare", str(tmp_path / "runs"), "--html", str(tmp_path / "a.html")]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert f"fd of these runs cannot be ranked, its {field} differs: " in err
    assert "3 runs" in err
    assert not (tmp_path / "a.html").exists()
    assert out == ""


@pytest.mark.parametrize(
    ("name", "field"),
    [("fd/fashion_mnist-9751c4ec/train", "extractor"), ("fd/mnist5k-03da3a14/test", "split")],
)
def test_a_score_of_another_name_is_the_same_measure_taken_otherwise(name: str, field: str, tmp_path: Path) -> None:
    plant(tmp_path / "a", loss="hinge")
    value = name.split("/")[1].split("-")[0] if field == "extractor" else "test"
    plant(tmp_path / "b", loss="minimax", name=name, about={field: value})
    with pytest.raises(ValueError, match=f"its {field} differs"):
        compared(tmp_path)


def test_versions_only_warn_and_noise_seeds_and_ema_decays_may_differ(tmp_path: Path) -> None:
    plant(tmp_path / "a", loss="hinge")
    plant(
        tmp_path / "b",
        loss="minimax",
        about={"versions": {"torch": "2.11"}, "noise_seeds": [5, 6], "weights": "ema 0.9"},
    )
    comparison = compared(tmp_path)
    assert len(comparison.readings) == 2
    assert comparison.notes == ["scores were computed with different versions: torch 2.10; torch 2.11"]


def test_measures_without_a_reference_are_not_ranked_over_data_sets(tmp_path: Path) -> None:
    about = {"reference": None, "extractor": None, "better": "higher"}
    plant(tmp_path / "a", name="modes", about=about, dataset="mixture", dataset__layout="ring")
    plant(tmp_path / "b", name="modes", about=about, dataset="mixture", dataset__layout="grid")
    with pytest.raises(ValueError, match="its dataset differs"):
        compared(tmp_path)


def test_a_further_score_that_is_not_comparable_is_left_out_and_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path / "runs", {"hinge": [3.0, 3.1, 3.3], "minimax": [1.0, 1.1, 1.2]})
    file = tmp_path / "runs/hinge-0/summary.json"
    content = json.loads(file.read_text())
    content["metrics"][COVERAGE]["resize"] = "bilinear"
    file.write_text(json.dumps(content))
    assert main(["compare", str(tmp_path / "runs"), "--html", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.count("coverage is left out: its resize differs") == 1


def test_a_score_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    sweep(tmp_path, {"hinge": [3.0, float("nan"), float("inf")]})
    assert [setting.values for setting in compared(tmp_path).settings] == [[3.0]]


def test_fewer_runs_can_be_compared_by_a_setting(tmp_path: Path) -> None:
    sweep(tmp_path, {"hinge": [3.0, 3.1, 3.3]})
    plant(tmp_path / "other", loss="minimax", about={"samples": 5})
    assert main(["compare", str(tmp_path), "--where", "loss=hinge"]) == 0
    assert main(["compare", str(tmp_path), "--where", "trainer.seed=1,2"]) == 0


def test_scores_that_evaluate_wrote_stand_in_for_a_runs_own(tmp_path: Path) -> None:
    sweep(tmp_path / "runs", {"hinge": [3.0, 3.1, 3.3]})
    other = plant(tmp_path / "runs/other", loss="minimax", about={"samples": 5})
    entry = json.loads((other / "summary.json").read_text())["metrics"][FD]
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({"what": str(other), "metrics": {FD: entry | {"samples": 1000, "value": 0.25}}}))
    comparison = compared(tmp_path / "runs", file)
    assert comparison.settings[0].values == [0.25]


# -- equal images, equal seconds ---------------------------------------------------------------------------------------


def test_equal_images_take_the_scores_seen_then(tmp_path: Path) -> None:
    plant(tmp_path / "slow", loss="hinge", curve={100: 4, 200: 3, 300: 2, 400: 1})
    plant(tmp_path / "quick", loss="minimax", curve={100: 2, 200: 2.5, 400: 5})
    at = {n: compared(tmp_path, at=At("images", n)) for n in (100, 250, 300, 400)}
    assert [s.name for s in at[100].settings] == ["loss=minimax", "loss=hinge"]
    assert at[250].at == at[300].at == At("images", 200), "the most at which both were scored"
    assert [s.values for s in at[400].settings] == [[1], [5]]
    assert all(reading.provenance["selection"] for reading in at[400].readings)
    assert compared(tmp_path, at=At("images")).at == At("images", 400)


def test_equal_seconds_take_the_last_score_by_then(tmp_path: Path) -> None:
    plant(tmp_path / "slow", loss="hinge", seconds=40.0, curve={100: 4, 200: 3, 300: 2, 400: 1})
    plant(tmp_path / "quick", loss="minimax", seconds=10.0, curve={100: 5, 200: 4, 300: 3, 400: 2})
    comparison = compared(tmp_path, at=At("seconds", 12))
    assert [(s.name, s.values) for s in comparison.settings] == [("loss=minimax", [2]), ("loss=hinge", [4])]
    assert compared(tmp_path, at=At("seconds")).at == At("seconds", 10.0)
    early = compared(tmp_path, at=At("seconds", 5))
    assert [s.values for s in early.settings] == [[4], []]
    assert "1 run was not scored within 5 s: left out" in early.notes


def test_ends_after_unequal_images_are_compared_at_equal_ones(tmp_path: Path) -> None:
    plant(tmp_path / "a", loss="hinge", about={"images": 300}, curve={100: 4, 200: 3, 300: 2})
    plant(tmp_path / "b", loss="minimax")
    comparison = compared(tmp_path)
    assert comparison.at == At("images", 300)
    assert any("unequal" in note for note in comparison.notes)


def test_a_run_that_goes_on_does_not_draw_finished_ones_back(tmp_path: Path) -> None:
    plant(tmp_path / "a", loss="hinge", about={"images": 300}, curve={100: 4, 200: 3, 300: 2})
    plant(tmp_path / "b", loss="minimax")
    plant(tmp_path / "c", loss="wasserstein", status="interrupted", curve={100: 1})
    with RunDirectory(tmp_path / "c")._lock:
        comparison = compared(tmp_path)
    assert comparison.at == At("images", 300)
    assert [s.values for s in comparison.settings] == [[2], [2], []]


def test_ends_within_a_batch_are_the_same_end_and_points_are_matched_by_what_was_due(tmp_path: Path) -> None:
    plant(tmp_path / "a", loss="hinge", about={"images": 448}, curve={128: 4, 256: 3}, trainer__batch_size=64)
    plant(tmp_path / "b", loss="minimax", curve={100: 5, 200: 6}, trainer__batch_size=10)
    assert compared(tmp_path).at == At("end")
    comparison = compared(tmp_path, at=At("images"))
    assert comparison.at == At("images", 200)
    assert [s.values for s in comparison.settings] == [[3], [6]]


def test_scores_that_somebody_asked_for_are_ranked_after_unequal_training(tmp_path: Path) -> None:
    files = []
    for images in (300, 400):
        run = plant(tmp_path / str(images), loss=f"loss{images}")
        files.append(tmp_path / f"{images}.json")
        score = {"fid/train": {"value": images / 100, **provenance(images=images)}}
        files[-1].write_text(json.dumps({"what": str(run), "metrics": score}))
    comparison = compared(*files, metric="fid")
    assert [s.values for s in comparison.settings] == [[3], [4]]
    assert comparison.notes == ["the scores were taken after unequal training, 300 to 400 images"]
    twice = tmp_path / "twice.json"
    twice.write_text(files[0].read_text())
    with pytest.raises(ValueError, match="give one of them"):
        find([*files, twice])


def test_a_run_whose_lock_may_not_be_asked_for_is_taken_at_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plant(tmp_path / "a")
    (run / ".lock").touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert RunDirectory(run).status() == "finished"


def test_without_a_common_number_of_images_it_says_why(tmp_path: Path) -> None:
    plant(tmp_path / "a", loss="hinge", curve={150: 4}, evaluation__every=150)
    plant(tmp_path / "b", loss="minimax", curve={100: 4}, evaluation__every=100)
    with pytest.raises(ValueError, match=r"at which all runs were scored: evaluation\.every=100,150"):
        compared(tmp_path, at=At("images"))


@pytest.mark.parametrize("text", ["epochs=3", "images=", "images=-1", "seconds=soon", "seconds=inf", "images=nan"])
def test_a_moment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--at"):
        parse_at(text)


# -- runs that are not whole -------------------------------------------------------------------------------------------


def test_runs_that_still_go_on_or_failed_are_told_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path, {"hinge": [3.0, 3.1, 3.3], "minimax": [1.0, 1.1, 1.2]})
    going = plant(tmp_path / "going", seed=7, status="running")
    plant(tmp_path / "killed", seed=8, status="running")
    plant(tmp_path / "failed", seed=9, status="failed", error="RuntimeError: a part's own trouble")
    directory = RunDirectory(going)
    directory.lock()
    try:
        assert main(["compare", str(tmp_path)]) == 0
        # at equal images, a run that goes on is there
        assert [len(s.values) for s in compared(tmp_path, at=At("images")).settings if s.name == "loss=hinge"] == [4]
    finally:
        directory.release()
    out = capsys.readouterr().out
    assert "3 of 6" in out
    assert f"running  {going}" in out
    assert f"killed  {tmp_path / 'killed'}" in out
    assert "RuntimeError: a part's own trouble" in out


def test_half_written_lines_and_files_are_passed_over(tmp_path: Path) -> None:
    run = plant(tmp_path / "a")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"images": 500, "selection/fd/mnist')
    assert [reading.images for reading in compared(tmp_path, at=At("images")).readings] == [400]
    broken = plant(tmp_path / "b", loss="minimax")
    (broken / "summary.json").write_text('{"status": "fin')
    (broken / "config.yaml").write_text("a: [")
    assert [run.status for run in compared(tmp_path).runs] == ["finished", "not started"]


def test_what_somebody_mangled_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path, {"hinge": [3.0, 3.1, 3.3]})
    for i, content in enumerate(
        (
            {"metrics": [1], "best": 3, "health": "a", "images": "b"},
            {"metrics": {"fd": 1}, "seconds": None, "selection": 4},
        )
    ):
        run = plant(tmp_path / f"mangled-{i}", seed=7 + i)
        (run / "summary.json").write_text(json.dumps(content))
        (run / "metrics.jsonl").write_bytes(b'\xff\xfe\n[3]\n{"images": "x"}\n{"images": 5, "seconds": "y"}\n')
    assert main(["compare", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    assert "3 of 5" in capsys.readouterr().out


def test_records_with_numbers_that_are_none_are_passed_over(tmp_path: Path) -> None:
    plant(tmp_path / "a", curve={100: None, 200: 3.0})  # type: ignore[dict-item]
    assert [reading.images for reading in compared(tmp_path, at=At("images")).readings] == [200]


def test_one_run_only_is_a_table_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(plant(tmp_path / "a"))]) == 0
    assert "the only one" in capsys.readouterr().out


def test_runs_without_scores_are_listed_unranked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = plant(tmp_path / "a")
    content = json.loads((run / "summary.json").read_text()) | {"metrics": {}, "best": None, "selection": {}}
    (run / "summary.json").write_text(json.dumps(content))
    (run / "metrics.jsonl").unlink()
    assert main(["compare", str(run), "--html", str(tmp_path / "page.html")]) == 0
    assert "without scores" in capsys.readouterr().out


BAD: dict[str, tuple[list[str], str]] = {
    "missing": (["nowhere"], "nowhere: there is neither a run nor a folder of runs"),
    "no runs": (["empty"], "empty: there is no run in it"),
    "no paths": ([], "arguments are required"),
    "metric": (["runs", "--metric", "fdd"], "they have fd, coverage"),
    "no direction": (["odd"], "neither better nor worse"),
    "where": (["runs", "--where", "loss"], "give key=value"),
    "where key": (["runs", "--where", "losss=hinge"], "no run has a setting losss"),
    "where value": (["runs", "--where", "loss=wgan"], "they have hinge"),
    "at": (["runs", "--at", "epochs=3"], "give images=N or seconds=S"),
    "html folder": (["runs", "--html", "nowhere/page.html"], "there is no folder nowhere"),
    "html is a folder": (["runs", "--html", "empty"], "this is a folder"),
    "json in a run": (["runs", "--json", "runs/hinge-0/a.json"], "is a run, and stays as it is"),
    "no json of evaluate": (["notes.json"], "no file of gan-lab evaluate"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep(Path("runs"), {"hinge": [1.0, 1.1]})
    plant(Path("odd/a"), about={"better": None})
    Path("empty").mkdir()
    Path("notes.json").write_text("[]")
    before = sorted(Path().rglob("*"))
    words, message = BAD[case]
    assert main(["compare", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert sorted(Path().rglob("*")) == before


# -- JSON, speed, and a sweep that was really trained ------------------------------------------------------------------


def test_json_holds_every_value(tmp_path: Path) -> None:
    sweep(tmp_path / "runs", {"hinge": [3.0, 3.1, 3.3], "minimax": [1.0, 1.1, 1.2]})
    assert main(["compare", str(tmp_path / "runs"), "--json", str(tmp_path / "a.json")]) == 0
    content = json.loads((tmp_path / "a.json").read_text())
    first = content["settings"][0]
    assert (content["metric"], content["better"]) == ("fd", "lower")
    assert (first["settings"], first["verdict"]) == ({"loss.name": "minimax"}, "best")
    assert [run["value"] for run in first["runs"]] == [1.0, 1.1, 1.2]
    assert first["interval"] == [1.0, 1.2]
    assert content["provenance"]["samples"] == 1000


@pytest.mark.slow
def test_a_real_sweep_with_a_job_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "train", "-m", "experiment=ring", "trainer.images=512", "trainer.batch_size=64", "generator.width=8",
        "discriminator.width=8", "evaluation.samples=64", "evaluation.every=256", "tracking.samples_every=256",
        "loss=hinge,minimax", "trainer.seed=1,2,3", "sweep_name=s",
    ]  # fmt: skip
    assert main(words) == 0
    os.remove(next(Path("sweeps/s").glob("*/summary.json")))  # as if it had been killed early
    capsys.readouterr()
    assert main(["compare", "sweeps/s", "--html", "page.html"]) == 0
    out = capsys.readouterr().out
    assert "6 runs of 2 settings, by modes (higher is better) after 512 images, of 64 samples" in out
    assert "2 of 3" in out
    assert "not started" in out
    assert main(["compare", "sweeps/s", "--at", "images=300"]) == 0
    assert "after 256 images, as seen while training, of 5,000 samples" in capsys.readouterr().out
