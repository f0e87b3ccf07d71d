"""What every task promises, whichever it is: it trains, goes on, and is scored, sampled, compared and shown."""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import gan_lab
from gan_lab import registry
from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.core.runtime import inference
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import save_image
from gan_lab.playing.playground import Playground
from gan_lab.run.assembly import assemble
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks import contract
from gan_lab.tasks.contract import joined
from tests.core.toys import equal
from tests.helpers import compose
from tests.tasks.labelled import ADAPTATION, ADDA, ANOMALY, ATTACK, GANOMALY, SEGMENTATION
from tests.tasks.toys import (
    AUTOENCODER,
    CONTRASTIVE,
    PATCHES,
    QUICK,
    SCORED,
    TEXT,
    TRANSLATION,
    UNPAIRED,
)

registry.load()
IMAGES = 32
FIRST_STAGE = Path(tempfile.gettempdir(), "gan_lab-tests", f"{os.getpid()}", "autoencoder")
LATENT = [
    "task=latent_generation", f"task.autoencoder={FIRST_STAGE}", "generator=mlp", "generator.width=8",
    "discriminator=mlp", "discriminator.width=8", "dataset=mnist5k",
]  # fmt: skip
# The smallest run of each task. A new task of the package needs a row.
SMALLEST = {
    "autoencoding": [
        *AUTOENCODER, "dataset=toy_deep", f"task.discriminator_start={IMAGES // 4}", f"task.head_start={IMAGES // 8}",
        *SCORED, f"evaluation.every={IMAGES // 2}",
    ],
    "latent_generation": [*LATENT, "evaluation.metrics=[]"],
    "generation": [
        "task=generation", "generator=dcgan", "generator.width=4", *PATCHES, "dataset=toy_deep",
        "evaluation.metrics=[]",
    ],
    "contrastive": [*CONTRASTIVE, *SCORED, f"evaluation.every={IMAGES // 2}", "evaluation.metrics=[psnr]"],
    "text": [*TEXT, f"task.likelihood_images={IMAGES // 2}", *SCORED, f"evaluation.every={IMAGES // 2}"],
    "translation": [*TRANSLATION, *SCORED, f"evaluation.every={IMAGES // 2}", "evaluation.metrics=[psnr,ssim]"],
    "unpaired": [
        *UNPAIRED, *SCORED, f"evaluation.every={IMAGES // 2}", "evaluation.metrics=[psnr,psnr_b_to_a]",
        "task.pool_size=5", "dataset.num_of_b=26",
    ],
    "adaptation": [*ADAPTATION, *SCORED, f"evaluation.every={IMAGES // 2}"],
    "adda": [*ADDA, *SCORED, f"evaluation.every={IMAGES // 2}"],
    "attack": [*ATTACK, *SCORED, f"evaluation.every={IMAGES // 2}"],
    "fanogan": [*ANOMALY, "task.gan_images=8", *SCORED, "dataset.image_size=16", f"evaluation.every={IMAGES // 2}"],
    "segmentation": [
        *SEGMENTATION, *SCORED, "task.supervised_images=8", "dataset.labelled=0.5", f"evaluation.every={IMAGES // 2}",
    ],
    "ganomaly": [*GANOMALY, *SCORED, "dataset.image_size=16", f"evaluation.every={IMAGES // 2}"],
}  # fmt: skip
# A task of noise is scored by measures that come with data or an extractor: the mixture has both.
SCORED_BY = {
    "latent_generation": [*LATENT, *SCORED, "evaluation.metrics=[class_histogram]", f"evaluation.every={IMAGES // 2}"],
    "generation": [
        "task=generation", "generator=mlp", "discriminator=mlp", "generator.width=4", "discriminator.width=4",
        "dataset=mixture", "dataset.samples=64", *SCORED, f"evaluation.every={IMAGES // 2}",
    ],
}  # fmt: skip
WORDS = {task: [*QUICK, *words, f"trainer.images={IMAGES}", f"trainer.checkpoint_every={IMAGES // 2}"]
         for task, words in SMALLEST.items()}  # fmt: skip
SCORED_WORDS = {task: [*QUICK, *SCORED_BY.get(task, SMALLEST[task]), f"trainer.images={IMAGES}"] for task in SMALLEST}


@dataclass(frozen=True)
class Done:
    """A task's runs: `whole` and, scored, those of two seeds."""

    task: str
    whole: Path
    seeds: tuple[Path, Path]


@pytest.fixture(scope="module")
def first_stage() -> Iterator[None]:
    """The autoencoder whose latents the second stage makes."""
    first = [*QUICK, *AUTOENCODER, "dataset=mnist5k", "trainer.images=32", "evaluation.metrics=[]"]
    assert main(["train", *first, f"run_dir={FIRST_STAGE}"]) == 0
    yield
    shutil.rmtree(FIRST_STAGE.parent)


