"""The page of `compare --html` over a stranger's runs: whatever stands in them is text. Nothing runs or is fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gan_lab.cli import main
from tests.comparing.planted import COVERAGE, FD, plant

CALL = "window.ran=(window.ran||0)+1;fetch('http://127.0.0.1:9/'+window.ran)"
PAYLOADS = (
    f"</script><script>{CALL}</script>",
    f'<img src=x onerror="{CALL}">',
    f"\"'><svg onload={CALL}>",
    f'<a href="javascript:{CALL}">link</a>',
    f'<iframe srcdoc="<script>parent.{CALL}</script>"></iframe>',
    '<link rel=stylesheet href="http://127.0.0.1:9/a.css"><img src="http://127.0.0.1:9/a.png">',
    "<!-- script --><!-- data -->${7*7}{{7*7}}`",
    "\u2028\u202e]]>*/--></style>\x1b[2J",
)
PROVENANCE = {"extractor": PAYLOADS[1], "layer": PAYLOADS[2]}  # equal, as runs are compared


def everywhere(path: Path, text: str, seed: int) -> None:
    """A run with this text in its settings, their names, its error, health, scores, provenance and links."""
    run = plant(
        path, fd=1.0 + seed / 10, seed=seed, picture=True, loss=text, generator__depth=text, about=PROVENANCE,
        health=[
            {
                "signal": text, "title": text, "level": text, "images": 200, "last": 400, "value": 0.99,
                "threshold": 0.97, "found": text, "advice": text,
            }
        ],
    )  # fmt: skip
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["generator"] |= {text: text, "classes": [text, {text: text}]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"error": text, "wandb": text if seed else f"javascript:{CALL}", "caption": text, "class_names": [text]}
    summary["metrics"][f"{text}/train"] = summary["metrics"][FD] | {"why": text, "split": text, "source": text}
    summary["metrics"][COVERAGE]["versions"] = {text: text}
    (run / "summary.json").write_text(json.dumps(summary))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"images": 400, "seconds": 1.0, text: 1.0, f"selection/{text}": 2.0}) + "\n")
    (run / "samples" / "500.txt").write_text(text)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for i, text in enumerate(PAYLOADS):
        for seed in range(3):
            name = text.replace("/", "\u2215").replace("\0", "") if seed == 2 else "run"
            everywhere(folder / f"{i}-{seed}-{name[:150]}", text, seed)
        failed = plant(folder / f"{i}-failed", seed=9, loss=text, status="failed", error=text)
        assert failed.is_dir()
    file = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["compare", str(folder), "--html", str(file)]) == 0
    return file


@pytest.fixture(scope="module")
def opened(page_file: Path, browser: Any) -> Iterator[tuple[Any, list[str]]]:
    """The page in a browser, and the addresses that it asked for."""
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(f"dialog {dialog.message}"))
    page.goto(f"file://{page_file}")
    page.wait_for_selector("#curve-plot .scatterlayer .trace")
    yield page, asked
    page.close()


def test_the_data_end_no_script_early(page_file: Path) -> None:
    text = page_file.read_text()
    data = text.split('id="data">')[1].split("</script>")[0]
    assert "<" not in data
    assert json.loads(data)["settings"]


@pytest.mark.slow
def test_the_texts_would_run_in_a_page_that_takes_them_for_its_own(opened: tuple[Any, list[str]]) -> None:
    """The check itself: it sees scripts and requests."""
    page = opened[0].context.browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(f"<script>0{''.join(PAYLOADS[:3])}")
    page.wait_for_function("window.ran >= 3")
    assert "http://127.0.0.1:9/3" in asked
    page.close()


@pytest.mark.slow
def test_no_script_of_the_runs_is_run_and_no_request_leaves(opened: tuple[Any, list[str]]) -> None:
    page, asked = opened
    for button in page.locator("thead button").all()[:30]:  # tables are drawn again
        button.click()
    for summary in page.locator("summary").all()[:30]:
        summary.evaluate("element => element.click()")
    page.mouse.move(600, 400)
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert sum(url.startswith("file:") for url in asked) == 1


@pytest.mark.slow
def test_the_texts_of_the_runs_are_shown_as_text(opened: tuple[Any, list[str]]) -> None:
    page, _ = opened
    shown = page.evaluate("document.body.innerText")
    for text in PAYLOADS[:6]:
        assert text[:20] in shown
    handlers = """[...document.querySelectorAll('*')].flatMap(element => [...element.attributes])
        .filter(attribute => attribute.name.startsWith('on')).length"""
    assert page.evaluate(handlers) == 0
    assert page.evaluate("document.querySelectorAll('iframe, object, embed, link').length") == 0
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href') || '')")
    plain = page.evaluate(
        "[...document.querySelectorAll('svg a')].map(a => a.getAttributeNS('http://www.w3.org/1999/xlink', 'href'))"
    )
    assert not [link for link in [*links, *plain] if link and link.lstrip().lower().startswith("javascript")]
    sources = page.evaluate("[...document.querySelectorAll('img')].map(i => i.src)")
    assert all(source.startswith(("data:", "blob:")) for source in sources)
