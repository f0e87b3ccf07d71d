"""The page: what it holds, and what a person can do with it, in a headless Chromium where there is one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_lab.cli import main
from gan_lab.comparing.comparison import Comparison
from gan_lab.comparing.page import NUMBERS, payload, render
from gan_lab.comparing.runs import find
from gan_lab.comparing.sheets import PICTURE_BYTES
from tests.comparing.planted import plant, sweep

WARNING = {
    "signal": "overpowered", "title": "D overpowers G", "level": "warning", "images": 200, "last": 400,
    "value": 0.99, "threshold": 0.97, "found": "accuracy 0.99",
    "advice": "lower D's <learning rate>",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    sweep(folder, {"hinge": [3.0, 3.1, 3.3], "minimax": [10.0, 11.0, 12.0]}, picture=True)
    sweep(folder, {"least_squares": [1.15, 1.3, 1.4]}, picture=True, health=[WARNING])
    plant(folder / "gone", seed=9, loss="hinge", status="failed", error="RuntimeError: <b>out</b> of luck")
    return folder


@pytest.fixture(scope="module")
def comparison(runs: Path) -> Comparison:
    return Comparison(find([runs]))


@pytest.fixture(scope="module")
def page_file(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(render(comparison))
    return file


# -- what it holds -----------------------------------------------------------------------------------------------------


def test_the_page_is_one_file_without_a_network(page_file: Path) -> None:
    text = page_file.read_text()
    assert "default-src 'none'" in text
    head = text[: text.index("plotly.js")]
    assert not re.search(r"(src|href)=\"?https?:", head)
    assert not re.search(r"<(link|iframe|object)\b", head)
    data = text.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["metric"] == "fd", "nothing in the data ends the script early"
    assert "<b>out</b>" not in data


def test_curves_are_the_interquartile_mean_between_the_lowest_and_the_highest_seed(comparison: Comparison) -> None:
    curve = payload(comparison)["curves"][0]
    assert curve["name"] == "fd"
    line = curve["lines"][0]
    assert line["images"] == [100, 200, 300, 400]
    assert line["low"][-1] == 1.15
    assert line["high"][-1] == 1.4
    assert line["mean"][-1] == pytest.approx(1.15 / 6 + 1.3 * 2 / 3 + 1.4 / 6, rel=1e-3)
    assert line["seconds"] == [2.5, 5, 7.5, 10]


def test_the_score_that_ranks_has_the_first_curve(tmp_path: Path) -> None:
    for seed in (1, 2):
        run = plant(tmp_path / f"{seed}", seed=seed, modes=8.0, high_quality=0.9)
        lines = [{"images": n, "seconds": n / 100, "selection/modes": 8, "selection/high_quality": 0.9} for n in (1, 2)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for metric in ("modes", "high_quality"):
        names = [curve["name"] for curve in payload(Comparison(find([tmp_path]), metric))["curves"]]
        assert (names[0], sorted(names)) == (metric, ["high_quality", "modes"])


def test_samples_are_shown_at_equal_images_of_the_run_nearest_to_the_mean(comparison: Comparison) -> None:
    samples = payload(comparison)["samples"]
    assert samples["at"] == [100, 200, 300, 400]
    assert [row["path"].rpartition("/")[2] for row in samples["rows"]] == ["least_squares-1", "hinge-1", "minimax-1"]
    assert all(picture.startswith("data:image/webp;base64,") for row in samples["rows"] for picture in row["pictures"])


@pytest.mark.slow
def test_two_hundred_runs_stay_below_six_megabytes(tmp_path: Path) -> None:
    """Planted runs with long logs, 67 settings, and pictures that do not compress."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 255, (400, 400), dtype=np.uint8))
    points = {images: float(random.normal()) for images in range(100, 30_000, 100)}
    for i in range(201):
        run = plant(tmp_path / f"{i}", fd=float(random.normal()), seed=i % 3, generator__width=i // 3, curve=points)
        with (run / "metrics.jsonl").open("a") as file:
            more = {f"discriminator/{k}": float(random.normal()) for k in range(20)}
            file.write(
                "".join(json.dumps({"images": n, "seconds": n / 100} | more) + "\n" for n in range(50, 30_000, 1000))
            )
        (run / "samples").mkdir()
        if i < 60:
            for images in (100, 10_000, 29_900):
                noise.save(run / "samples" / f"{images}.png")
    assert main(["compare", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size < 6e6
    assert NUMBERS * 7 + PICTURE_BYTES * 4 / 3 < 1.2e6, "the budgets together leave room for the library"


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    troubles: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: message.type in ("error", "warning") and troubles.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"file://{page_file}")
    page.wait_for_selector("#curve-plot .scatterlayer .trace")
    yield page
    assert troubles == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def column(page: Any, table: str, title: str) -> list[str]:
    """A column's cells, from above."""
    heads: list[str] = page.locator(f"#{table} thead th").all_inner_texts()
    at = next(i for i, head in enumerate(heads) if head.split(" ▲")[0].split(" ▼")[0].strip() == title)
    cells: list[str] = page.locator(f"#{table} tbody tr td:nth-child({at + 1})").all_inner_texts()
    return cells


def test_tables_sort_by_mouse_and_by_keyboard(page: Any) -> None:
    assert column(page, "settings-table", "fd") == ["1.292", "3.117", "11"]
    head = page.locator("#settings-table thead button", has_text="fd")
    head.click()
    head.click()
    assert column(page, "settings-table", "fd") == ["11", "3.117", "1.292"]
    assert page.locator("#settings-table th[aria-sort=descending]").count() == 1
    page.locator("#settings-table thead button", has_text="loss").focus()
    page.keyboard.press("Enter")
    assert column(page, "settings-table", "loss") == ["hinge", "least_squares", "minimax"]
    page.locator("#runs-table thead button", has_text="fd").click()
    assert column(page, "runs-table", "fd")[-1] == "-", "what is missing stays below"
    assert [float(x) for x in column(page, "runs-table", "fd")[:-1]] == [1.15, 1.3, 1.4, 3, 3.1, 3.3, 10, 11, 12]


def test_the_filter_leaves_what_it_names_everywhere(page: Any) -> None:
    assert page.locator("#curve-plot .scatterlayer .trace").count() == 9
    page.fill("#filter", "least seed=2")
    assert column(page, "settings-table", "loss") == ["least_squares"]
    assert column(page, "runs-table", "seed") == ["2"]
    assert page.inner_text("#matches") == "1 of 10 runs"
    assert page.locator("#curve-plot .scatterlayer .trace").count() == 3
    assert page.locator("#cards figure").count() == 1
    page.fill("#filter", "failed")
    assert column(page, "runs-table", "status") == ["failed"]
    assert page.locator("#failed-list li").count() == 1
    page.fill("#filter", "nothing of that")
    assert page.locator("#runs-table tbody tr").count() == 0
    assert page.locator("#failed-list li").count() == 0
    page.fill("#filter", "")
    assert page.locator("#runs-table tbody tr").count() == 10


def test_hovering_a_curve_tells_its_value_and_setting(page: Any) -> None:
    page.locator("#curve-plot").scroll_into_view_if_needed()
    box = page.locator("#curve-plot .draglayer .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + box["height"] / 2)
    page.wait_for_selector("#curve-plot .hoverlayer .legend")
    said = page.locator("#curve-plot .hoverlayer").text_content()
    assert "1.292 (1.15 to 1.4)" in said
    assert "loss=least_squares" in said
    page.locator("#parallel-plot").scroll_into_view_if_needed()
    point = page.locator("#parallel-plot .scatterlayer .point").first.bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector("#parallel-plot .hoverlayer .hovertext")
    assert "seed=" in page.locator("#parallel-plot .hoverlayer .hovertext").first.text_content()


def test_curves_are_chosen_and_drawn_against_seconds(page: Any) -> None:
    page.select_option("#curve", label="generator/adversarial")
    assert page.locator("#curve-plot .ytitle").text_content() == "generator/adversarial"
    page.check("input[value=seconds]")
    assert page.locator("#curve-plot .xtitle").text_content() == "seconds"
    page.locator(".swatch").first.press("Space")
    assert page.locator(".swatch").first.get_attribute("aria-pressed") == "false"
    assert page.locator("#cards figure").count() == 2


def test_samples_follow_the_slider_by_keyboard(page: Any) -> None:
    first = page.locator("#cards img").first.get_attribute("src")
    assert page.inner_text("#at-text") == "400 images"
    page.locator("#at").press("ArrowLeft")
    assert page.inner_text("#at-text") == "300 images"
    assert page.locator("#cards img").first.get_attribute("src") != first


def test_what_went_wrong_is_told_as_text(page: Any) -> None:
    assert "RuntimeError: <b>out</b> of luck" in page.inner_text("#failed-list")
    assert page.inner_text("#health-list").startswith("D overpowers G in 3 runs: lower D's <learning rate>")
    assert set(column(page, "runs-table", "health")) == {"overpowered", "-"}


def test_themes_and_a_phone(page: Any) -> None:
    def background() -> str:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return colour

    assert background() == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert background() == "rgb(18, 21, 26)"
    page.click("#theme")
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: light"
    assert background() == "rgb(255, 255, 255)"
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360, "tables scroll, the page does not"
