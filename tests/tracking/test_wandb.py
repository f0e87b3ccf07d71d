"""Weights & Biases: offline runs that say everything, and a service whose trouble is never the run's."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlparse

import pytest

from gan_lab.cli import main
from gan_lab.config.sections import Wandb
from gan_lab.tracking import server
from gan_lab.tracking import wandb as tracking
from gan_lab.tracking.server import decide_mode
from gan_lab.tracking.wandb import WandbTracker
from tests.tracking.stub_wandb import StubWandb

COMMAND = (
    "train experiment=none generator=mlp discriminator=mlp dataset=mixture generator.width=8 discriminator.width=8 "
    "trainer.batch_size=32 dataset.samples=256 evaluation.samples=32 trainer.device=cpu run_dir=run"
)
TRAIN = COMMAND.split()


@pytest.fixture(autouse=True)
def own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no settings and no folders but this test's."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / f"wandb-{name.lower()}"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


def inspect(folder: Path) -> list[dict[str, Any]]:
    """An offline run's records, by W&B's own reader."""
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return content


# -- an offline run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a thousand images, tracked offline."""
    path = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.delenv("WANDB_API_KEY", raising=False)
        for name in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(path / f"wandb-{name.lower()}"))
        words = [
            "tracking.wandb.mode=offline", "tracking.wandb.tags=[one,two]", "tracking.wandb.project=tests",
            "trainer.images=1024", "tracking.log_every=256", "tracking.samples_every=512", "evaluation.every=512",
        ]  # fmt: skip
        assert main([*TRAIN, *words]) == 0
    return path / "run"


@pytest.fixture(scope="module")
def records(offline: Path) -> list[dict[str, Any]]:
    (folder,) = offline.glob("wandb/offline-run-*")
    return inspect(folder)