@pytest.fixture(scope="module", params=sorted(SMALLEST))
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Each task's smallest runs, made once."""
    task, folder = request.param, tmp_path_factory.mktemp(request.param)
    if task == "latent_generation":
        request.getfixturevalue("first_stage")
    found = Done(task, folder / "whole", (folder / "seed0", folder / "seed1"))
    assert main(["train", *WORDS[task], f"run_dir={found.whole}"]) == 0
    if task in SCORED_BY:
        assert main(["train", *SCORED_WORDS[task], f"run_dir={found.seeds[0]}"]) == 0
    else:
        shutil.copytree(found.whole, found.seeds[0])
    assert main(["train", *SCORED_WORDS[task], f"run_dir={found.seeds[1]}", "trainer.seed=1"]) == 0
    return found


def last_state(run: Path) -> dict[str, object]:
    state = checkpoint.load_newest(run / "checkpoints")
    assert state is not None
    game: dict[str, object] = state["game"]
    return game


def test_every_task_of_the_package_is_tested_here() -> None:
    own = {name for name, cls in registry.tasks.classes.items() if cls.__module__.startswith("gan_lab.")}
    assert own == SMALLEST.keys()


def test_losses_are_finite_and_every_player_moves(done: Done) -> None:
    assembly = assemble(compose(*WORDS[done.task]))
    before = copy.deepcopy(assembly.game.nets.state_dict())
    after = TrainedRun(done.whole, "cpu").nets.state_dict() | last_state(done.whole)["parts"]["task/nets"]  # type: ignore[index]
    for player, nets in assembly.game.task.players.items():
        weights = [name for name in before if name.split(".")[0] in nets and name.endswith("weight")]
        assert weights, player
        assert not any(torch.equal(before[name], after[name]) for name in weights), player
    records = [json.loads(line) for line in (done.whole / "metrics.jsonl").read_text().splitlines()]
    values = [value for record in records for value in record.values()]
    assert torch.tensor(values, dtype=torch.float64).isfinite().all()
    phases = {phase.name for phase in assembly.game.phases}
    assert phases <= {name.split("/")[0] for record in records for name in record}


def test_a_run_goes_on_to_the_same_bits(done: Done, tmp_path: Path) -> None:
    words = [*WORDS[done.task], f"run_dir={tmp_path / 'run'}"]
    assert main(["train", *words, f"trainer.images={IMAGES // 2}"]) == 0
    assert last_state(tmp_path / "run")["images"] == IMAGES // 2
    assert main(["train", *words]) == 0
    assert equal(last_state(tmp_path / "run"), last_state(done.whole))


def test_it_is_scored_at_its_end_and_again(done: Done, tmp_path: Path) -> None:
    run, file = done.seeds[0], tmp_path / "scores.json"
    scores = json.loads((run / "summary.json").read_text())["metrics"]
    assert scores
    assert all(np.isfinite(entry["value"]) and entry["samples"] <= 16 for entry in scores.values())
    assert main(["evaluate", str(run), "--device", "cpu", "--json", str(file)]) == 0
    again = json.loads(file.read_text())["metrics"]
    assert scores.keys() <= again.keys()
    for name, entry in scores.items():
        assert again[name]["value"] == pytest.approx(entry["value"], rel=1e-9), name
        rounded = ("value", "values", "standard_error", "deviation_over_noise")
        assert {k: v for k, v in again[name].items() if k not in rounded} == {
            k: v for k, v in entry.items() if k not in rounded
        }, name
    best = json.loads((run / "summary.json").read_text())["best"]
    assert best["metric"] in scores


@pytest.mark.parametrize("kind", ["sheet", "arrays"])
def test_a_seed_gives_the_same_bytes(kind: str, done: Done, tmp_path: Path) -> None:
    suffix = sheet_of(done.whole).suffix if kind == "sheet" else ".npz"
    files = [tmp_path / f"{name}{suffix}" for name in ("a", "b", "other")]
    for file, seed in zip(files, (3, 3, 4), strict=True):
        assert main(["sample", str(done.whole), "--num", "5", "--seed", str(seed), "--out", str(file)]) == 0
    a, b, other = (content(file) for file in files)
    assert a == b
    assert a != other


def sheet_of(run: Path) -> Path:
    """The run's last sheet, a picture or lines of text."""
    (sheet,) = (run / "samples").glob(f"{IMAGES}.*")
    return sheet


