"""`gan-lab export`: what it refuses, what its files hold, and that classes work elsewhere, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import gan_lab
from gan_lab import registry
from gan_lab.cli import main
from gan_lab.registry import generators
from tests import toy_data  # noqa: F401

QUICK = [
    "train", "experiment=none", "dataset=toy_pictures", "discriminator=mlp", "discriminator.width=8",
    "generator.width=8", "trainer.images=64", "trainer.threads=1", "evaluation.metrics=[]", "tracking.health=false",
]  # fmt: skip
registry.load()


class WithoutAForm(nn.Module):
    """A generator with an operator that ONNX does not have."""

    def __init__(self, sample_shape: tuple[int, ...], *, latent_dim: int = 4, width: int = 8) -> None:
        super().__init__()
        self.latent_dim, self.sample_shape = latent_dim, tuple(sample_shape)
        self.map = nn.Linear(latent_dim, torch.Size(sample_shape).numel())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        made = self.map(z).unflatten(1, self.sample_shape)
        return torch.linalg.inv(made + 9 * torch.eye(made.shape[-1])).tanh()


@pytest.fixture(scope="module", autouse=True)
def without_a_form() -> Iterator[None]:
    """Registered for these tests alone: others try all that is registered."""
    generators.register("without_a_form")(WithoutAForm)
    yield
    del generators.classes["without_a_form"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "run"
    assert main([*QUICK, "generator=mlp", f"run_dir={path}", "trainer.ema=0.9"]) == 0
    return path


def header(file: Path) -> dict[str, object]:
    with safe_open(file, "pt") as opened:
        content: dict[str, object] = json.loads(opened.metadata()["gan_lab"])
    return content


def test_a_file_takes_the_place_of_its_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.safetensors"
    gan_lab.load(run).export(file)
    loaded = gan_lab.load(file)
    assert torch.equal(loaded.sample(5, seed=2), gan_lab.load(run).sample(5, seed=2))
    assert (loaded.status, loaded.config.generator.name) == ("finished", "mlp")
    assert "finished" in str(loaded)
    assert torch.equal(gan_lab.load(tmp_path).sample(2), loaded.sample(2))  # a folder with the file alone
    for words in (["sample", str(file), "--out", str(tmp_path / "a.png")], ["sample", str(tmp_path), "--num", "3"]):
        os.chdir(tmp_path)
        assert main(words) == 0
    again = tmp_path / "again.safetensors"
    assert main(["export", str(file), "--out", str(again)]) == 0
    assert again.read_bytes() == file.read_bytes()
    assert main(["sample", str(file), "--checkpoint", "best", "--out", str(tmp_path / "b.png")]) == 2
    assert "has one state" in capsys.readouterr().err


def test_loading_it_needs_no_trainer(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    gan_lab.load(run).export(file)
    program = (
        f"import sys, tests.toy_data, gan_lab; gan_lab.load({str(file)!r}).sample(2); "
        "print([m for m in sys.modules if m in ('gan_lab.run.training_run', 'wandb', 'pandas', 'onnx')])"
    )
    root = str(Path(__file__).parent.parent.parent)
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_header_has_no_secret_and_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    monkeypatch.setenv("MY_API_KEY", "toy_pictures")  # in the config, as the data set's name
    file = tmp_path / "model.safetensors"
    gan_lab.load(run).export(file)
    content = header(file)
    assert "toy_pictures" not in json.dumps(content)
    assert str(run) not in json.dumps(content)
    assert content["config"]["tracking"] == {"wandb": {"mode": "disabled"}}  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none", "--out", "a.onnx"], "none is no run directory"),
        (["RUN", "--out", "a.pt"], "give a .safetensors or a .onnx"),
        (["RUN", "--out", "a.onnx", "--format", "safetensors"], "ends in .safetensors"),
        (["RUN", "--out", "a.onnx", "--format", "torchscript"], "Choose from: onnx, safetensors"),
        (["RUN", "--out", "there.onnx"], "it exists"),
        (["RUN", "--out", "RUN/a.onnx"], "is a run, and stays as it is"),
        (["RUN", "--out", "no/folder/a.onnx"], "there is no folder"),
        (["RUN", "--out", "a.safetensors", "--direction", "a_to_b"], "has all networks"),
        (["RUN", "--out", "a.onnx", "--direction", "a_to_b"], "--direction"),
        (["RUN", "--out", "a.onnx", "--checkpoint", "7"], "--checkpoint 7"),
        (["empty", "--out", "a.onnx"], "no checkpoint yet"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    words: list[str], message: str, run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="the extra export")
    Path("there.onnx").write_text("mine")
    Path("empty").mkdir()
    Path("empty/config.yaml").write_text((run / "config.yaml").read_text())
    before = sorted(path.name for path in [*workdir.rglob("*"), *run.rglob("*")])
    assert main(["export", *(word.replace("RUN", str(run)) for word in words)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert before == sorted(path.name for path in [*workdir.rglob("*"), *run.rglob("*")])
    assert Path("there.onnx").read_text() == "mine"


def test_without_the_extra_it_is_named(
    run: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if "onnx" in name else find(name, *more))
    assert main(["export", str(run), "--out", "a.onnx"]) == 2
    assert 'needs onnx and onnxscript and onnxruntime: pip install "hydra-gan-lab[export]"' in capsys.readouterr().err


@pytest.mark.slow
def test_an_operator_without_a_form_is_named(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript", reason="the extra export")
    assert main([*QUICK, "generator=without_a_form", "run_dir=run"]) == 0
    capsys.readouterr()
    assert main(["export", "run", "--out", "a.onnx"]) == 2
    said = capsys.readouterr().err
    assert "aten.linalg_inv_ex" in said
    assert "has no form in ONNX" in said
    assert len(said.splitlines()) == 1
    assert sorted(path.name for path in workdir.iterdir()) == ["run"]
    assert main(["export", "run", "--out", "a.safetensors"]) == 0


CONDITIONED = {
    "mlp": ["generator.conditioning=concat"],
    "dcgan": ["generator.conditioning=batch_norm", "generator.width=4"],
    "resnet": ["generator.conditioning=batch_norm", "generator.width=8"],
    "stylegan2": ["generator.conditioning=concat", "generator.width=4", "generator.mapping_layers=2"],
    "r3gan": ["generator.conditioning=concat", "generator.width=16", "generator.blocks=1"],
    "sagan": ["generator.conditioning=batch_norm", "generator.width=8"],
    "biggan": ["generator.conditioning=batch_norm", "generator.width=2"],
    "biggan_deep": ["generator.conditioning=batch_norm", "generator.width=4"],
    "fastgan": ["generator.conditioning=concat", "generator.width=4"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CONDITIONED))
def test_classes_and_batches_are_those_of_torch(name: str, workdir: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export")
    assert main([*QUICK, f"generator={name}", *CONDITIONED[name], "run_dir=run"]) == 0
    assert main(["export", "run", "--out", "a.onnx"]) == 0
    generator, session = gan_lab.load("run").networks["generator"], onnxruntime.InferenceSession("a.onnx")
    z = torch.randn(9, generator.latent_dim, generator=torch.Generator().manual_seed(0))
    for count in (1, 2, 9):
        for label in (torch.zeros(count).long(), torch.ones(count).long(), torch.arange(count) % 2):
            (made,) = session.run(["sample"], {"z": z[:count].numpy(), "label": label.numpy()})
            with torch.no_grad():
                torch.testing.assert_close(torch.from_numpy(made), generator(z[:count], label), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda file: file.write_bytes(b"\xff" * 64), "is no safetensors"),
        (lambda file: file.write_bytes(file.read_bytes()[:-8]), "is no safetensors"),
        (lambda file: save_file({"a": torch.zeros(2)}, file), "no run of gan_lab"),
        (lambda file: save_file({"a": torch.zeros(2)}, file, {"gan_lab": "[" * 90_000}), "nested too deeply"),
        (lambda file: save_file({"a": torch.zeros(2)}, file, {"gan_lab": "{}"}), "has no format"),
        (lambda file: changed(file, format=2), "has format 2"),
        (lambda file: changed(file, images=-1), "images is no count"),
        (lambda file: changed(file, inner=[]), "holds something else"),
        (lambda file: changed(file, about={}), "has no num_classes"),
        (lambda file: changed(file, config={"a": 1}), "has no section trainer"),
        (lambda file: changed_config(file, task={"name": "generation", "n_critic": "${oc.env:HOME}"}), "refers to"),
        (lambda file: changed_config(file, generator={"name": "mlp", "width": 16}), "of another network"),
        (lambda file: changed_config(file, generator={"name": "mine"}), "there is no such"),
        (lambda file: changed_config(file, generator={"_target_": "os.system"}), "generator"),
        (lambda file: changed_config(file, generator={"name": "mlp", "width": 10**12}), "give smaller sizes"),
    ],
)
def test_a_strangers_file_is_one_line(
    broken: object, message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.safetensors"
    gan_lab.load(run).export(file)
    broken(file)  # type: ignore[operator]
    assert main(["sample", str(file), "--out", str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert str(file) in said or "smaller" in said
    assert not (tmp_path / "a.png").exists()


def changed(file: Path, **values: object) -> None:
    save_file(load_file(file), file, {"gan_lab": json.dumps(header(file) | values)})


def changed_config(file: Path, **values: object) -> None:
    config: dict[str, object] = header(file)["config"]  # type: ignore[assignment]
    changed(file, config=config | values)


@pytest.mark.slow
def test_a_graph_for_one_size_of_batch_is_refused(
    run: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exporter may fix the size silently, as it does for convolutions that are grouped by rows."""
    pytest.importorskip("onnxscript", reason="the extra export")
    export = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *given, dynamic_shapes, **named: export(*given, **named))
    assert main(["export", str(run), "--out", "a.onnx"]) == 2
    said = capsys.readouterr().err
    assert "onnxruntime does not take 1 rows" in said
    assert len(said.splitlines()) == 1
    assert not list(workdir.iterdir())
