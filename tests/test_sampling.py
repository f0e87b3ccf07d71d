"""Looking at a trained run: classes, interpolations, nearest training pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_lab.cli import main
from gan_lab.core.runtime import inference
from gan_lab.datasets.store import scale, unscale
from gan_lab.display.pictures import GAP
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.generation import Generation
from gan_lab.tasks.layouts import NEIGHBOURS, SHARES, STEPS, THRESHOLDS, principal_directions, truncated
from tests import toy_data

LAYOUTS = Generation.layouts

TINY = [
    "train", "experiment=none", "generator=mlp", "discriminator=mlp", "generator.width=8", "discriminator.width=8",
    "trainer.images=64", "trainer.batch_size=8", "trainer.device=cpu", "tracking.wandb.mode=disabled",
    "optimizer.generator.learning_rate=0.01",
]  # fmt: skip
PICTURES = ["dataset=toy_pictures", "dataset.image_size=8"]
CLASSES = [*PICTURES, "generator.conditioning=concat", "discriminator.conditioning=projection"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that know classes, that do not, that make points, and whose generator has styles."""
    folder = tmp_path_factory.mktemp("runs")
    for name, words in (("classes", CLASSES), ("plain", PICTURES), ("points", ["dataset=mixture"])):
        assert main([*TINY, *words, f"run_dir={folder / name}"]) == 0
    styles = ["generator=stylegan2", "dataset=toy_pictures", "dataset.image_size=28"]
    assert main([*TINY, *styles, f"run_dir={folder / 'styles'}"]) == 0
    return folder


