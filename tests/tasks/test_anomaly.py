"""f-AnoGAN and GANomaly: their objectives in closed form, stages, measures against other libraries, and `score`."""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from gan_lab import registry
from gan_lab.cli import main
from gan_lab.core.loop import play, train
from gan_lab.datasets.one_vs_rest import OneVsRest
from gan_lab.datasets.store import Store
from gan_lab.discriminators.dcgan import DCGANDiscriminator
from gan_lab.metrics.anomaly import AveragePrecision, NeighbourBar, NormalScore, PCABar, PixelAUROC, ScoreAUROC
from gan_lab.metrics.inputs import MetricInputs
from gan_lab.run.assembly import Assembly, assemble
from gan_lab.tasks.contract import joined
from gan_lab.tasks.typical import Typical
from tests.helpers import compose
from tests.tasks.labelled import ANOMALY, GANOMALY
from tests.tasks.small import changed, passed, phase_of, task_of, weights
from tests.tasks.toys import QUICK, ROWWISE

registry.load()


SIZE = "dataset.image_size=16"
TASKS = {"fanogan": ANOMALY, "ganomaly": GANOMALY}


@functools.cache
def base(task: str) -> DictConfig:
    words = ["evaluation.metrics=[]", "evaluation.every=0", "trainer.images=32", "loss=least_squares"]
    return compose(*QUICK, *TASKS[task], SIZE, "encoder.normalization=none", *ROWWISE, *words)


def build(task: str, *words: str) -> Assembly:
    return assemble(changed(base(task), words))


# -- what they minimize ------------------------------------------------------------------------------------------------


def test_the_encoder_minimizes_the_papers_residuals_and_its_score_is_the_same_expression() -> None:
    """Eq. 5 by hand: the mean square of pixels, and kappa times that of the discriminator's features."""
    built = build("fanogan", "task.kappa=3")
    game, task, nets = built.game, task_of(built), built.game.nets
    train(game, 16)
    before = weights(nets)
    forward = passed(game, "encoder")
    x = forward.picture
    made = nets["generator"](nets["encoder"](x).flatten(1), None)
    f = [nets["discriminator"](pictures).features[-1] for pictures in (x, made)]
    image, feature = (x - made).square().mean((1, 2, 3)), (f[0] - f[1]).square().mean(1)
    found = task.detect(nets.eval(), x)
    torch.testing.assert_close(found["score"], (image + 3 * feature).detach())
    torch.testing.assert_close(found["map"], (x - made).abs().mean(1).detach())
    seen = play(game, phase_of(game, "encoder"))
    assert float(seen["image"][0]) == pytest.approx(image.mean().item(), rel=1e-5)
    assert float(seen["feature"][0]) == pytest.approx(feature.mean().item(), rel=1e-5)
    moved = {name.split(".")[0] for name, value in nets.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"encoder"}


def test_in_the_first_stage_the_encoder_rests_and_in_the_second_the_gan_does() -> None:
    built = build("fanogan", "regularizer=[gradient_penalty,r1]", "regularizer.r1.every=2", "loss=wasserstein")
    game = built.game
    stages = []
    for images in (16, 32):
        before = weights(game.nets)
        train(game, images)
        stages.append({name for name, value in game.nets.state_dict().items() if not torch.equal(value, before[name])})
    assert {name.split(".")[0] for name in stages[0]} == {"generator", "discriminator"}
    assert {name.split(".")[0] for name in stages[1]} == {"encoder"}


