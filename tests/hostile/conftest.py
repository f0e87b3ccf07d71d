"""What tests of hostile input share: none may hang, take much memory or run code, and a refusal changes no file."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gan_lab.cli import main

SECONDS = 60.0
Bounded = Callable[[int], AbstractContextManager[None]]
Refused = Callable[..., str]
TINY = [
    "experiment=ring", "trainer.images=128", "trainer.threads=1", "evaluation.metrics=[]",
    "tracking.wandb.mode=disabled",
]  # fmt: skip


class Hang(BaseException):
    """Not caught where any error of a decoder is."""


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """A reader that waits for a pipe fails its test and does not stop all others."""

    def late(*_: object) -> None:
        raise Hang(f"it has not ended after {SECONDS:.0f} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory_below() -> Bounded:
    """A context in which Python and numpy together may not hold more than so many bytes at any time."""

    @contextlib.contextmanager
    def below(most: int) -> Iterator[None]:
        tracemalloc.start()
        try:
            yield
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < most, f"{peak:,} bytes"

    return below


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", *TINY, "run_dir=run"]) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, workdir: Path) -> Path:
    """A run of the stranger's, in the current folder."""
    shutil.copytree(trained, workdir / "run")
    return Path("run")


@pytest.fixture
def marker(workdir: Path) -> Iterator[Path]:
    """A file that only code of the stranger would make."""
    yield workdir / "marker"
    assert not (workdir / "marker").exists(), "code of the stranger ran"


@pytest.fixture
def refused(marker: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused in one line, with exit code 2, and leave every file as it is."""

    def command(*words: str) -> str:
        before = files()
        capfd.readouterr()
        assert main(list(words)) == 2
        error = capfd.readouterr().err.strip()
        assert error.startswith("gan-lab: ")
        assert "Traceback" not in error
        assert "unexpected" not in error
        assert not marker.exists(), "code of the stranger ran"
        assert files() == before
        return error

    return command


def files() -> dict[str, tuple[int, int]]:
    """Size and time of all files below the current folder, but for locks."""
    found = {}
    for path in Path().rglob("*"):
        if path.is_file() and not path.name.endswith(".lock"):
            status = path.lstat()
            found[str(path)] = status.st_size, status.st_mtime_ns
    return found