def cells(sheet: np.ndarray, size: int = 8) -> np.ndarray:
    """The pictures of a grid, [rows, columns, size, size]."""
    rows, columns = ((side - GAP) // (size + GAP) for side in sheet.shape[:2])
    starts = [GAP + i * (size + GAP) for i in range(max(rows, columns))]
    return np.stack([[sheet[y : y + size, x : x + size, 0] for x in starts[:columns]] for y in starts[:rows]])


def generate(run: TrainedRun, z: Tensor, label: Tensor) -> Tensor:
    with inference(run.nets, "running") as nets:
        samples: Tensor = run.task.generate(nets, z, label)
    return samples


def test_chosen_classes_take_turns_and_keep_their_latents(runs: Path) -> None:
    run = TrainedRun(runs / "classes")
    z, _ = run.task.latents(5, seed=3)
    expected = generate(run, z, torch.tensor([1, 0, 1, 0, 1]))
    torch.testing.assert_close(run.examples(5, 3, run.labels("1,0"))["sample"], expected)
    assert not torch.allclose(run.examples(5, 3, run.labels("0"))["sample"], expected)


def test_the_command_writes_one_class(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ones.npz"
    assert main(["sample", str(runs / "classes"), "--label", "1", "--num", "70", "--out", str(out)]) == 0
    run = TrainedRun(runs / "classes")
    expected = unscale(run.examples(70, 0, torch.tensor([1]))["sample"])
    assert np.array_equal(np.load(out)["images"], expected.numpy())


def test_class_names_are_numbers_spelt_out(runs: Path) -> None:
    run = TrainedRun(runs / "classes")
    run.about["class_names"] = ["Trouser", "Ankle boot"]
    assert run.labels("ankle boot, 0").tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"--label shoe: the classes of .* are 0 to 1 \(Trouser, Ankle boot\)"):
        run.labels("shoe")


@pytest.mark.parametrize(
    ("run", "words", "message"),
    [
        ("classes", ["--label", "2"], "--label 2: the classes of"),
        ("classes", ["--label", "0,9"], "--label 9"),
        ("classes", ["--label", "one"], "are 0 to 1"),
        ("plain", ["--label", "1"], "is not told the class; train with generator.conditioning"),
        ("plain", ["--grid", "classes"], "is not told the class"),
        ("points", ["--grid", "interpolation"], "makes points, not pictures"),
        ("classes", ["--grid", "directions", "--num", "17"], "first layer or styles have 8; give --num 8 or less"),
        ("plain", ["--grid", "style-mixing"], "has no styles; these have: stylegan2"),
        ("points", ["--grid", "truncation"], "makes points, not pictures"),
        ("classes", ["--grid", "clases"], "Did you mean classes?"),
        ("classes", ["--grid", "classes", "--out", "a.npz"], "give a .png"),
        ("classes", ["--grid", "classes", "--num", "0"], "--num 0"),
        ("plain", ["--truncation", "0.5"], "no mean style to go towards; these generators have one: stylegan2"),
        ("styles", ["--truncation", "3"], "--truncation 3: it must be at least -2 and at most 2"),
        ("styles", ["--truncation", "nan"], "--truncation nan: it must be at least -2"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    run: str, words: list[str], message: str, runs: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["sample", str(runs / run), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(workdir.iterdir())


def test_truncated_samples_go_towards_the_mean_picture(runs: Path, tmp_path: Path) -> None:
    spreads = []
    for psi in (None, "1", "0.5", "0"):
        out = tmp_path / f"{psi}.npz"
        words = [] if psi is None else ["--truncation", psi]
        assert main(["sample", str(runs / "styles"), "--num", "5", "--out", str(out), *words]) == 0
        spreads.append(np.load(out)["images"].astype(float).std(0).mean())
    assert spreads[0] == spreads[1] > spreads[2] > spreads[3] == 0


def test_data_without_labels_has_no_classes(runs: Path) -> None:
    run = TrainedRun(runs / "classes")
    run.about["num_classes"] = None
    with pytest.raises(ValueError, match="was trained on data without labels"):
        run.labels("1")
    with pytest.raises(ValueError, match="was trained on data without labels"):
        LAYOUTS["classes"](run, 8, 0, None)


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"style-mixing"}))
def test_every_layout_is_written_as_a_picture(layout: str, runs: Path, workdir: Path) -> None:
    assert main(["sample", str(runs / "classes"), "--grid", layout, "--num", "3", "--out", "grid.png"]) == 0
    shape = {
        "interpolation": (3, STEPS), "classes": (2, 3), "neighbours": (3, 1 + NEIGHBOURS), "directions": (3, STEPS),
        "truncation": (1 + len(THRESHOLDS), 3),
    }[layout]  # fmt: skip
    width, height = Image.open("grid.png").size
    extra = GAP if layout == "neighbours" else 0  # two sheets side by side
    assert (height, width) == (shape[0] * (8 + GAP) + GAP, shape[1] * (8 + GAP) + GAP + extra)


def test_an_interpolation_runs_from_one_sample_to_another_on_a_sphere(runs: Path) -> None:
    run = TrainedRun(runs / "classes")
    sheet = LAYOUTS["interpolation"](run, 2, 5, torch.tensor([1])).content
    z, _ = run.task.latents(4, seed=5)
    ends = unscale(generate(run, z, torch.ones(4, dtype=torch.long)))[..., 0].numpy()
    grid = cells(sheet)
    assert np.abs(grid[:, 0].astype(int) - ends[0::2]).max() <= 1
    assert np.abs(grid[:, -1].astype(int) - ends[1::2]).max() <= 1
    # halfway between two latents of one length lies a latent of the same length, by the sum of both
    a, b = z[0] / z[0].norm(), z[1] / z[1].norm()
    middle = (a + b) / (a + b).norm()
    angle = torch.acos(a @ b)
    torch.testing.assert_close((0.5 * angle).sin() / angle.sin() * (a + b), middle)


def test_truncated_latents_are_normal_within_the_threshold_and_kept_where_they_were() -> None:
    z = torch.randn(400, 50)
    for threshold in THRESHOLDS:
        cut = truncated(z, threshold, seed=1)
        within = z.abs() <= threshold
        assert torch.equal(cut[within], z[within])
        assert cut.abs().max() <= threshold
        assert torch.equal(cut, truncated(z, threshold, seed=1))
        # the variance of a normal that is cut at +-t: 1 - 2 t phi(t) / (2 Phi(t) - 1)
        density = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)
        variance = 1 - 2 * threshold * density / math.erf(threshold / math.sqrt(2))
        assert cut.square().mean().item() == pytest.approx(variance, rel=0.04)
    assert z.abs().max() > 1.5


def test_rows_of_a_truncation_begin_with_the_samples_themselves(runs: Path) -> None:
    run = TrainedRun(runs / "classes")
    sheet = LAYOUTS["truncation"](run, 4, 2, torch.tensor([1]))
    z, _ = run.task.latents(4, seed=2)
    for row, latents in zip(cells(sheet.content), [z, *(truncated(z, t, 2) for t in THRESHOLDS)], strict=True):
        expected = unscale(generate(run, latents, torch.ones(4, dtype=torch.long)))[..., 0].numpy()
        assert np.array_equal(row, expected)
    assert "within 1.5, 1, 0.5, 0.25" in sheet.caption


def test_principal_directions_of_a_linear_layer_are_its_singular_vectors() -> None:
    """Of normal latents through W, the components are W's left singular vectors, the directions its right ones."""
    left, _ = torch.linalg.qr(torch.randn(20, 5))
    right, _ = torch.linalg.qr(torch.randn(5, 5))
    weight = left @ torch.diag(torch.tensor([9.0, 6.0, 4.0, 2.0, 1.0])) @ right.T
    z = torch.randn(20_000, 5)
    z = z[:2000] - z[:2000].mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / len(z))).T  # exactly uncorrelated
    steps = principal_directions(z @ weight.T + 3, z, 3)
    cosines = (steps / steps.norm(dim=1, keepdim=True)) @ right
    torch.testing.assert_close(cosines.abs(), torch.eye(5)[:3], atol=1e-3, rtol=0)
    torch.testing.assert_close(steps.norm(dim=1), torch.ones(3), atol=1e-3, rtol=0)  # one standard deviation