def content(file: Path) -> bytes:
    """A file's bytes, or an .npz's arrays': the archive holds the time."""
    if file.suffix != ".npz":
        return file.read_bytes()
    arrays = np.load(file)
    assert all(len(arrays[name]) == 5 for name in arrays.files)
    return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files))


def test_seeds_are_compared_and_the_page_shows_the_newest_sheet(done: Done, tmp_path: Path) -> None:
    table, page = tmp_path / "table.json", tmp_path / "page.html"
    words = ["compare", *map(str, done.seeds), "--json", str(table), "--html", str(page)]
    assert main(words) == 0
    compared = json.loads(table.read_text())
    (setting,) = compared["settings"]
    ranked = [json.loads((run / "summary.json").read_text())["best"]["metric"] for run in done.seeds]
    assert {compared["metric"]} == {name.split("/")[0] for name in ranked}
    assert len(setting["runs"]) == 2
    if sheet_of(done.whole).suffix == ".txt":
        first = [sheet_of(run).read_text().splitlines()[0] for run in done.seeds]
        assert any(line in page.read_text() for line in first)
        return
    shown = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page.read_text())
    pictures = [Image.open(io.BytesIO(base64.b64decode(picture))).convert("L") for picture in shown]
    sheets = [Image.open(run / f"samples/{IMAGES}.png").convert("L") for run in done.seeds]
    assert any(alike(sheet, picture) for sheet in sheets for picture in pictures)


def alike(sheet: Image.Image, picture: Image.Image) -> bool:
    """Whether a picture is the sheet, but for its size, its colours, and what packing it has cost."""
    if abs(picture.width / picture.height - sheet.width / sheet.height) > 0.02:
        return False
    gap = np.asarray(sheet.resize(picture.size), float) - np.asarray(picture, float)
    return bool(np.abs(gap).mean() < 6)


def test_examples_are_the_declared_columns_of_so_many_rows(done: Done) -> None:
    trained = TrainedRun(done.whole, "cpu")
    data = trained.data
    rows = {10_000} if data is None else {len(data), sum(data.lengths.values())}  # of the first domain, or of all
    for num in (1, 7, 70):
        examples = trained.examples(num, seed=0)
        (count,) = {len(column) for column in examples.values()}
        assert count in {min(num, most) for most in rows}
        # The bar is made of the other columns, a reconstruction of the data; classes are there where networks use them.
        columns = trained.task.columns - {"bar", "reconstruction"}
        assert columns - {"label"} <= examples.keys() <= columns
    for column in trained.examples(7, seed=0).values():
        assert column.device.type == "cpu"
        assert not column.requires_grad


