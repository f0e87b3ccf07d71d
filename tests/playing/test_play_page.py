"""The page of `gan-lab play`, in a headless Chromium where there is one."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gan_lab
from gan_lab.cli import main
from gan_lab.datasets.store import unscale
from gan_lab.playing.playground import Playground
from gan_lab.playing.server import Server
from tests.playing.test_play import STYLES, TRANSLATION, a_picture
from tests.tasks.toys import QUICK, TEXT

pytestmark = pytest.mark.slow

WAIT = 30_000  # milliseconds: the machine may be busy


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, gan_lab.Run]:
    folder = tmp_path_factory.mktemp("runs")
    text = ["train", *QUICK, *TEXT, "trainer.images=16", "evaluation.metrics=[]"]
    for name, words in (("styles", STYLES), ("translator", TRANSLATION), ("text", text)):
        assert main([*words, f"run_dir={folder / name}"]) == 0
    return {name: gan_lab.load(folder / name, device="cpu") for name in ("styles", "translator", "text")}


@pytest.fixture
def page(browser: Any, runs: dict[str, gan_lab.Run], request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page of a run, which `request.param` names. Nothing but it is asked for, and nothing is wrong with it."""
    server = Server(Playground(runs[request.param], request.param))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(WAIT)
    page = context.new_page()
    troubles: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: message.type in ("error", "warning") and troubles.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.troubles = troubles
    yield page
    assert troubles == []
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    context.close()
    server.shutdown()
    server.server_close()


def settled(page: Any) -> None:
    """Wait until all that was asked for has come, with what follows it."""
    page.wait_for_timeout(400)
    until(page, "!document.querySelector('[aria-busy=true]')")


def until(page: Any, expression: str) -> None:
    """Wait for it. Playwright's own way would be to evaluate text in the page, which the page does not allow."""
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def shown(page: Any, selector: str) -> np.ndarray:
    """The pixels of a picture of the page, int [H, W]."""
    script = """async (image) => {
        await image.decode();
        const canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        const values = context.getImageData(0, 0, canvas.width, canvas.height).data;
        return [canvas.height, canvas.width, Array.from(values.filter((_, i) => i % 4 === 0))];
    }"""
    height, width, values = page.locator(selector).first.evaluate(script)
    return np.array(values).reshape(height, width)