def test_the_generator_of_ganomaly_minimizes_the_papers_objective() -> None:
    """Eq. 1 to 4 by hand."""
    built = build("ganomaly", "task.image_weight=7", "task.code_weight=2", "task.feature_weight=3")
    game, task, nets = built.game, task_of(built), built.game.nets
    forward = passed(game, "generator")
    x = forward.picture
    code = nets["encoder"](x).flatten(1)
    made = nets["decoder"](code, None)
    again = nets["encoder_again"](made).flatten(1)
    f = [nets["discriminator"](pictures).features[-1] for pictures in (x, made)]
    values = {
        "image": (x - made).abs().mean(),
        "code": (code - again).square().mean(),
        "feature": (f[0] - f[1]).square().mean(),
    }
    torch.testing.assert_close(task.detect(nets.eval(), x)["score"], (code - again).abs().mean(1).detach())
    objective = 7 * values["image"] + 2 * values["code"] + 3 * values["feature"]
    for net in ("encoder", "decoder", "encoder_again"):
        nets[net].requires_grad_(True)
    seen = play(game, phase_of(game, "generator"))
    for name, value in values.items():
        assert float(seen[name][0]) == pytest.approx(value.item(), rel=1e-5), name
    assert {"image", "code", "feature"} == phase_of(game, "generator").terms.keys()
    assert objective.isfinite()


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wasserstein", "relativistic"])
@pytest.mark.parametrize("discriminator", ["dcgan", "resnet"])
def test_every_loss_and_discriminator_with_features_trains_them(task: str, loss: str, discriminator: str) -> None:
    words = [f"loss={loss}", f"discriminator={discriminator}", "discriminator.width=4", "trainer.images=32"]
    game = build(task, *words).game
    train(game, 32)
    assert all(value.isfinite().all() for value in game.nets.state_dict().values())


def test_the_energy_is_that_of_a_gaussian_of_vectors_and_errors() -> None:
    """By hand, with the moments of all rows: Mahalanobis' distance and errors in units of their usual size."""
    random = torch.Generator().manual_seed(0)
    vectors = torch.randn(500, 3, generator=random) @ torch.randn(3, 3, generator=random)
    errors = torch.rand(500, 1, 4, 4, generator=random)
    typical = Typical(3, (1, 4, 4))
    runtime = SimpleNamespace(average=lambda values: None)
    typical.after_step(SimpleNamespace(vector=vectors, error=errors, game=SimpleNamespace(runtime=runtime)))
    covariance = np.cov(vectors.T.double().numpy(), bias=True)
    covariance += 1e-3 * covariance.diagonal().mean() * np.eye(3)
    gap = (vectors - vectors.mean(0)).double().numpy()
    distance = np.einsum("bi,ij,bj->b", gap, np.linalg.inv(covariance), gap) / 3
    normed = (errors.double() ** 2 / ((errors.double() ** 2).mean(0) + 1e-3)).mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(typical.energy(vectors, errors).numpy(), distance + normed, rtol=1e-3)
    assert typical.energy(vectors, errors).mean() == pytest.approx(2, abs=0.06)
    assert typical.energy(vectors + 50, errors).mean() > typical.energy(vectors, errors).mean() + 10


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_run_may_score_by_its_energy_and_what_it_learnt_is_in_the_state(task: str) -> None:
    built = build(task, "task.score=energy")
    train(built.game, 32)
    data = OneVsRest(source="toy_labelled_16", image_size=16).load("test")
    found = joined(task_of(built).examples(built.game.nets.eval(), 30, 0, data))
    assert torch.equal(found["score"], found["energy"])
    assert not torch.equal(found["score"], found["paper"])
    other = build(task, "task.score=energy")
    other.game.load_state_dict(built.game.state_dict())
    again = joined(task_of(other).examples(other.game.nets.eval(), 30, 0, data))
    assert torch.equal(found["energy"], again["energy"])


# -- examples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", sorted(TASKS))
def test_each_held_out_row_comes_once_and_knows_whether_it_is_normal(task: str) -> None:
    built = build(task)
    data = OneVsRest(source="toy_labelled_16", image_size=16).load("test")
    found = joined(task_of(built).examples(built.game.nets.eval(), 100, 0, data))
    assert len(found["score"]) == len(data) == 30
    assert int(found["anomaly"].sum()) == 20
    pictures = {tuple(row.flatten().tolist()) for row in found["sample"]}
    assert len(pictures) == 30


def test_only_normal_pictures_are_trained_on() -> None:
    data = OneVsRest(source="toy_labelled_16", normal=1, image_size=16)
    whole, kept = data.source.load("train"), data.load("train")
    assert len(kept) == 20
    assert not kept.columns["anomaly"].any()
    assert torch.equal(kept.columns["sample"], whole.columns["sample"][whole.columns["label"] == 1])
    assert (
        data.load("test").columns["anomaly"].bool().tolist()
        == (data.source.load("test").columns["label"] != 1).tolist()
    )


