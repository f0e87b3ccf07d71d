"""`gan-lab apply`: a trained translator on files, against the task on the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_lab.cli import main
from gan_lab.commands.apply import png_16
from gan_lab.core.runtime import inference
from gan_lab.datasets.exact import read_array
from gan_lab.run import tiling
from gan_lab.run.trained_run import TrainedRun
from tests import toy_data  # noqa: F401

pytestmark = pytest.mark.slow  # it trains seven tiny runs

TINY = [
    "train", "experiment=none", "trainer.images=32", "trainer.batch_size=8", "trainer.device=cpu",
    "tracking.wandb.mode=disabled", "evaluation.samples=8",
]  # fmt: skip
TRANSLATION = [
    *TINY, "task=translation", "generator=srresnet", "generator.width=8", "generator.blocks=1",
    "discriminator=patchgan", "discriminator.width=8", "discriminator.layers=1", "evaluation.metrics=[psnr]",
]  # fmt: skip
TOY = ["dataset=toy_pictures", "dataset.image_size=16", "dataset.num=32"]
COLOUR = [*TOY, "dataset.image_channels=3"]
RUNS = {
    "enlarge": [*TRANSLATION, *COLOUR, "degradation=super_resolution"],
    "four": [*TRANSLATION, *TOY, "degradation=super_resolution", "degradation.factor=4"],
    "denoise": [*TRANSLATION, *TOY, "degradation=denoising"],
    "inpaint": [*TRANSLATION, *COLOUR, "degradation=inpainting"],
    "samples": [
        *TINY, *TOY, "generator=mlp", "discriminator=mlp", "generator.width=8", "discriminator.width=8"
    ],
}  # fmt: skip


def smooth(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, channels]."""
    coarse = torch.rand(1, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    pixels = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1).mul(255)
    return pixels[0].permute(1, 2, 0).to(torch.uint8).numpy()


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path)
    return path


def load(path: Path) -> np.ndarray:
    """uint8 [H, W, C], by PIL alone."""
    pixels = np.asarray(Image.open(path))
    assert pixels.dtype == np.uint8
    return pixels if pixels.ndim == 3 else pixels[..., None]


def networks_output(run: Path, source: Tensor) -> np.ndarray:
    """What the task makes of a source [1, C, h, w]: float [H, W, C] in [-1, 1]."""
    trained = TrainedRun(run, "cpu")
    with inference(trained.nets, "running") as nets:
        return trained.task.translate(nets, source)[0].permute(1, 2, 0).clamp(-1, 1).double().numpy()


def seen(pixels: np.ndarray, half: float = 127.5) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(half) - 1).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, words in RUNS.items():
        assert main([*words, f"run_dir={folder / name}"]) == 0
    return folder


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], runs: Path) -> pytest.CaptureFixture[str]:
    """Output, without that of training."""
    capsys.readouterr()
    return capsys


def apply(run: Path, *inputs: Path, out: Path, words: tuple[str, ...] = ()) -> int:
    return main(["apply", str(run), *map(str, inputs), "--out", str(out), "--device", "cpu", *words])


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "factor", "channels"), [("enlarge", 2, 3), ("four", 4, 1), ("denoise", 1, 1)])
def test_an_output_is_what_the_task_makes_of_the_picture_rounded_to_8_bits(
    name: str, factor: int, channels: int, runs: Path, workdir: Path, said: pytest.CaptureFixture[str]
) -> None:
    pixels = smooth(37, 53, channels)
    assert apply(runs / name, save(workdir / "a.png", pixels), out=workdir / "out") == 0
    made = load(workdir / "out/a.png")
    assert made.shape == (37 * factor, 53 * factor, channels)
    expected = (networks_output(runs / name, seen(pixels)) + 1) * 127.5
    assert np.abs(made - expected).max() <= 0.5 + 1e-3
    assert said.readouterr() == (f"1 picture in {workdir / 'out'}\n", "")
    assert [path.name for path in (workdir / "out").iterdir()] == ["a.png"], "no remains"


