"""The notebooks where people read them: JupyterLab in headless Chromium. A slider moves, and the picture changes.

Skipped without Chromium (Debian: apt install chromium). Screenshots and the response times go to $SSPCORE_SCREENSHOTS,
else to pytest's temporary folder. Data is that of $SSPCORE_PROFILE (default: smoke, rendered at first use).
"""

from __future__ import annotations

import json
import os
import re
import statistics
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from helpers.browser import (
    WINDOW,
    chromium,
    explorer_of,
    find_chromium,
    focus_slider,
    jupyterlab,
    response,
    run_notebook,
    scroll_to,
    slider,
)

PATIENCE = 300.0  # seconds for one step; rendering the smoke data is the longest
MOVES = 8
# what of the explorers and their controls is wider than its place; a list shows as much of its entry as fits
TOO_WIDE = """() => [...document.querySelectorAll(
  '.sspcore-explorer, .sspcore-explorer *:not(select), .widget-hbox, .widget-vbox')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
  .map(e => `${e.tagName} ${e.className} ${e.scrollWidth} > ${e.clientWidth}`)"""

pytestmark = [
    pytest.mark.xdist_group("notebooks"),  # it makes artefacts in the same folder as they do
    pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (Debian: apt install chromium)"),
    pytest.mark.skipif(
        "CI" in os.environ and "SSPCORE_BROWSER" not in os.environ,
        reason="minutes of browser time: on CI only where SSPCORE_BROWSER is set",
    ),
]


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    return Path(os.environ.get("SSPCORE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("lab"), os.environ.get("SSPCORE_PROFILE", "smoke"), PATIENCE) as address:
        yield address


@pytest.fixture
def page():
    with chromium(PATIENCE) as tab:
        yield tab


@pytest.fixture(scope="module")
def start_page(lab):
    with chromium(PATIENCE) as tab:
        tab.set_viewport_size({"width": 900, "height": WINDOW["height"]})
        run_notebook(tab, lab, "00_start_here.ipynb")
        yield tab


def pictures(explorer: Locator) -> list[str]:
    """What every canvas of the grid shows."""
    return explorer.evaluate("e => [...e.querySelectorAll('.grid canvas')].map(c => c.toDataURL())")


@pytest.mark.slow
def test_notebook_02_follows_its_slider_and_a_click_shows_values(lab: str, page: Page, screenshots: Path):
    run_notebook(page, lab, "02_warps_and_occlusion.ipynb")
    explorer = explorer_of(page)
    before = pictures(explorer)
    page.screenshot(path=screenshots / "02_before.png")
    focus_slider(page, "frame")
    times = [response(page, explorer, key) for key in ("ArrowRight", "ArrowLeft") * (MOVES // 2)]
    for _ in range(50):  # the grid is drawn picture by picture
        if pictures(explorer) == before:
            break
        page.wait_for_timeout(200)
    assert pictures(explorer) == before, "there and back again is not the same picture"
    times.append(response(page, explorer, "ArrowRight"))
    page.wait_for_timeout(1000)
    after = pictures(explorer)
    assert len(after) == 12 and all(a != b for a, b in zip(before[:3], after[:3], strict=True)), "frames or flow stayed"
    report = {"frame slider, median ms": statistics.median(times), "all": times}
    (screenshots / "response.json").write_text(json.dumps(report, indent=1))

    explorer.locator(".grid canvas").first.click()
    expect(explorer.locator(".details")).to_contain_text("M_occ", timeout=1000 * PATIENCE)
    page.screenshot(path=screenshots / "02_clicked.png")
    explorer.locator(".mode").select_option("blink")
    over = explorer.locator(".stage .over")
    shown = {over.evaluate("e => e.style.clipPath") for _ in range(12) if page.wait_for_timeout(150) is None}
    assert len(shown) == 2, f"nothing blinks: {shown}"


@pytest.mark.parametrize("width", [900, 600, 1400])  # the first runs the page
def test_the_start_page_fits_the_window(start_page: Page, screenshots: Path, width: int):
    start_page.set_viewport_size({"width": width, "height": WINDOW["height"]})
    explorers = start_page.locator(".sspcore-explorer[data-version]")
    expect(explorers).to_have_count(2)
    start_page.wait_for_timeout(1000)
    for number in range(2):
        scroll_to(explorers.nth(number))
        start_page.screenshot(path=screenshots / f"00_{width}_{number}.png")
    assert start_page.evaluate(TOO_WIDE) == []


def test_the_start_page_plays_pauses_and_shows_values(start_page: Page, screenshots: Path):
    start_page.set_viewport_size({"width": 900, "height": WINDOW["height"]})
    explorer = start_page.locator(".sspcore-explorer[data-version]").first
    scroll_to(explorer)
    frame, before = slider(start_page, "frame").locator(".widget-readout"), pictures(explorer)
    assert frame.text_content() == "12", "it begins in the middle of the clip"
    button = start_page.locator(".widget-play .jupyter-button").first
    button.click()
    expect(frame).to_have_text(re.compile("^(1[5-9]|2[0-2])$"), timeout=1000 * PATIENCE)  # 15 alone may pass unseen
    button.click()
    start_page.wait_for_timeout(1000)
    stopped = frame.text_content()
    start_page.wait_for_timeout(2000)
    assert 15 <= int(stopped) < 23 and frame.text_content() == stopped, "play does not pause"
    assert all(a != b for a, b in zip(before[:2], pictures(explorer)[:2], strict=True)), "the pictures stayed"

    over, box = explorer.locator(".stage .over"), explorer.locator(".stage").bounding_box()
    start_page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    assert over.evaluate("e => e.style.clipPath").startswith("inset(0px 75"), "swipe does not follow the mouse"
    explorer.locator(".grid canvas").nth(3).click()
    expect(explorer.locator(".details")).to_contain_text("SSP: alpha", timeout=1000 * PATIENCE)
    start_page.screenshot(path=screenshots / "00_clicked.png")