# -- measures ----------------------------------------------------------------------------------------------------------


def inputs(score: Tensor, anomaly: Tensor, train: Store | None = None, sample: Tensor | None = None) -> MetricInputs:
    sample = torch.zeros(len(score), 1, 2, 2) if sample is None else sample
    return MetricInputs(sample, {"score": score, "anomaly": anomaly}, train=lambda: train)  # type: ignore[arg-type, return-value]


def test_the_areas_are_those_of_scikit_learn_also_with_ties_and_any_scale() -> None:
    random = torch.Generator().manual_seed(0)
    anomaly = torch.rand(200, generator=random) < 0.3
    score = ((torch.randn(200, generator=random) + anomaly) * 4).round() * 100
    seen = inputs(score, anomaly.long())
    assert ScoreAUROC()(seen) == pytest.approx(roc_auc_score(anomaly, score), abs=1e-6)
    assert AveragePrecision()(seen) == pytest.approx(average_precision_score(anomaly, score), abs=1e-6)
    normal = NormalScore()(seen)
    assert normal is not None
    assert normal["value"] == pytest.approx(score[~anomaly].double().mean().item())


def test_without_both_kinds_there_is_no_area() -> None:
    assert ScoreAUROC()(inputs(torch.rand(4), torch.zeros(4, dtype=torch.long))) is None
    assert NormalScore()(inputs(torch.rand(4), torch.ones(4, dtype=torch.long))) is None
    unknown = torch.tensor([0.5, float("nan")])
    assert (
        ScoreAUROC()(inputs(unknown, torch.tensor([0, 1])))
        is NormalScore()(inputs(unknown, torch.tensor([1, 0])))
        is None
    )


def test_the_pixels_area_is_over_all_pixels() -> None:
    mask = torch.zeros(3, 4, 4, dtype=torch.uint8)
    mask[0, :2] = 1
    heat = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.5 * mask
    seen = MetricInputs(torch.zeros(3, 1, 4, 4), {"map": heat, "mask": mask})
    assert PixelAUROC()(seen) == pytest.approx(roc_auc_score(mask.flatten(), heat.flatten()), abs=1e-6)