def test_tiles_give_what_the_whole_gives(runs: Path, workdir: Path, said: pytest.CaptureFixture[str]) -> None:
    """The net sees 10 pixels far, an eighth of a tile's overlap lies in the ramp: within 2 of 255 levels."""
    file = save(workdir / "a.png", smooth(101, 75, 3))
    assert apply(runs / "enlarge", file, out=workdir / "whole", words=("--tile", "0")) == 0
    assert apply(runs / "enlarge", file, out=workdir / "tiles", words=("--tile", "48")) == 0
    whole, tiles = (load(workdir / name / "a.png").astype(int) for name in ("whole", "tiles"))
    assert np.abs(whole - tiles).max() <= 2
    lines = said.readouterr().out.splitlines()
    assert lines[0] == f"1 picture in {workdir / 'whole'}"
    assert lines[1] == f"1 picture in {workdir / 'tiles'}, 1 of them in overlapping tiles"


def test_a_large_picture_is_cut_into_tiles_unasked(
    runs: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tiling, "WHOLE", 4 * 40 * 40)
    monkeypatch.setattr(tiling, "SIDE", 64)
    save(workdir / "in/small.png", smooth(40, 40, 3))
    save(workdir / "in/large.png", smooth(40, 41, 3))
    assert apply(runs / "enlarge", workdir / "in", out=workdir / "out") == 0
    assert "2 pictures in" in (line := said.readouterr().out)
    assert "1 of them in overlapping tiles" in line


def test_inpainting_fills_what_is_transparent_and_keeps_the_rest(runs: Path, workdir: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3)).astype(np.uint8)
    alpha = np.full((37, 53, 1), 255, np.uint8)
    alpha[10:20, 15:40] = 127
    alpha[30:, :5] = 128  # just opaque enough
    file = save(workdir / "a.png", np.concatenate([pixels, alpha], 2))
    for out, words in (("whole", ()), ("tiles", ("--tile", "32"))):
        assert apply(runs / "inpaint", file, out=workdir / out, words=words) == 0
        made = load(workdir / out / "a.png")
        hole = alpha[..., 0] < 127.5
        assert made.shape == (37, 53, 3)
        assert np.array_equal(made[~hole], pixels[~hole])
        assert (made[hole] != pixels[hole]).any()
    masked = torch.cat([seen(pixels).masked_fill(torch.from_numpy(hole), 0), torch.from_numpy(hole)[None, None]], 1)
    expected = (networks_output(runs / "inpaint", masked) + 1) * 127.5
    assert np.abs(load(workdir / "whole/a.png") - expected).max() <= 0.5 + 1e-3


def test_grey_is_repeated_for_colour_and_equal_colours_are_grey(runs: Path, workdir: Path) -> None:
    grey = smooth(16, 20, 1)
    one, three = save(workdir / "one.png", grey), save(workdir / "three.png", grey.repeat(3, 2))
    for name in ("enlarge", "denoise"):
        assert apply(runs / name, one, three, out=workdir / name) == 0
        assert np.array_equal(load(workdir / name / "one.png"), load(workdir / name / "three.png"))


def test_an_opaque_alpha_channel_is_dropped(runs: Path, workdir: Path) -> None:
    pixels = smooth(16, 20, 3)
    plain = save(workdir / "plain.png", pixels)
    opaque = save(workdir / "opaque.png", np.concatenate([pixels, np.full((16, 20, 1), 255, np.uint8)], 2))
    assert apply(runs / "enlarge", plain, opaque, out=workdir / "out") == 0
    assert np.array_equal(load(workdir / "out/plain.png"), load(workdir / "out/opaque.png"))


