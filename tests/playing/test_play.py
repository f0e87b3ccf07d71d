"""`gan-lab play`: its pictures are the run's own, and its server answers this machine's own page alone."""

from __future__ import annotations

import base64
import functools
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.cli import main
from gan_lab.core.runtime import inference
from gan_lab.datasets.store import unscale
from gan_lab.display.style import STYLE
from gan_lab.playing.playground import Playground
from gan_lab.playing.points import FRAMES, SLIDERS, Point, Points
from gan_lab.playing.server import WEB, Server
from gan_lab.playing.uploads import LARGEST, as_file
from tests import toy_data  # noqa: F401

ROOT = Path(__file__).parent.parent.parent
TINY = [
    "train", "experiment=none", "trainer.images=32", "trainer.batch_size=8", "trainer.device=cpu", "trainer.threads=1",
    "tracking.wandb.mode=disabled", "evaluation.metrics=[]", "dataset=toy_pictures", "dataset.image_size=28",
]  # fmt: skip
JUDGE = ["discriminator=mlp", "discriminator.width=8"]
STYLES = [
    *TINY, *JUDGE, "generator=stylegan2", "generator.width=4", "generator.latent_dim=16", "generator.mapping_layers=2",
    "generator.conditioning=concat",
]  # fmt: skip
TRANSLATION = [
    *TINY, "task=translation", "generator=srresnet", "generator.width=4", "generator.blocks=1",
    "degradation=super_resolution", "discriminator=patchgan", "discriminator.layers=1", "discriminator.width=4",
]  # fmt: skip