def test_the_bars_are_those_of_other_libraries() -> None:
    random = np.random.default_rng(0)
    known = random.integers(0, 256, (80, 8, 8, 1), dtype=np.uint8)
    queries = torch.from_numpy(random.random((40, 1, 8, 8), dtype=np.float32)) * 2 - 1
    anomaly = torch.arange(40) % 2
    seen = inputs(torch.zeros(40), anomaly, Store({"sample": torch.from_numpy(known)}), queries)
    rows = known.reshape(80, -1) / 127.5 - 1
    pca = PCA(32, svd_solver="full").fit(rows)
    flat = queries.flatten(1).double().numpy()
    gap = ((flat - pca.inverse_transform(pca.transform(flat))) ** 2).sum(1)
    nearest = ((flat[:, None] - rows[None]) ** 2).sum(2).min(1)
    assert PCABar()(seen) == pytest.approx(roc_auc_score(anomaly, gap), abs=1e-6)
    assert NeighbourBar()(seen) == pytest.approx(roc_auc_score(anomaly, nearest), abs=1e-3)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "words", "why"),
    [
        ("fanogan", ["task.gan_images=32"], "the encoder would begin after the end"),
        ("fanogan", ["generator=unet", "generator.halvings=2"], "input_shape"),
        ("ganomaly", ["dataset=toy_domains"], "wants pictures, in a column sample"),
        ("fanogan", ["dataset.normal=3"], "classes of toy_labelled_16 are 0 to 2"),
        ("fanogan", ["dataset.source=mixture"], "dataset.source=mixture"),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_refused(task: str, words: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        build(task, *words)


def test_a_discriminator_without_features_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DCGANDiscriminator, "forward", lambda self, picture, label=None: picture.mean((1, 2, 3)))
    with pytest.raises(ValueError, match="returns no features"):
        build("fanogan")


# -- a user's own pictures ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "run"
    words = [*QUICK, *ANOMALY, SIZE, "trainer.images=32", "evaluation.metrics=[]", f"run_dir={path}"]
    assert main(["train", *words]) == 0
    return path


def write_pictures(folder: Path, num: int = 5) -> None:
    folder.mkdir()
    for number in range(num):
        Image.fromarray(np.full((20, 24), 40 * number, np.uint8)).save(folder / f"{number}.png")


def test_pictures_are_scored_and_what_cannot_be_read_is_named(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "in")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    capfd.readouterr()
    words = ["--csv", str(tmp_path / "scores.csv"), "--maps", str(tmp_path / "maps"), "--device", "cpu"]
    assert main(["score", str(run), str(tmp_path / "in"), *words]) == 2
    seen = capfd.readouterr()
    assert "broken.png: cannot identify" in seen.err
    assert "1 of 6 pictures could not be read" in seen.err
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [Path(row["file"]).name for row in rows] == [f"{number}.png" for number in range(5)]
    assert all(float(row["score"]) > 0 and 0 <= float(row["above_normal"]) <= 1 for row in rows)
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [f"{number}.png" for number in range(5)]
    assert Image.open(tmp_path / "maps" / "0.png").size == (16, 16)
    capfd.readouterr()
    assert main(["score", str(run), str(tmp_path / "in"), "--maps", str(tmp_path / "maps")]) == 2
    assert "nothing is overwritten; give another --maps" in capfd.readouterr().err
    assert main(["score", str(run), str(tmp_path / "in" / "1.png"), "--csv", str(tmp_path / "one.csv")]) == 0
    assert (tmp_path / "one.csv").read_text().splitlines()[1].split(",")[1] == rows[1]["score"], "alone as among others"


def test_a_trained_run_knows_what_is_typical(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*QUICK, *GANOMALY, SIZE, "task.score=energy", "trainer.images=16", "evaluation.metrics=[energy_auroc]",
             "evaluation.every=0", "evaluation.samples=30"]  # fmt: skip
    assert main(["train", *words, f"run_dir={tmp_path}/run"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert main(["evaluate", f"{tmp_path}/run", "--json", f"{tmp_path}/again.json", "--metrics", "energy_auroc"]) == 0
    value = summary["metrics"]["energy_auroc"]["value"]
    assert 0 <= value <= 1
    assert f"{value}" in (tmp_path / "again.json").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["in", "--csv", "missing/scores.csv"], "there is no folder missing"),
        (["empty"], "holds no pictures"),
        (["in", "--maps", "empty/../in/0.png"], "is a file; give a folder"),
        (["in", "--csv", "RUN/scores.csv"], "is a run, and stays as it is"),
    ],
)
def test_what_score_refuses(
    words: list[str], why: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    capfd.readouterr()
    assert main(["score", str(run), *(word.replace("RUN", str(run)) for word in words)]) == 2
    error = capfd.readouterr().err
    assert why in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "in"]


def test_a_run_of_another_task_scores_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*QUICK, "experiment=none", "dataset=toy_deep", "generator=dcgan", "generator.width=4",
             "discriminator=dcgan", "discriminator.width=4", "trainer.images=8", "evaluation.metrics=[]"]  # fmt: skip
    assert main(["train", *words, f"run_dir={tmp_path}/run"]) == 0
    write_pictures(tmp_path / "in")
    capfd.readouterr()
    assert main(["score", f"{tmp_path}/run", f"{tmp_path}/in"]) == 2
    assert "which scores no pictures; give one of task=fanogan" in capfd.readouterr().err


def test_a_run_is_scored_by_what_its_data_know(run: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--metrics", "auroc,average_precision,normal_score", "--json", str(tmp_path / "scores.json")]
    assert main(["evaluate", str(run), "--samples", "30", *words]) == 0
    found = json.loads((tmp_path / "scores.json").read_text())
    assert {"auroc", "average_precision", "normal_score"} <= set(json.dumps(found).replace('"', " ").split())