def test_an_example_is_the_same_however_many_are_made_at_once(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = TrainedRun(done.whole, "cpu")
    many, few, other = (trained.examples(num, seed) for num, seed in ((12, 5), (7, 5), (12, 6)))
    for name in many:
        torch.testing.assert_close(many[name][:7], few[name], msg=name)
        if many[name].is_floating_point() and name != "pixel":  # a few classes may be equal, and the size of all pixels
            assert not torch.allclose(many[name], other[name]), name
    monkeypatch.setattr(contract, "CHUNK", 5)
    if trained.task.needs_data:  # chunks of noise are a part of what a seed means
        with inference(trained.nets, "running") as nets:
            chunks = list(trained.task.examples(nets, 12, 5, trained.data))
        assert [len(chunk["sample"]) for chunk in chunks] == [5, 5, 2]
        again = joined(iter(chunks))
        for name in many:
            torch.testing.assert_close(again[name], many[name], msg=name)


def test_examples_that_ranks_divide_are_together_those_of_one(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = TrainedRun(done.whole, "cpu")
    num = 5 * contract.CHUNK + 3
    if trained.task.needs_data:  # the data are few
        monkeypatch.setattr(contract, "CHUNK", 2)
        num = 11
    with inference(trained.nets, "running") as nets:
        whole = list(trained.task.examples(nets, num, 5, trained.data))
        parts = []
        for rank in range(2):
            with contract.divided(rank, 2) as division:
                parts.append(list(trained.task.examples(nets, num, 5, trained.data)))
            assert division.used
    turns = range(0, len(whole), contract.TOGETHER)
    together = [chunk for start in turns for part in parts for chunk in part[start : start + contract.TOGETHER]]
    assert len(whole) > 2 * contract.TOGETHER
    assert len(together) == len(whole)
    for ours, theirs in zip(together, whole, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(column, theirs[name]) for name, column in ours.items())


def test_an_exported_file_is_an_equal_run(done: Done, tmp_path: Path) -> None:
    """Without the directories of the run and of those that it is built from."""
    file = tmp_path / "model.safetensors"
    assert main(["export", str(done.whole), "--out", str(file), "--device", "cpu"]) == 0
    trained = TrainedRun(done.whole, "cpu")
    away = FIRST_STAGE.with_name("away")
    if done.task == "latent_generation":
        FIRST_STAGE.rename(away)
    try:
        loaded = TrainedRun(file, "cpu")
    finally:
        if away.exists():
            away.rename(FIRST_STAGE)
    assert equal(trained.nets.state_dict(), loaded.nets.state_dict())
    assert (loaded.weights, loaded.images, loaded.columns) == (trained.weights, IMAGES, trained.columns)
    ours, theirs = trained.examples(6, seed=1), loaded.examples(6, seed=1)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(column, theirs[name]) for name, column in ours.items())
    stored = load_file(file)
    assert all(torch.equal(value, stored[f"nets.{name}"]) for name, value in trained.nets.state_dict().items())


NOT_PLAYED = {"autoencoding", "adaptation", "adda", "attack"}  # networks on the run's own data, and no noise


def test_it_can_be_played_with_or_one_line_says_why_not(
    done: Done, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if done.task in NOT_PLAYED:
        capfd.readouterr()
        assert main(["play", str(done.whole), "--device", "cpu"]) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1
        assert "makes nothing of a seed or of a picture of yours" in error
        return
    run = gan_lab.load(done.whole, device="cpu")
    playground = Playground(run, str(done.whole))
    about = playground.about({}).content
    assert json.loads(json.dumps(about)) is not None
    sheet = playground.sheet({"num": "6", "seed": "2"}).content
    shown = run.show(6, seed=2)
    if isinstance(shown.content, str):
        assert sheet["lines"] == shown.content.splitlines()
    else:
        assert (pixels(sheet["picture"]) == shown.content).all()
    assert about["pictures"] == ("/samples" in playground.asked) == run.trained.task.generates
    if about["pictures"]:
        found = playground.samples({"num": "6", "seed": "2"}).content["pictures"]
        assert (np.stack([pixels(one) for one in found]) == unscale(run.sample(6, seed=2)).numpy()).all()
        assert playground.picture({"seed": "2", "index": "5"}).type == "image/png"
    column = run.trained.columns.get("sample") or next(iter(run.trained.columns.values()))
    file = tmp_path / "a.png"
    if playground.given:
        picture = torch.rand(1, *column.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        save_image(unscale(picture)[0].numpy(), file)
    for direction in about["directions"]:
        answer = playground.apply({"direction": direction}, file.read_bytes()).content
        out = tmp_path / f"out-{direction}"
        words = ["apply", str(done.whole), str(file), "--out", str(out), "--device", "cpu"]
        assert main([*words, *(["--direction", direction] if direction else [])]) == 0
        assert base64.b64decode(answer["file"]) == (out / f"a{answer['suffix']}").read_bytes()
    if about["detects"]:
        answer = playground.score({}, file.read_bytes()).content
        words = ["score", str(done.whole), str(file), "--csv", str(tmp_path / "a.csv"), "--device", "cpu"]
        assert main(words) == 0
        _, value, above = (tmp_path / "a.csv").read_text().splitlines()[1].split(",")
        assert answer["score"] == pytest.approx(float(value), rel=1e-5)
        assert answer["above"] == pytest.approx(float(above), abs=1e-4)
        assert sum(about["detects"]["counts"]) == about["detects"]["of"]


def pixels(picture: str) -> np.ndarray:
    """The PNG of an address, as uint8 [H, W, C]."""
    content = base64.b64decode(picture.removeprefix("data:image/png;base64,"))
    found = np.asarray(Image.open(io.BytesIO(content)))
    return found if found.ndim == 3 else found[..., None]


@pytest.mark.slow
def test_onnxruntime_computes_what_torch_does(done: Done, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export")
    trained = TrainedRun(done.whole, "cpu")
    for direction in trained.task.directions or (None,):
        file = tmp_path / f"{direction}.onnx"
        words = ["export", str(done.whole), "--out", str(file), "--device", "cpu"]
        assert main([*words, *(["--direction", direction] if direction else [])]) == 0
        session = onnxruntime.InferenceSession(str(file))
        with inference(trained.nets, trained.batch_norm) as nets, torch.no_grad():
            exported = trained.task.exported(nets, trained.data, direction)
            assert [node.name for node in session.get_inputs()] == [*exported.inputs]
            for rows in (slice(0, 1), slice(3, 5), slice(1, 12)):
                given = {name: column[rows] for name, column in exported.inputs.items()}
                wanted = exported.function(*given.values())
                found = session.run([*exported.outputs], {name: column.numpy() for name, column in given.items()})
                for ours, theirs in zip(wanted if isinstance(wanted, tuple) else (wanted,), found, strict=True):
                    torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-4)