def trained(words: list[str], folder: Path) -> gan_lab.Run:
    assert main([*words, f"run_dir={folder / 'run'}"]) == 0
    return gan_lab.load(folder / "run", device="cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> gan_lab.Run:
    """A generator with classes and a mean style."""
    return trained(STYLES, tmp_path_factory.mktemp("styles"))


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> gan_lab.Run:
    return trained(TRANSLATION, tmp_path_factory.mktemp("translator"))


def served(run: gan_lab.Run) -> Iterator[Server]:
    server = Server(Playground(run, str(run.path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def server(run: gan_lab.Run) -> Iterator[Server]:
    yield from served(run)


@pytest.fixture(scope="module")
def taking(translator: gan_lab.Run) -> Iterator[Server]:
    """A server of a run that takes files."""
    yield from served(translator)


def ask(
    server: Server, path: str, body: bytes | None = None, *, host: str | None = None, method: str = "", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """The status, the content (of JSON, its values) and the headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named = {"Content-Type": "application/octet-stream"} | named
    connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    if body is not None and "Content-Length" not in named:
        named["Content-Length"] = str(len(body))
    for name, value in named.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    content, kind = answer.read(), answer.headers["Content-Type"]
    connection.close()
    return answer.status, json.loads(content) if kind == "application/json" else content, dict(answer.headers)


def asked(server: Server, path: str, **query: object) -> Any:
    status, content, _ = ask(server, f"{path}?{urlencode(query)}")
    assert status == 200, content
    return content


def pixels(picture: str | bytes) -> np.ndarray:
    """A PNG, or the address of one, as int [H, W, C]."""
    content = base64.b64decode(picture.removeprefix("data:image/png;base64,")) if isinstance(picture, str) else picture
    found = np.asarray(Image.open(io.BytesIO(content)), int)
    return found if found.ndim == 3 else found[..., None]


def stored(samples: torch.Tensor) -> np.ndarray:
    return unscale(samples).numpy().astype(int)


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"label": 1}, {"truncation": 0.5}, {"label": 0, "truncation": -1.0}])
def test_a_seed_gives_the_samples_of_the_command_line(
    server: Server, run: gan_lab.Run, tmp_path: Path, chosen: dict[str, float]
) -> None:
    found = asked(server, "/samples", num=5, seed=3, **chosen)
    shown = np.stack([pixels(picture) for picture in found["pictures"]])
    expected = run.examples(5, seed=3, **chosen)  # type: ignore[arg-type]
    assert (shown == stored(expected["sample"])).all()
    assert found["labels"] == expected["label"].tolist()
    words = [word for name, value in chosen.items() for word in (f"--{name}", str(value))]
    file = tmp_path / "a.npz"
    command = ["sample", str(run.path), "--num", "5", "--seed", "3", "--out", str(file), "--device", "cpu"]
    assert main([*command, *words]) == 0
    assert (shown == np.load(file)["images"]).all()


def test_truncation_from_python_is_for_one_call(run: gan_lab.Run) -> None:
    usual, mean = run.sample(4, label=0), run.sample(4, label=0, truncation=0)
    assert torch.equal(run.sample(4, label=0), usual)
    assert not torch.equal(mean, usual)
    torch.testing.assert_close(mean, mean[:1].expand_as(mean))  # the mean style's picture, four times
    with pytest.raises(ValueError, match="at least -2 and at most 2"):
        run.sample(4, truncation=3)
    assert torch.equal(run.sample(4, label=0), usual)


def test_the_picture_at_a_point_is_that_sample(server: Server, run: gan_lab.Run) -> None:
    samples = stored(run.sample(64, seed=4, truncation=0.7))
    for index in (0, 5, 63):
        found = pixels(asked(server, "/picture.png", seed=4, index=index, truncation=0.7))
        assert np.abs(found - samples[index]).max() <= 1
    other = pixels(asked(server, "/picture.png", seed=4, index=5, label=1, truncation=0.7))
    assert np.abs(other - stored(run.sample(6, seed=4, label=1, truncation=0.7))[5]).max() <= 1


@pytest.mark.parametrize("statistics", ["batch", "standing"])
def test_a_point_is_its_sample_whatever_batch_norm_does(statistics: str, tmp_path: Path) -> None:
    words = [*TINY, *JUDGE, "generator=dcgan", "generator.width=4", f"evaluation.batch_norm={statistics}"]
    run = trained(words, tmp_path)
    expected = stored(run.sample(8, seed=1))
    playground = Playground(gan_lab.load(run.path, device="cpu"), "run")
    found = playground.samples({"num": "8", "seed": "1"}).content["pictures"]
    assert (np.stack([pixels(picture) for picture in found]) == expected).all()
    point = pixels(playground.picture({"seed": "1", "index": "6"}).content)
    assert np.abs(point - expected[6]).max() <= 1


def test_an_interpolation_goes_from_the_point_to_the_other_seed(server: Server, run: gan_lab.Run) -> None:
    found = asked(server, "/path", seed=4, index=3, label=1, end=9)["pictures"]
    assert len(found) == FRAMES
    first, last = stored(run.sample(4, seed=4, label=1))[3], stored(run.sample(1, seed=9, label=1))[0]
    assert np.abs(pixels(found[0]) - first).max() <= 1
    assert np.abs(pixels(found[-1]) - last).max() <= 1
    still = asked(server, "/path", seed=9, index=0, label=1, end=9)["pictures"]  # no circle leads from it to itself
    assert np.abs(np.stack([pixels(picture) for picture in still]) - last).max() <= 1


def test_sliders_add_to_the_latent(server: Server, run: gan_lab.Run) -> None:
    task = run.trained.task
    z = task.latents(3, 4)[0][2:]
    moved = z.clone()
    moved[0, :2] += torch.tensor([1.5, -2.0])
    with inference(run.networks, "running") as nets:
        expected = stored(task.generate(nets, moved, torch.tensor([1])))[0]
    found = asked(server, "/picture.png", seed=4, index=2, label=1, axes="coordinates", moves="1.5,-2")
    assert np.abs(pixels(found) - expected).max() <= 1
    assert np.abs(expected - stored(run.sample(3, seed=4, label=1))[2]).max() > 1


def test_directions_are_of_the_first_layer_that_sees_the_latent(run: gan_lab.Run) -> None:
    """Not of the one that sees the class alone, which comes before it."""
    points = Points(run.trained)
    assert points.steps["directions"].shape == (SLIDERS, run.trained.task.latent_dim)
    assert run.show(2, grid="directions").content.ndim == 3  # type: ignore[union-attr]
    still, there = (points.picture(Point(0, 0, 1, "directions", moves)) for moves in ((), (3.0,)))
    assert not torch.allclose(still, there, atol=1e-3)


def test_the_page_is_told_what_there_is(server: Server, run: gan_lab.Run) -> None:
    about = asked(server, "/about")
    assert about["pictures"]
    assert about["truncates"]
    assert len(about["classes"]) == run.trained.about["num_classes"]
    assert about["sliders"] == {"directions": SLIDERS, "coordinates": SLIDERS}
    assert ["images", "32"] in about["about"]
    assert about["scores"] == []


def test_scores_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    words = [
        *TINY[:-2], *JUDGE, "generator=mlp", "generator.width=8", "dataset=mixture", "dataset.samples=64",
        "evaluation.every=16", "evaluation.samples=16", "evaluation.selection_samples=16",
        "trainer.checkpoint_every=16",
    ]  # fmt: skip
    run = trained([word for word in words if word != "evaluation.metrics=[]"], tmp_path)
    about = Playground(run, "run").about({}).content
    assert not about["pictures"]
    assert about["lines"]  # a cloud of points
    assert {score["name"]: score["value"] for score in about["scores"]} == {
        name: f"{entry['value']:.4g}" for name, entry in run.summary["metrics"].items()
    }
    seen = Playground(gan_lab.load(run.path, checkpoint=16, device="cpu"), "run").about({}).content["scores"]
    records = map(json.loads, (run.path / "metrics.jsonl").read_text().splitlines())
    selection = {k: v for record in records if record["images"] == 16 for k, v in record.items() if "selection/" in k}
    assert selection
    assert {f"selection/{score['name']}": score["value"] for score in seen} == {
        name: f"{value:.4g}" for name, value in selection.items()
    }


# -- files -------------------------------------------------------------------------------------------------------------


def a_picture(size: tuple[int, int] = (20, 14)) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.arange(size[0] * size[1], dtype=np.uint8).reshape(size[::-1])).save(packed, format="PNG")
    return packed.getvalue()


def test_a_dropped_file_becomes_what_gan_lab_apply_makes_of_it(
    taking: Server, translator: gan_lab.Run, tmp_path: Path
) -> None:
    status, found, _ = ask(taking, "/apply", a_picture())
    assert status == 200, found
    (tmp_path / "a.png").write_bytes(a_picture())
    words = ["apply", str(translator.path), str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 0
    assert base64.b64decode(found["file"]) == (tmp_path / "out" / "a.png").read_bytes()
    assert (pixels(found["result"]) == pixels(base64.b64decode(found["file"]))).all()
    assert (pixels(found["source"]) == pixels(a_picture())).all()


NO_PICTURES = {
    "nothing": b"",
    "noise": bytes(range(256)) * 4,
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "half": a_picture()[:60],
    "array": b"\x93NUMPY\x01\x00nonsense",
    "pickle": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + b" " * 60 + b"\n",
    "dicom": bytes(128) + b"DICM" + bytes(40),
    "tiff": b"II*\0" + bytes(30),
    "bomb": re.sub(rb"(?s)(IHDR).{8}", rb"\1" + (60_000).to_bytes(4, "big") * 2, a_picture()),
    "large": a_picture((2100, 1000)),
}


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES)
def test_what_is_no_picture_gets_one_line_and_leaves_nothing(
    taking: Server, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    status, found, _ = ask(taking, "/apply", content)
    assert status == 400
    assert found["error"]
    assert "\n" not in found["error"]
    assert str(tmp_path) not in found["error"], "no path of this machine"
    assert "unexpected" not in found["error"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_lies_in_a_folder_of_this_user_alone() -> None:
    with as_file(b"content") as file:
        assert file.read_bytes() == b"content"
        assert file.parent.stat().st_mode & 0o077 == 0
    assert not file.parent.exists()


def test_too_large_a_file_is_refused_before_it_is_read(taking: Server) -> None:
    status, found, _ = ask(taking, "/apply", b"", Content_Length=str(LARGEST + 1))
    assert (status, found) == (413, {"error": "a file may have 32 MiB at most"})
    assert ask(taking, "/apply", b"", Content_Length="9" * 5000)[0] == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),  # as a form of another page could send it
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content_Length": "-1"}, 411),
        ({"Content_Length": "many"}, 411),
    ],
)
def test_only_a_file_itself_is_taken(taking: Server, headers: dict[str, str], status: int) -> None:
    assert ask(taking, "/apply", b"", **headers)[0] == status


def test_a_picture_of_too_many_pixels_for_a_page_is_referred_to_the_command(taking: Server) -> None:
    assert "gan-lab apply" in ask(taking, "/apply", NO_PICTURES["large"])[1]["error"]


# -- who may ask, and for what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:7860", "", "0.0.0.0", "[", "127.0.0.1@evil.net"]
)
@pytest.mark.parametrize("path", ["/", "/about", "/samples"])
def test_another_name_of_this_machine_is_refused(server: Server, host: str, path: str) -> None:
    status, found, _ = ask(server, path, host=host)
    assert status == 403
    assert found == {"error": "this page is at http://127.0.0.1, under no other name"}


def test_two_names_are_refused(server: Server) -> None:
    assert ask(server, "/about", **{"host": "localhost", "Host": "evil.example"})[0] == 403  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:1234", "LOCALHOST"])
def test_a_tunnel_may_have_another_port(server: Server, host: str) -> None:
    assert ask(server, "/about", host=host)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
     {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}],
)  # fmt: skip
def test_other_pages_are_not_answered(server: Server, taking: Server, headers: dict[str, str]) -> None:
    assert ask(server, "/samples", **headers)[0] == 403
    assert ask(taking, "/apply", a_picture(), **headers)[0] == 403
    port = str(server.server_port)
    assert ask(server, "/samples", Origin=f"http://127.0.0.1:{port}", Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize("path", ["/play.html", "/../play.html", "/..%2f..%2fserver.py", "//etc/passwd", "/etc/passwd",
                                  "/samples/", "/apply", "/score", "http://evil.example/about/"])  # fmt: skip
def test_there_are_no_other_addresses(server: Server, path: str) -> None:
    status, found, _ = ask(server, path)
    assert (status, found) == (404, {"error": "there is no such address"})
    assert ask(server, path, b"")[0] == 404


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("/samples?num=65", "num: 65 is not between 1 and 64"),
        ("/samples?num=0", "num: 0 is not between"),
        ("/samples?num=1e9", "num: 1e9 is no whole number"),
        ("/samples?seed=-1", "seed: -1 is not between"),
        ("/samples?seed=" + "9" * 5000, "is no whole number"),
        ("/samples?seed=--1", "is no whole number"),
        ("/samples?seed=%D9%A3", "is no whole number"),
        ("/samples?label=10", "label: 10 is not between 0 and 1"),
        ("/samples?truncation=9", "it must be at least -2"),
        ("/samples?truncation=nan", "truncation: nan is no number"),
        ("/picture.png?index=64", "index: 64 is not between 0 and 63"),
        ("/picture.png?axes=evil", "axes: choose from directions, coordinates"),
        ("/picture.png?moves=1,2,inf", "moves: inf is no number"),
        ("/picture.png?moves=6", "moves: they go from -5 to 5"),
        ("/picture.png?moves=" + ",".join("1" * 9), "there are 8 sliders, not 9"),
        ("/sheet?num=100000", "num: 100000 is not between"),
        ("/samples?" + "&".join(f"a{i}=1" for i in range(30)), "Max number of fields exceeded"),
    ],
)
def test_a_bad_question_gets_one_line(server: Server, question: str, why: str) -> None:
    status, found, _ = ask(server, question)
    assert status == 400
    assert why in found["error"]
    assert "\n" not in found["error"]


def test_the_page_takes_nothing_from_elsewhere_and_has_nothing_inline(server: Server) -> None:
    for path in ("/", "/play.css", "/play.js"):
        status, content, headers = ask(server, path, Sec_Fetch_Site="cross-site")  # a link to it is no harm
        assert status == 200
        assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert b"http" not in content
    html = (WEB / "play.html").read_text()
    assert not re.search(r"<style|\son\w+=|style=|<script(?! src)", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", (WEB / "play.js").read_text())
    assert ask(server, "/play.css")[1].decode() == STYLE.read_text() + (WEB / "play.css").read_text()


def test_questions_are_answered_one_at_a_time(server: Server) -> None:
    """Also when a browser asks several at once, with other truncations: each gets its own."""
    wanted = [0.2, 0.6, 1.0, 1.4] * 3
    found: dict[int, list[str]] = {}

    def one(i: int) -> None:
        found[i] = asked(server, "/samples", num=2, seed=1, truncation=wanted[i])["pictures"]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, psi in enumerate(wanted):
        assert found[i] == asked(server, "/samples", num=2, seed=1, truncation=psi)["pictures"]


def test_an_idle_connection_does_not_keep_others_from_an_answer(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)):
        assert ask(server, "/about")[0] == 200


def test_an_unexpected_error_is_one_line_without_secrets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "canary-canary-canary")

    def fails(query: object) -> None:
        raise RuntimeError("canary-canary-canary\nand more")

    monkeypatch.setitem(server.playground.asked, "/samples", fails)
    status, found, _ = ask(server, "/samples")
    assert status == 500
    assert found["error"] == "unexpected RuntimeError: [redacted] and more"


# -- the command -------------------------------------------------------------------------------------------------------


def refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    assert main(["play", *words]) == 2
    error = capfd.readouterr().err
    assert error.startswith("gan-lab: ")
    assert error.count("\n") == 1
    return error


def test_a_taken_port_is_one_message(run: gan_lab.Run, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    error = refused([str(run.path), "--port", str(server.server_port), "--device", "cpu"], capfd)
    assert f"--port {server.server_port}: another program has it" in error


def test_what_cannot_be_played_is_one_message(
    run: gan_lab.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "no run directory" in refused([str(tmp_path / "none")], capfd)
    assert "--port 70000: ports are" in refused([str(run.path), "--port", "70000"], capfd)
    assert "--checkpoint 7" in refused([str(run.path), "--checkpoint", "7"], capfd)
    (tmp_path / "config.yaml").write_text((run.path / "config.yaml").read_text())
    assert "checkpoint" in refused([str(tmp_path)], capfd)


@pytest.mark.slow
def test_an_interrupt_ends_it_quietly(run: gan_lab.Run) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GAN_LAB_PLUGINS": "tests.toy_data"}
    words = ["play", str(run.path), "--device", "cpu", "--port", "0"]
    program = "import tests.toy_data, sys; from gan_lab.cli import main; sys.exit(main(sys.argv[1:]))"
    # A shell's background jobs, and what they start, ignore Ctrl-C: here it must reach the page.
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    job = subprocess.Popen(
        [sys.executable, "-c", program, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=heeding,
    )  # fmt: skip
    assert job.stdout is not None
    assert job.stdout.readline().startswith("playing   ")
    (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)  \(Ctrl-C ends\)", job.stdout.readline())
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    connection.request("GET", "/samples")
    assert connection.getresponse().status == 200
    job.send_signal(signal.SIGINT)
    _, error = job.communicate(timeout=30)
    assert (job.returncode, error) == (0, "")