def test_a_photograph_is_turned_as_its_camera_says(runs: Path, workdir: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    Image.fromarray(smooth(20, 31, 3)).save(workdir / "a.jpg", exif=exif, quality=100)
    upright = np.rot90(np.asarray(Image.open(workdir / "a.jpg")), -1)
    save(workdir / "b.png", np.ascontiguousarray(upright))
    assert apply(runs / "enlarge", workdir / "a.jpg", workdir / "b.png", out=workdir / "out") == 0
    assert load(workdir / "out/a.png").shape == (62, 40, 3)
    assert np.array_equal(load(workdir / "out/a.png"), load(workdir / "out/b.png"))


def test_sub_folders_are_kept_and_hidden_files_left_out(runs: Path, workdir: Path) -> None:
    for name in ("a.png", "sub/a.bmp", "sub/b.tif", ".hidden/c.png", "._a.png", "sub/.d.png"):
        save(workdir / "in" / name, smooth(16, 16, 3))
    (workdir / "in/notes.txt").write_text("no picture")
    out = workdir / "in/out"  # in the folder itself: its pictures are no inputs
    save(out / "earlier.png", smooth(16, 16, 3))
    assert apply(runs / "enlarge", workdir / "in", out=out) == 0
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["a.png", "earlier.png", "sub/a.png", "sub/b.png"]


def test_a_file_that_is_given_twice_is_done_once(runs: Path, workdir: Path, said: pytest.CaptureFixture[str]) -> None:
    file = save(workdir / "in/a.png", smooth(16, 16, 3))
    assert apply(runs / "enlarge", file, workdir / "in", file, out=workdir / "out") == 0
    assert said.readouterr().out.startswith("1 picture in")


# -- other data --------------------------------------------------------------------------------------------------------


def test_a_run_of_16_bits_gives_16_bits(runs: Path, workdir: Path) -> None:
    random = np.random.default_rng(0)
    for i in range(6):
        for side, size in (("source", 16), ("target", 32)):
            (workdir / "data" / side).mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 65536, (size, size, 3)).astype(np.uint16)
            (workdir / "data" / side / f"{i}.png").write_bytes(png_16(pixels))
    words = ["dataset=pairs", f"dataset.path={workdir / 'data'}", f"run_dir={workdir / 'run'}"]
    assert main([*TRANSLATION, *words]) == 0
    sixteen = (smooth(21, 34, 3).astype(np.uint16) * 257 + 5).clip(0, 65535).astype(np.uint16)
    (workdir / "a.png").write_bytes(png_16(sixteen))
    eight = save(workdir / "b.png", (sixteen // 257).astype(np.uint8))
    assert apply(workdir / "run", workdir / "a.png", eight, out=workdir / "out") == 0
    for name, source in (("a", seen(sixteen, 32767.5)), ("b", seen((sixteen // 257).astype(np.uint8)))):
        made = read_array(workdir / f"out/{name}.png")
        assert made.dtype == np.uint16
        assert made.shape == (42, 68, 3)
        expected = (networks_output(workdir / "run", source) + 1) * 32767.5
        assert np.abs(made - expected).max() <= 0.5 + 0.02  # float32 has 24 bits for 16


def test_a_run_of_float_data_takes_and_gives_its_units(
    runs: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for i in range(6):
        for side in ("source", "target"):
            (workdir / "data" / side).mkdir(parents=True, exist_ok=True)
            np.save(workdir / "data" / side / f"{i}.npy", random.uniform(-900, 2900, (16, 16)).astype(np.float32))
    words = ["dataset=pairs", f"dataset.path={workdir / 'data'}", f"run_dir={workdir / 'run'}"]
    grey = ["dataset.source_channels=1", "dataset.image_channels=1", "dataset.value_range=[-1000,3000]"]
    assert main([*TRANSLATION, *words, *grey]) == 0
    capsys.readouterr()
    values = random.uniform(-1000, 3000, (19, 23)).astype(np.float32)
    (workdir / "in").mkdir()
    np.save(workdir / "in/a.npy", values)
    np.save(workdir / "in/beyond.npy", values + 1000)
    save(workdir / "in/eight.png", smooth(16, 16, 1))
    assert apply(workdir / "run", workdir / "in", out=workdir / "out") == 2
    made = np.load(workdir / "out/a.npy")
    assert made.dtype == np.float32
    assert made.shape == (19, 23)
    trained = TrainedRun(workdir / "run", "cpu")
    with inference(trained.nets, "running") as nets:
        expected = trained.task.translate(nets, torch.from_numpy((values + 1000) / 2000 - 1)[None, None])
    np.testing.assert_allclose(made, (expected[0, 0].numpy() + 1) * 2000 - 1000, rtol=0, atol=0.01)
    errors = capsys.readouterr().err
    assert "beyond.npy: it holds values from " in errors
    assert "this run knows -1000 to 3000 (dataset.value_range): clip them" in errors
    assert "eight.png: it holds uint8; this run was trained on other numbers" in errors


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_of_16_bits_is_read_back(channels: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(png_16(pixels))
    assert np.array_equal(read_array(tmp_path / "a.png"), pixels)
    by_pillow = np.asarray(Image.open(tmp_path / "a.png"))  # of colours, the high byte
    assert np.array_equal(by_pillow, pixels[..., 0] if channels == 1 else pixels >> 8)


# -- what cannot be done -----------------------------------------------------------------------------------------------


def test_bad_files_are_named_and_the_others_done(runs: Path, workdir: Path, said: pytest.CaptureFixture[str]) -> None:
    for name in ("good", "fine"):
        save(workdir / f"in/{name}.png", smooth(16, 16, 1))
    save(workdir / "in/colour.png", smooth(16, 16, 3))
    (workdir / "in/text.png").write_text("no picture")
    (workdir / "in/empty.png").touch()
    whole = save(workdir / "whole.png", smooth(64, 64, 1)).read_bytes()
    (workdir / "in/cut.png").write_bytes(whole[: len(whole) // 2])
    holes = np.concatenate([smooth(16, 16, 1), smooth(16, 16, 1, seed=1)], 2)
    save(workdir / "in/holes.png", holes)
    np.save(workdir / "in/floats.npy", np.zeros((16, 16), np.float32))
    Image.new("CMYK", (16, 16)).save(workdir / "in/print.jpg")
    gone = workdir / "gone.png"
    assert apply(runs / "denoise", workdir / "in", gone, out=workdir / "out") == 2
    assert sorted(path.name for path in (workdir / "out").iterdir()) == ["fine.png", "good.png"]
    printed, errors = said.readouterr()
    assert printed == f"2 pictures in {workdir / 'out'}\n"
    *lines, last = errors.splitlines()
    assert last == "gan-lab: 8 of 10 pictures could not be done"
    reasons = {Path(line.split(": ")[1]).name: line.split(": ", 2)[2] for line in lines}
    assert reasons.keys() == {
        "colour.png", "text.png", "empty.png", "cut.png", "holes.png", "floats.npy", "print.jpg", "gone.png"
    }  # fmt: skip
    assert reasons["colour.png"] == "it holds 3 channels; this run takes 1: convert it"
    assert reasons["holes.png"] == "it has transparent pixels, which this run does not take: save it without"
    assert reasons["floats.npy"] == "it holds float32; this run takes pictures of 8 or 16 bits a channel"
    assert reasons["gone.png"] == "there is no such file"
    assert "CMYK" in reasons["print.jpg"]


def test_inpainting_asks_for_a_hole(runs: Path, workdir: Path, said: pytest.CaptureFixture[str]) -> None:
    file = save(workdir / "a.png", smooth(16, 16, 3))
    assert apply(runs / "inpaint", file, out=workdir / "out") == 2
    first, last = said.readouterr().err.splitlines()
    assert first.startswith(f"gan-lab: {file}: the picture has no transparent pixels: save it as a PNG with an alpha")
    assert last == "gan-lab: 1 of 1 picture could not be done"


def test_what_a_network_does_not_take_is_named(
    runs: Path, workdir: Path, said: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, nets: object, source: Tensor) -> Tensor:
        if source.shape[2] < 8:
            raise RuntimeError("Padding size should be less than\nthe corresponding input dimension")
        if source.shape[2] > 20:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return torch.full_like(source, float("nan"))

    files = [save(workdir / f"{size}.png", smooth(size, 16, 1)) for size in (4, 16, 30)]
    monkeypatch.setattr("gan_lab.tasks.translation.Translation.translate", broken)
    assert apply(runs / "denoise", *files, out=workdir / "out") == 2
    small, diverged, large, _ = said.readouterr().err.splitlines()
    assert small.endswith("4.png: the network does not take it: Padding size should be less than the corresponding "
                          "input dimension")  # fmt: skip
    assert "it has diverged" in diverged
    assert large.endswith("30.png: memory does not suffice; give a smaller --tile, such as 64")
    assert not list((workdir / "out").iterdir())


def refused(said: pytest.CaptureFixture[str]) -> str:
    """The one line of a refusal."""
    printed, error = said.readouterr()
    assert printed == ""
    assert error.count("\n") == 1
    return error


def test_nothing_is_overwritten(runs: Path, workdir: Path, said: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        save(workdir / f"in/{name}.png", smooth(16, 16, 3))
    before = {path: path.read_bytes() for path in (workdir / "in").iterdir()}
    assert apply(runs / "enlarge", workdir / "in", out=workdir / "in") == 2
    assert "holds no pictures" in refused(said), "what lies in the folder of outputs is no input"
    assert apply(runs / "enlarge", *before, out=workdir / "in") == 2
    assert "exists, and 2 more: nothing is overwritten; give another --out" in refused(said)
    assert {path: path.read_bytes() for path in (workdir / "in").iterdir()} == before


def test_two_outputs_of_one_name_are_refused(runs: Path, workdir: Path, said: pytest.CaptureFixture[str]) -> None:
    files = [save(workdir / name, smooth(16, 16, 3)) for name in ("x/a.png", "x/a.bmp", "y/a.png")]
    assert apply(runs / "enlarge", files[0], files[2], out=workdir / "out") == 2
    assert f"{files[0]} and {files[2]} would both become {workdir / 'out/a.png'}" in refused(said)
    assert apply(runs / "enlarge", workdir / "x", out=workdir / "out") == 2
    assert f"{files[1]} and {files[0]} would both become" in refused(said)
    assert not (workdir / "out").exists()


def test_what_apply_cannot_mean_is_refused_in_one_line(
    runs: Path, workdir: Path, said: pytest.CaptureFixture[str]
) -> None:
    file, run, out = save(workdir / "a.png", smooth(16, 16, 3)), runs / "enlarge", workdir / "out"
    (workdir / "empty").mkdir()
    (workdir / "file").touch()
    before = sorted(run.rglob("*"))
    assert apply(runs / "samples", file, out=out) == 2
    line = refused(said)
    assert "makes samples from noise (task=generation); apply wants a run of a task that translates" in line
    assert f"gan-lab sample {runs / 'samples'} shows what it makes" in line
    for words, message in (
        ((workdir / "empty", file, out), "is no run directory"),
        ((run, workdir / "empty", out), "holds no pictures; these are read: .bmp"),
        ((run, file, run), "is a run, and stays as it is"),
        ((run, file, run / "samples"), "is a run, and stays as it is"),
        ((run, file, runs / "four"), "is a run, and stays as it is"),
        ((run, file, workdir / "file"), "that is a file; give a folder"),
    ):
        assert apply(words[0], words[1], out=words[2]) == 2
        assert message in refused(said)
    assert apply(run, file, out=out, words=("--tile", "7")) == 2
    assert "--tile 7: give at least 32 pixels, or 0 for whole pictures" in refused(said)
    assert not out.exists()
    assert sorted(run.rglob("*")) == before


def test_a_full_disk_ends_it_and_leaves_no_half_picture(
    runs: Path, workdir: Path, said: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(pixels: np.ndarray, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    save(workdir / "in/b.png", smooth(16, 16, 3))
    (workdir / "in/a.png").touch()
    monkeypatch.setattr("gan_lab.commands.apply.save_image", full)
    assert apply(runs / "enlarge", workdir / "in", out=workdir / "out") == 2
    first, second = said.readouterr().err.splitlines()
    assert "a.png" in first, "what failed before is still named"
    assert "No space left on device" in second
    assert not list((workdir / "out").iterdir())
