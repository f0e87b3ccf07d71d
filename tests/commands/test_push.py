"""`gan-lab push` and `gan_lab.load("hf://...")`: what is sent, what is not, and what comes back."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import gan_lab
from gan_lab.cli import main
from tests import toy_data  # noqa: F401
from tests.commands.stub_hub import TOKEN, StubHub

QUICK = [
    "train", "experiment=none", "generator=mlp", "discriminator=mlp", "trainer.images=64", "trainer.threads=1",
    "evaluation.samples=16", "evaluation.every=0", "generator.width=8", "discriminator.width=8",
]  # fmt: skip
FILES = {"README.md", "config.json", "model.safetensors", "samples.png"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("push") / "rings"
    assert main([*QUICK, "dataset=mixture", "dataset.samples=64", f"run_dir={path}", "trainer.ema=0.9"]) == 0
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubHub]:
    pytest.importorskip("huggingface_hub", reason="the extra hub")
    constants = importlib.import_module("huggingface_hub.constants")
    stub = StubHub()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_ENDPOINT", stub.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))
    yield stub
    stub.close()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gan-lab:")]
    return line


# -- the folder --------------------------------------------------------------------------------------------------------


def test_a_folder_is_a_run_for_others(run: Path, workdir: Path) -> None:
    assert main(["push", str(run), "lab/rings", "--out", "shared", "--license", "mit"]) == 0
    assert {path.name for path in Path("shared").iterdir()} == FILES
    loaded = gan_lab.load("shared")
    assert torch.equal(loaded.sample(5, seed=1), gan_lab.load(run).sample(5, seed=1))
    assert Path("shared/samples.png").read_bytes() == (run / "samples" / "64.png").read_bytes()


def test_the_card_says_what_the_run_knows(run: Path, workdir: Path) -> None:
    assert main(["push", str(run), "lab/rings", "--out", "shared", "--license", "mit"]) == 0
    _, head, text = Path("shared/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "mit", "library_name": "gan_lab", "tags": ["gan", "pytorch", "gan_lab", "generation"],
    }  # fmt: skip
    assert 'gan_lab.load("hf://lab/rings")' in text
    assert "![Samples](samples.png)" in text
    recipe = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert all(recipe[part] == config[part] for part in ("generator", "loss", "optimizer", "trainer"))
    scores = json.loads((run / "summary.json").read_text())["metrics"]
    for name, entry in scores.items():
        assert f"| {name} | {entry['value']:.4g} | samples 16; noise seeds 2; weights ema 0.9" in text
    assert "weights: ema 0.9" in text
    assert text.rstrip().endswith("`mit`.")
    assert main(["push", str(run), "--out", "other"]) == 0
    assert "license: unknown" in Path("other/README.md").read_text()
    assert 'hf://OWNER/rings"' in Path("other/README.md").read_text()


def test_markup_of_a_strangers_run_is_text(run: Path, workdir: Path) -> None:
    import shutil

    shutil.copytree(run, "copy")
    summary = json.loads(Path("copy/summary.json").read_text())
    evil = "<script>alert(1)</script>|[a](javascript:b)"
    summary["metrics"] = {evil: next(iter(summary["metrics"].values()))}
    summary["health"] = [{"title": evil, "last": 64}]
    Path("copy/summary.json").write_text(json.dumps(summary))
    assert main(["push", "copy", "--out", "shared"]) == 0
    text = Path("shared/README.md").read_text()
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "](javascript" not in text.replace("\\](javascript", "")


def test_no_secret_and_no_place_leaves_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    folder = tmp_path / "at-home" / "faces"
    folder.mkdir(parents=True)
    for i in range(8):
        Image.new("L", (8, 8), 30 * i).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    words = ["dataset=image_folder", f"dataset.path={folder}", "dataset.image_size=8", "dataset.image_channels=1"]
    words += ["tracking.wandb.entity=my-team", "tracking.wandb.project=secret-plan", "evaluation.metrics=[]"]
    assert main([*QUICK, *words, "run_dir=run"]) == 0
    summary = json.loads(Path("run/summary.json").read_text())
    Path("run/summary.json").write_text(json.dumps(summary | {"error": f"in {folder} with canary-0123456789"}))
    monkeypatch.setenv("SOME_API_KEY", "dataset.image_folder"[8:])  # a word that is in the files, as a secret
    assert main(["push", "run", "--out", "shared"]) == 0
    for file in Path("shared").iterdir():
        content = file.read_bytes()
        for secret in (str(tmp_path), "at-home", "my-team", "secret-plan", "canary", "image_folder", "wandb-"):
            assert secret.encode() not in content, (file, secret)
    assert json.loads(Path("shared/config.json").read_text())["config"]["dataset"]["path"] == "faces"


# -- the Hub -----------------------------------------------------------------------------------------------------------


def test_what_is_pushed_comes_back(hub: StubHub, run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run), "lab/rings"]) == 0
    assert 'gan_lab.load("hf://lab/rings")' in capsys.readouterr().out
    repository = hub.repositories["lab/rings"]
    assert repository["private"] is True
    assert set(repository["files"]) == FILES
    sent = [path for method, path, _ in hub.requests if method == "POST" and "/commit/" in path]
    assert len(sent) == 1  # all files at once
    assert all(token in (None, f"Bearer {TOKEN}") for _, _, token in hub.requests)
    assert not any(TOKEN.encode() in content for content in repository["files"].values())
    asked = len(hub.requests)
    loaded = gan_lab.load("hf://lab/rings")
    assert torch.equal(loaded.sample(5, seed=1), gan_lab.load(run).sample(5, seed=1))
    assert {path for _, path, _ in hub.requests[asked:]} == {"/lab/rings/resolve/main/model.safetensors"}
    assert os.listdir(workdir) == ["cache"]


def test_a_name_that_is_taken_is_replaced_only_when_asked_for(
    hub: StubHub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(run), "lab/rings", "--public"]) == 0
    before = dict(hub.repositories["lab/rings"]["files"])
    assert main(["push", str(run), "lab/rings", "--license", "mit"]) == 2
    assert "lab/rings is taken" in one_line(capsys)
    assert hub.repositories["lab/rings"] == {"private": False, "files": before}
    gan_lab.load(run).push("lab/rings", license="mit", update=True)
    assert b"license: mit" in hub.repositories["lab/rings"]["files"]["README.md"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN"], "give OWNER/NAME, or --out FOLDER"),
        (["RUN", "rings"], "give OWNER/NAME"),
        (["RUN", "lab/../rings"], "give OWNER/NAME"),
        (["none", "lab/rings"], "none is no run directory"),
        (["empty", "lab/rings"], "no checkpoint yet"),
        (["RUN", "--out", "there"], "it exists"),
        (["RUN", "--out", "no/folder"], "there is no folder no"),
        (["RUN", "--out", "RUN/shared"], "is a run, and stays as it is"),
    ],
)
def test_what_cannot_be_pushed_is_one_line(
    words: list[str], message: str, hub: StubHub, run: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("there", "empty"):
        Path(name).mkdir(exist_ok=True)
    Path("empty/config.yaml").write_text((run / "config.yaml").read_text())
    assert main(["push", *(word.replace("RUN", str(run)) for word in words)]) == 2
    assert message in one_line(capsys)
    assert not hub.requests
    assert sorted(os.listdir()) == ["empty", "there"]
    assert not (run / "shared").exists()


def test_without_a_token_or_the_package_nothing_is_sent(
    hub: StubHub, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert main(["push", str(run), "lab/rings"]) == 2
    assert "there is no token" in one_line(capsys)
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert main(["push", str(run), "lab/rings"]) == 2
    assert "lab/rings: the Hugging Face Hub did not answer as it should" in one_line(capsys)
    assert not hub.repositories
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None)
    assert main(["push", str(run), "lab/rings"]) == 2
    assert 'gan-lab push needs huggingface_hub: pip install "hydra-gan-lab[hub]"' in one_line(capsys)


def test_a_hub_that_fails_is_one_line(hub: StubHub, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.broken = True
    assert main(["push", str(run), "lab/rings"]) == 2
    assert "did not answer as it should" in one_line(capsys)
    assert hub.repositories["lab/rings"]["files"] == {}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://lab", "give OWNER/NAME"),
        ("hf://lab/none", "there is no such repository"),
        ("hf://lab/pickles", "there is no model.safetensors"),
        ("hf://lab/pickles@v2", "there is no revision v2"),
        ("hf://lab/pickles@../a", "is no branch, tag or commit"),
    ],
)
def test_what_is_not_on_the_hub_is_one_line(address: str, message: str, hub: StubHub) -> None:
    hub.repositories["lab/pickles"] = {"private": False, "files": {"pytorch_model.bin": b"\x80\x04."}}
    with pytest.raises(ValueError, match=message) as error:
        gan_lab.load(address)
    assert "\n" not in str(error.value)


def test_a_strangers_model_is_checked(hub: StubHub) -> None:
    hub.repositories["lab/evil"] = {"private": False, "files": {"model.safetensors": b"\x80\x04."}}
    with pytest.raises(ValueError, match="is no safetensors"):
        gan_lab.load("hf://lab/evil").sample(1)
