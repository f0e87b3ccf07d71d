"""Secrets of the environment stay there: not in a run's files, what is printed, the page, or what goes to W&B."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gan_lab.cli import main
from tests.hostile.conftest import TINY

ROOT = Path(__file__).parents[2]
NAMES = ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "GITHUB_PAT", "DATABASE_URL", "HF_TOKEN")
CANARIES = {name: f"canary{i}" + "0123456789abcdef" * 3 for i, name in enumerate(NAMES)}
CANARIES["DATABASE_URL"] = "postgresql://lab:canary3secret0123456789@db.example.org/runs"

PLUG_IN = """\
import os
from gan_lab.losses import NonSaturating
from gan_lab.registry import losses

@losses.register("leaky")
class Leaky(NonSaturating):
    called = 0

    def discriminator(self, forward):
        self.called += 1
        if self.called > 4:
            raise RuntimeError("no answer with " + " ".join(os.environ[name] for name in NAMES))
        return super().discriminator(forward)
""".replace("NAMES", repr(NAMES))

LONGER = [TINY[0], "trainer.images=1024", *TINY[2:-1]]
DISABLED, OFFLINE = (f"tracking.wandb.mode={mode}" for mode in ("disabled", "offline"))
# One process for all, as importing torch takes seconds. Each step: umask, words.
STEPS: dict[str, tuple[int, list[str]]] = {
    "train": (0o022, ["train", *TINY, "run_dir=out/plain", "tracking.samples_every=64"]),
    "fail": (0o022, ["train", *LONGER, DISABLED, "run_dir=out/failed", "loss=leaky"]),
    "sweep": (0o022, ["train", "-m", *TINY, "trainer.seed=1,2", "sweep_dir=out/sweeps", "sweep_name=two"]),
    "wandb": (0o022, ["train", *LONGER, OFFLINE, "run_dir=out/tracked"]),
    "wandb fails": (0o022, ["train", *LONGER, OFFLINE, "run_dir=out/tracked2", "loss=leaky"]),
    "compare": (0o022, ["compare", "out", "--html", "out/page.html", "--json", "out/compared.json"]),
    "sample": (0o022, ["sample", "out/plain", "--out", "out/samples.png"]),
    "config": (0o022, ["train", "--cfg", "all", *TINY]),
    "private sweep": (0o077, ["train", "-m", *TINY, "trainer.seed=1,2", "sweep_dir=private/s", "sweep_name=two"]),
    "private compare": (0o077, ["compare", "private/s", "--html", "private/page.html"]),
}  # fmt: skip
SCRIPT = """\
import json, os, sys, warnings
from gan_lab.cli import main
codes = {}
for name, (mask, words) in json.loads(sys.argv[1]).items():
    os.umask(mask)
    codes[name] = main(words)
open("codes.json", "w").write(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all steps were done with canaries in the environment; `printed` holds what was printed."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "leaky.py").write_text(PLUG_IN)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")} | CANARIES
    environment |= {
        "PYTHONPATH": str(ROOT), "GAN_LAB_PLUGINS": "leaky", "GAN_LAB_CACHE": str(folder / "cache"),
        "WANDB_DATA_DIR": str(folder / "data"), "WANDB_CACHE_DIR": str(folder / "wandb-cache"),
        "WANDB_CONFIG_DIR": str(folder / "wandb-config"), "WANDB_ERROR_REPORTING": "false",
    }  # fmt: skip
    with (folder / "printed").open("wb") as printed:
        code = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(STEPS)], cwd=folder, env=environment, stdout=printed,
            stderr=subprocess.STDOUT, timeout=300, check=False,
        ).returncode  # fmt: skip
    assert code == 0, (folder / "printed").read_text()[-3000:]
    return folder


def log_of(file: Path) -> bytes:
    """The content of a .wandb file without the heads of its records, which may cut a word in two.

    It is LevelDB's log: blocks of 32 KiB, in them records with 4 bytes of checksum, 2 of length and 1 of kind. W&B
    puts 7 bytes before the first one.
    """
    data, at, found = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        found += data[at + 7 : at + 7 + length]
        at += 7 + length
    return found


@pytest.mark.slow
def test_every_step_ended_as_it_should(done: Path) -> None:
    codes = json.loads((done / "codes.json").read_text())
    assert codes == {name: 1 if "fail" in name else 0 for name in STEPS}, (done / "printed").read_text()[-3000:]
    assert "no answer with" in json.loads((done / "out/failed/summary.json").read_text())["error"]
    assert list(done.glob("out/tracked/wandb/**/*.wandb"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_file_and_no_output_holds_a_secret(name: str, done: Path) -> None:
    secret = CANARIES[name].encode()
    forms = [secret, secret.replace(b"/", b"\\/"), json.dumps(CANARIES[name])[1:-1].encode()]
    if name == "DATABASE_URL":
        forms.append(b"canary3secret")
    holding = []
    for file in done.rglob("*"):
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes() + (log_of(file) if file.suffix == ".wandb" else b"")
            holding += [str(file.relative_to(done))] if any(form in content for form in forms) else []
    assert not holding


def _modes(folder: Path) -> dict[str, int]:
    return {str(path): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*") if not path.is_symlink()}


@pytest.mark.slow
def test_nobody_else_can_write_to_what_was_made(done: Path) -> None:
    modes = _modes(done / "out") | _modes(done / "cache")
    assert len(modes) > 20
    assert not {path: oct(mode) for path, mode in modes.items() if mode & 0o022}


@pytest.mark.slow
def test_with_a_strict_umask_nobody_else_can_read_it(done: Path) -> None:
    modes = _modes(done / "private")
    assert len(modes) > 20
    assert not {path: oct(mode) for path, mode in modes.items() if mode & 0o077}


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "GITHUB_PAT", "DATABASE_URL"])
@pytest.mark.parametrize(
    "word",
    [
        "tracking.wandb.project={}", "tracking.wandb.tags=[a,{}]", "run_dir=runs/{}", "init_from={}", "generator={}",
        "trainer.seed={}", "tracking.wandb.project=${{oc.env:{name}}}", "run_dir='${{oc.env:\"{name}\"}}'",
        "+tracking.note=${{oc.env:{name},none}}", "resume={}",
    ],
)  # fmt: skip
def test_words_with_a_secret_are_refused_and_do_not_show_it(
    word: str, name: str, workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for other, value in CANARIES.items():
        monkeypatch.setenv(other, value)
    quoted = CANARIES[name] if name != "DATABASE_URL" else f"'{CANARIES[name]}'"
    assert main(["train", *TINY, word.format(quoted, name=name)]) == 2
    assert "canary" not in "".join(capfd.readouterr())
    assert not list(workdir.iterdir()), "it was written"