def history(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def test_each_setting_is_a_column_and_the_run_has_its_group(records: list[dict[str, Any]]) -> None:
    (run,) = (record["run"] for record in records if record["type"] == "run")
    config = run["config"]["update"]
    for part, name in (
        ("generator", "mlp"),
        ("discriminator", "mlp"),
        ("loss", "non_saturating"),
        ("dataset", "mixture"),
    ):
        assert config[f"{part}.name"] == name
    assert config["generator.width"] == 8
    assert config["trainer.images"] == 1024
    assert config["optimizer.generator.name"] == "adam"
    assert config["regularizer"] == "none"
    assert (run["project"], run["job_type"], run["run_group"]) == ("tests", "train", "none")
    assert set(run["tags"]) == {"one", "two", "none", "mixture", "mlp", "non_saturating"}
    assert run["display_name"] == "none-run"


def test_everything_is_drawn_against_images(records: list[dict[str, Any]]) -> None:
    metrics = [record["metric"] for record in records if record["type"] == "metric"]
    assert {metric.get("glob_name"): metric.get("step_metric") for metric in metrics}["*"] == "images"
    shown = [item["images"] for item in history(records)]
    assert shown == sorted(shown)
    assert set(shown) == {256, 512, 768, 1024}


def test_the_history_has_what_one_watches_a_gan_by(records: list[dict[str, Any]], offline: Path) -> None:
    wanted = {
        "discriminator/adversarial", "generator/adversarial", "discriminator/real_logits", "discriminator/fake_logits",
        "discriminator/real_accuracy", "discriminator/fake_accuracy", "discriminator/gradient_norm",
        "generator/gradient_norm", "performance/images_per_second", "learning_rate/generator",
        "learning_rate/discriminator",
    }  # fmt: skip
    logged = [item for item in history(records) if "generator/adversarial" in item]
    assert [item["images"] for item in logged] == [256, 512, 768, 1024]
    written = [record for record in metrics(offline) if "generator/adversarial" in record]
    for item, record in zip(logged, written, strict=True):
        assert wanted <= item.keys()
        assert {name: item[name] for name in wanted} == pytest.approx({name: record[name] for name in wanted})
    assert any("selection/modes" in item for item in history(records))


def test_the_pictures_are_the_run_directorys(records: list[dict[str, Any]], offline: Path) -> None:
    pictures = {item["images"]: item["samples.path"] for item in history(records) if "samples.path" in item}
    assert pictures.keys() == {512, 1024}
    (folder,) = offline.glob("wandb/offline-run-*")
    for images, path in pictures.items():
        sent = (folder / "files" / path).read_bytes()
        assert sent == (offline / "samples" / f"{images}.png").read_bytes()


def test_the_packages_are_listed_as_wandb_lists_them(offline: Path) -> None:
    from wandb.util import working_set

    (folder,) = offline.glob("wandb/offline-run-*")
    listed = (folder / "files" / "requirements.txt").read_text().splitlines()
    assert f"torch=={version('torch')}" in listed
    assert set(listed) <= {f"{package.key}=={package.version}" for package in working_set()}
    assert listed == sorted(listed)
    assert len(listed) > 20


def test_the_end_is_told_with_the_final_scores(records: list[dict[str, Any]], offline: Path) -> None:
    assert [record["exit"]["exit_code"] for record in records if record["type"] == "exit"] == [0]
    last: dict[str, Any] = {}
    for record in records:
        if record["type"] == "summary":
            last |= record["summary"].get("update", {})
    assert last["status"] == "finished"
    final = {name: score["value"] for name, score in summary(offline)["metrics"].items()}
    assert final
    assert {name: last[f"final/{name}"] for name in final} == final
    assert last["provenance"]["modes"]["samples"] == summary(offline)["metrics"]["modes"]["samples"]
    assert last["images_per_second"] == summary(offline)["images_per_second"]


def test_a_second_run_of_the_process_lies_in_its_own_directory_and_holds_no_key(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B's service stays in the directory where the process's first run started it."""
    monkeypatch.chdir(tmp_path)
    secret = "5ec2e7beef" * 4
    monkeypatch.setenv("WANDB_API_KEY", secret)
    assert main([*TRAIN, "trainer.images=32", "tracking.wandb.mode=offline"]) == 0
    assert list(tmp_path.glob("run/wandb/offline-run-*/*.wandb"))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_going_on_keeps_the_id_and_the_group(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    started: list[dict[str, Any]] = []

    def init(**settings: Any) -> NoReturn:
        started.append(settings)
        raise RuntimeError("seen enough")

    monkeypatch.chdir(offline.parent)
    monkeypatch.setattr(wandb, "init", init)
    words = ["tracking.wandb.mode=offline", "trainer.images=1056", "tracking.wandb.group=mine", "evaluation.every=512"]
    with pytest.warns(UserWarning, match="W&B stopped"):
        assert main([*TRAIN, *words]) == 0
    assert started[0]["id"] in next(offline.glob("wandb/offline-run-*")).name
    assert started[0]["group"] == "mine"


# -- which mode --------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def open_port() -> Iterator[int]:
    with StubWandb() as server:
        yield int(server.url.rpartition(":")[2])


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes connections and answers nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_auto_without_a_key_is_offline_with_the_reason() -> None:
    mode, why = decide_mode("auto")
    assert mode == "offline"
    assert "wandb login" in str(why)


def test_online_without_a_key_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"wandb login.*WANDB_API_KEY"):
        decide_mode("online")


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_a_server_that_cannot_be_reached_is_offline_with_the_reason(
    mode: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port}")
    chosen, why = decide_mode(mode)
    assert chosen == "offline"
    assert "127.0.0.1 cannot be reached" in str(why)


def test_a_server_that_swallows_everything_is_offline(black_hole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PROBE_SECONDS", 0.2)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{black_hole}")
    chosen, why = decide_mode("online")
    assert chosen == "offline"
    assert "timed out" in str(why)


def test_a_server_behind_a_proxy_is_online(open_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.invalid")
    assert decide_mode("auto")[0] == "offline"
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{open_port}")
    assert decide_mode("auto") == ("online", None)


def test_a_server_of_ones_own_is_known_from_wandbs_settings(
    open_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `wandb login --host` writes them."""
    address = f"http://127.0.0.1:{open_port}"
    (tmp_path / "settings").write_text(f"[default]\nbase_url = {address}\n")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password xxxx\n")
    (tmp_path / "netrc").chmod(0o644)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    server._default_server.cache_clear()
    try:
        assert decide_mode("auto") == ("online", None)
    finally:
        server._default_server.cache_clear()


class Refusing(StubWandb):
    """It is there, and knows nobody."""

    def _answer(self, path: str, body: bytes) -> tuple[int, Any]:
        return 401, {"errors": [{"message": "who are you?"}]}


@pytest.mark.slow
def test_a_server_that_answers_and_then_refuses_makes_the_run_an_offline_one(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    with Refusing() as server:
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_MODE", "online")
        wandb.teardown()
        with pytest.warns(UserWarning, match="W&B") as warned:
            assert main([*TRAIN, "trainer.images=64"]) == 0
        wandb.teardown()
    told = [str(warning.message) for warning in warned if "W&B" in str(warning.message)]
    assert len(told) == 1
    assert "W&B is offline: CommError" in told[0]
    assert "401" in told[0]
    (offline,) = Path("run/wandb").glob("offline-run-*")
    assert summary(Path("run"))["wandb"] == str(offline)
    assert len(history(inspect(offline))) > 0


def test_a_secret_is_replaced_before_a_tag_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "wandb_v1_" + "a1b2c3d4" * 9
    monkeypatch.setenv("MY_API_KEY", secret)
    told: dict[str, Any] = {}
    monkeypatch.setattr(WandbTracker, "_start", lambda self, settings, config, words, best: told.update(words))
    WandbTracker(Wandb(), "offline", tmp_path, {}, name="n", group="g", job_type="t", tags=[f"key={secret}"], best={})
    assert told["tags"] == ["key=[redacted]"]


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_a_key_and_a_server_are_online(mode: str, open_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{open_port}")
    assert decide_mode(mode) == ("online", None)


def test_a_key_may_stand_in_the_netrc(open_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{open_port}")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password xxxx\n")
    (tmp_path / "netrc").chmod(0o600)
    assert decide_mode("auto") == ("online", None)
    (tmp_path / "netrc").write_text("machine elsewhere.example login user password xxxx\n")
    assert decide_mode("auto")[0] == "offline"


@pytest.mark.parametrize("host", ["default", "api.wandb.ai"])
def test_a_key_of_wandb_login_is_found_for_the_default_server(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wandb login` writes it under the server's name, which W&B has changed; the older name still serves."""
    import wandb

    tried: list[Any] = []

    def refuse(address: Any, *_: object, **__: object) -> NoReturn:
        tried.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", refuse)
    default = str(urlparse(wandb.Settings().base_url).hostname)
    (tmp_path / "netrc").write_text(f"machine {default if host == 'default' else host} login user password xxxx\n")
    (tmp_path / "netrc").chmod(0o600)
    mode, why = decide_mode("auto")
    assert (mode, tried) == ("offline", [(default, 443)])
    assert "no network here" in str(why)


def test_an_address_that_is_none_does_not_stop_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    for address in ("http://127.0.0.1:port", "http://127.0.0.1:99999", "nonsense", "http://"):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        assert decide_mode("auto")[0] == "offline", address


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_offline_and_disabled_ask_for_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert decide_mode(mode) == (mode, None)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert decide_mode("auto") == (mode, None)


# -- trouble -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["init", "define_metric", "log", "finish"])
def test_trouble_with_wandb_never_fails_a_run(
    where: str, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    class Run:
        """A run with one thing that does not work."""

        dir = "run/wandb/offline-run-1/files"
        url = None
        summary: dict[str, Any] = {}  # noqa: RUF012

        def __getattr__(self, name: str) -> Any:
            return self.trouble if name == where else lambda *_, **__: None

        def trouble(self, *_: object, **__: object) -> NoReturn:
            raise RuntimeError("the service is down")

    run = Run()
    monkeypatch.setattr(wandb, "init", run.trouble if where == "init" else lambda **_: run)
    with pytest.warns(UserWarning, match="W&B stopped .*the service is down") as warned:
        assert main([*TRAIN, "trainer.images=64", "tracking.log_every=32", "tracking.wandb.mode=offline"]) == 0
    assert sum("W&B stopped" in str(warning.message) for warning in warned) == 1
    assert summary(Path("run"))["status"] == "finished"
    assert [record["images"] for record in metrics(Path("run"))] == [32, 64]
    assert "wandb sync None" not in capsys.readouterr().out


def test_a_finish_that_never_ends_is_left_alone(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    for name in ("FINISH_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(tracking, name, 0.1)
    monkeypatch.setattr(wandb.Run, "finish", lambda *_, **__: threading.Event().wait())
    with pytest.warns(UserWarning, match="W&B stopped .*not all was sent"):
        assert main([*TRAIN, "trainer.images=64", "tracking.log_every=32", "tracking.wandb.mode=offline"]) == 0
    assert summary(Path("run"))["status"] == "finished"
    monkeypatch.undo()
    wandb.teardown()


def test_a_disabled_run_does_without_wandb(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="W&B stopped")
        assert main([*TRAIN, "trainer.images=32", "tracking.wandb.mode=disabled"]) == 0
    assert summary(Path("run"))["status"] == "finished"
    assert not list(Path("run").glob("wandb"))