def looks(page: Any) -> None:
    """Both widths and both colour schemes: no horizontal scrolling, and text that can be read."""
    for width, height in ((1440, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 21, 26)")):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
            assert page.evaluate("document.documentElement.scrollWidth") == width
            out = """[...document.querySelectorAll('button, input, select, img, a, summary')].filter((element) => {
                const box = element.getBoundingClientRect();
                return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5) && !element.matches('.skip');
            }).length"""
            assert page.evaluate(out) == 0, (width, scheme)


@pytest.mark.parametrize("page", ["styles"], indirect=True)
def test_a_generator_is_played_with(page: Any, runs: dict[str, gan_lab.Run]) -> None:
    run = runs["styles"]

    def picture(i: int, **chosen: Any) -> np.ndarray:
        return unscale(run.sample(16, **chosen)).numpy()[i, ..., 0].astype(int)  # type: ignore[no-any-return]

    page.wait_for_selector("#grid button")
    settled(page)
    assert page.locator("#grid button").count() == 16
    assert (shown(page, "#grid button:nth-child(7) img") == picture(6, seed=0)).all()
    # a click, or a key, chooses a picture
    page.locator("#grid button").nth(6).click()
    settled(page)
    assert page.locator("#grid button[aria-pressed=true]").count() == 1
    assert np.abs(shown(page, "#picture") - picture(6, seed=0)).max() <= 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    settled(page)
    assert page.inner_text("#which").startswith("seed 0, sample 7, ")
    # sliders move it, and only it
    slider = page.locator("#sliders input").first
    for _ in range(20):
        slider.press("ArrowRight")
    settled(page)
    assert page.locator("#sliders output").first.inner_text() == "2"
    moved = shown(page, "#picture")
    assert np.abs(moved - picture(7, seed=0)).max() > 1
    page.click("#reset")
    settled(page)
    assert np.abs(shown(page, "#picture") - picture(7, seed=0)).max() <= 1
    # interpolation ends at the other seed's first sample, of the same class
    page.fill("#end", "5")
    page.locator("#end").press("Tab")
    settled(page)
    page.locator("#strip button").last.click()
    label = int(page.input_value("#its-class"))
    assert np.abs(shown(page, "#picture") - picture(0, seed=5, label=label)).max() <= 1
    assert "100% of the way to seed 5" in page.inner_text("#which")
    page.locator("#share").press("Home")
    assert page.inner_text("#which").startswith("seed 0, sample 7, ")
    # another class, seed and truncation
    page.select_option("#class", "1")
    settled(page)
    page.fill("#seed", "3")
    page.locator("#seed").press("Tab")
    settled(page)
    page.locator("#truncation").fill("0.5")
    settled(page)
    assert (shown(page, "#grid button:nth-child(4) img") == picture(3, seed=3, label=1, truncation=0.5)).all()
    before = page.input_value("#seed")
    page.click("#new")
    settled(page)
    assert page.input_value("#seed") != before
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename.startswith("styles-seed-")
    saved = np.asarray(Image.open(Path(download.value.path())), int)
    assert (saved == shown(page, "#picture")).all()
    page.select_option("#num", "64")
    settled(page)
    assert page.locator("#grid button").count() == 64
    page.locator("footer summary").click()
    looks(page)


@pytest.mark.parametrize("page", ["translator"], indirect=True)
def test_a_file_is_translated_or_refused_in_one_line(page: Any) -> None:
    page.wait_for_selector("#drop")
    page.set_input_files("#file", {"name": "mine.png", "mimeType": "image/png", "buffer": a_picture((20, 14))})
    page.wait_for_selector("#outcome")
    settled(page)
    source, result = shown(page, "#source"), shown(page, "#result")
    assert (source == np.asarray(Image.open(io.BytesIO(a_picture((20, 14)))))).all()
    assert result.shape == (28, 40)
    with page.expect_download() as download:
        page.click("#keep")
    assert download.value.suggested_filename == "mine-translator.png"
    assert (np.asarray(Image.open(Path(download.value.path()))) == result).all()
    page.set_input_files("#file", {"name": "mine.png", "mimeType": "image/png", "buffer": b"<script>alert(1)</script>"})
    page.wait_for_selector("#trouble")
    assert page.inner_text("#trouble") == "cannot identify image file 'the file'"
    page.troubles.clear()  # Chromium notes every answer of 400
    dropped = """() => {
        const data = new DataTransfer();
        const bytes = Uint8Array.from(atob('%s'), (letter) => letter.charCodeAt(0));
        data.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }));
        document.getElementById('drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }));
    }"""
    page.evaluate(dropped % base64.b64encode(a_picture((9, 8))).decode())
    until(page, "document.getElementById('source').naturalWidth === 9")
    settled(page)
    assert page.locator("#trouble").is_hidden()
    assert shown(page, "#result").shape == (16, 18)
    page.click("#held-out summary")
    page.wait_for_selector("#data-sheet img")
    settled(page)
    assert page.inner_text("#data-caption") == "from the left: input, output, truth"
    looks(page)


@pytest.mark.parametrize("page", ["text"], indirect=True)
def test_lines_of_text_are_those_of_the_run(page: Any, runs: dict[str, gan_lab.Run]) -> None:
    page.wait_for_selector("#sheet li")
    settled(page)
    assert page.locator("#sheet li").all_inner_texts() == str(runs["text"].show(20).content).splitlines()
    page.fill("#seed", "2")
    page.locator("#seed").press("Enter")
    settled(page)
    assert page.locator("#sheet li").all_inner_texts() == str(runs["text"].show(20, seed=2).content).splitlines()
    with page.expect_download() as download:
        page.click("#save")
    assert Path(download.value.path()).read_text() == runs["text"].show(20, seed=2).content
    looks(page)