def test_a_row_of_directions_moves_one_latent_and_leaves_no_hooks(runs: Path) -> None:
    run = TrainedRun(runs / "classes")
    grid = cells(LAYOUTS["directions"](run, 2, 5, torch.tensor([1])).content)
    assert not any(module._forward_hooks for module in run.nets.modules())
    z, _ = run.task.latents(512, seed=5)
    layer = next(module for module in run.nets["generator"].modules() if isinstance(module, torch.nn.Linear))
    told = torch.cat([z, torch.tensor([[0.0, 1.0]]).expand(len(z), -1)], dim=1)
    steps = principal_directions(layer(told).detach(), z, 2)
    for row, step in zip(grid, steps, strict=True):
        latents = z[:1] + torch.linspace(-2, 2, STEPS)[:, None] * step
        expected = unscale(generate(run, latents, torch.ones(STEPS, dtype=torch.long)))[..., 0].numpy()
        assert np.abs(row.astype(int) - expected).max() <= 1


def test_styles_are_moved_along_their_own_components(runs: Path) -> None:
    run = TrainedRun(runs / "styles")
    net = run.nets["generator"].eval()
    grid = cells(LAYOUTS["directions"](run, 2, 5, None).content, 28)
    z, _ = run.task.latents(512, seed=5)
    styles = net.styles(z)[:, 0].detach()
    _, deviations, components = torch.linalg.svd(styles - styles.mean(0), full_matrices=False)
    for row, deviation, component in zip(grid, deviations, components, strict=False):
        steps = torch.linspace(-2, 2, STEPS)[:, None] * component * deviation / 512**0.5
        both = [
            unscale(net((styles[:1] + sign * steps)[:, None].expand(-1, net.synthesis.layers, -1))) for sign in (1, -1)
        ]
        far = [np.abs(made[..., 0].numpy().astype(int) - row).max() for made in both]
        assert min(far) <= 2  # a component has no sign
        assert max(far) > 2


def test_rows_of_a_truncation_of_styles_are_what_the_option_makes(runs: Path) -> None:
    sheet = LAYOUTS["truncation"](TrainedRun(runs / "styles"), 3, 2, None)
    rows = cells(sheet.content, 28)
    assert len(rows) == len(SHARES)
    for row, psi in zip(rows, SHARES, strict=True):
        run = TrainedRun(runs / "styles")
        run.truncate(psi)
        expected = unscale(run.examples(3, 2)["sample"])[..., 0].numpy()
        assert np.abs(row.astype(int) - expected).max() <= 1


def test_mixed_styles_are_the_top_rows_in_a_third_of_the_layers_and_the_left_columns_in_the_others(runs: Path) -> None:
    run = TrainedRun(runs / "styles")
    grid = cells(LAYOUTS["style-mixing"](run, 3, 4, None).content, 28)
    assert grid.shape[:2] == (1 + 3 * 2, 1 + 3)
    assert (grid[0, 0] == 255).all()
    z, _ = run.task.latents(5, seed=4)
    net = run.nets["generator"].eval()
    styles = net.styles(z).detach()
    layers = styles.shape[1]
    assert np.array_equal(grid[0, 1:], unscale(net(z[:3]))[..., 0].numpy())
    bands = np.array_split(np.arange(layers), 3)
    for row in range(6):
        base = styles[3 + row % 2]
        assert np.array_equal(grid[1 + row, 0], unscale(net(base[None]))[0, ..., 0].numpy())
        for column in range(3):
            mixed = base.clone()
            mixed[bands[row // 2]] = styles[column, bands[row // 2]]
            expected = unscale(net(mixed[None]))[0, ..., 0].numpy()
            assert np.abs(grid[1 + row, 1 + column].astype(int) - expected).max() <= 1


def test_a_column_of_classes_has_one_latent(runs: Path) -> None:
    run = TrainedRun(runs / "classes")
    made = LAYOUTS["classes"](run, 3, 0, None)
    sheet, said = made.content, made.caption
    assert said == "rows: 0, 1"
    z, _ = run.task.latents(3, seed=0)
    for label, row in enumerate(cells(sheet)):
        expected = unscale(generate(run, z, torch.full((3,), label)))[..., 0].numpy()
        assert np.array_equal(row, expected)


def test_neighbours_of_a_copied_picture_begin_with_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = TrainedRun(runs / "classes")
    data = toy_data.ToyPictures(image_size=8).load().columns["sample"]
    monkeypatch.setattr(run, "examples", lambda num, seed, labels: {"sample": scale(data[[5, 11]])})
    made = LAYOUTS["neighbours"](run, 2, 0, None)
    sheet, said = made.content, made.caption
    left, right = sheet[:, : 8 + 2 * GAP], sheet[:, 8 + 2 * GAP :]
    copies = cells(right)
    for row, source in enumerate((5, 11)):
        picture = data[source, :, :, 0].numpy()
        assert np.array_equal(cells(left)[row, 0], picture)
        assert np.array_equal(copies[row, 0], picture)
        distances = np.square(copies[row].astype(float) - picture).mean((1, 2))
        assert (np.diff(distances) >= 0).all(), "not sorted by distance"
        others = np.square(data[:, :, :, 0].numpy().astype(float) - picture).mean((1, 2))
        assert distances[-1] == pytest.approx(np.sort(others)[NEIGHBOURS - 1])
    assert said == "nearest of 96 training pictures: root mean square difference 0.0 of 255 (median)"
